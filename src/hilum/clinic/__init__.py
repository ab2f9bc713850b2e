"""The clinic: films in from archives, results back as DICOM, and films made fit to leave the house."""
