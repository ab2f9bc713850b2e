"""Films made fit to leave the house: PS3.15 Annex E, Basic Application Level Confidentiality Profile."""

from hilum.clinic.deidentify.files import Outcome, deidentify_all, read_key
from hilum.clinic.deidentify.film import Deidentified, deidentify
from hilum.clinic.deidentify.identity import Identity
from hilum.clinic.deidentify.table import Options

__all__ = ["Deidentified", "Identity", "Options", "Outcome", "deidentify", "deidentify_all", "read_key"]
