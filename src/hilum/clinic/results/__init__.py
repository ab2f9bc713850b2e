"""DICOM results: what a report says, as objects that an archive keeps beside the film and a viewer shows with it."""

from hilum.clinic.results.write import KINDS, check_extra, results_of, write_results

__all__ = ["KINDS", "check_extra", "results_of", "write_results"]
