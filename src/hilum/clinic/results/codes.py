"""The codes in Hilum's DICOM results: standard ones where there is one, `99HILUM` where there is none, and why.

Findings bring their own codes (`hilum.findings`: SNOMED CT, RadLex). What carries none there has no concept that we are
certain of; DICOM wants a code for every finding, so such a name becomes a private one whose meaning is the name itself.
"""

from __future__ import annotations

import hashlib

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

SCHEME = "99HILUM"
SCHEMES = (CodingSchemeIdentificationItem(designator=SCHEME, name="Hilum, private codes", version="1"),)


def _dcm(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "DCM", meaning)


def _sct(value: str, meaning: str) -> CodedConcept:
    return CodedConcept(value, "SCT", meaning)


# Of a finding (PS3.16 Annex D). DCM 111047 "Probability of cancer" would be another thing.
PROBABILITY = _dcm("122157", "Probability")
STANDARD_DEVIATION = _dcm("113061", "Standard Deviation")
THRESHOLD = _dcm("122411", "Threshold Value")
PRESENCE = _dcm("121052", "Presence of property")
PRESENT, ABSENT = _sct("52101004", "Present"), _sct("272519000", "Absent")  # CID 240
UNDETERMINED = _dcm("121059", "Presence Undetermined")
# A detector's score, in percent: what a device places on what it detected (CID 6048).
CERTAINTY = _dcm("111012", "Certainty of Finding")

# Of a film as a whole.
PLAIN_CHEST_FILM = _sct("399208008", "Plain chest X-ray")
ANALYSIS = _dcm("111004", "Analysis Performed")
SUCCEEDED, NOT_ATTEMPTED = _dcm("111222", "Succeeded"), _dcm("111225", "Not Attempted")  # CID 6042
COMMENT = _dcm("121106", "Comment")
REPORT = _dcm("126000", "Imaging Measurement Report")

# Units (UCUM): probabilities are plain numbers from 0 to 1.
ONE, PERCENT = CodedConcept("1", "UCUM", "no units"), CodedConcept("%", "UCUM", "Percent")

# Lungs.
LEFT_LUNG, RIGHT_LUNG = _sct("44029006", "Left lung"), _sct("3341006", "Right lung")  # CID 7155
LUNG, LEFT, RIGHT = _sct("39607008", "Lung"), _sct("7771000", "Left"), _sct("24028007", "Right")
ANATOMY = _sct("123037004", "Anatomical Structure")  # CID 7150
AI = _dcm("123110", "Artificial Intelligence")  # CID 7162

# Private, since PS3.16 has no such concept:
# ranges of uncertainty (CID 225) are distances from a value, and a probability may lie outside the interval of its samples.
INTERVAL_LOW = CodedConcept("LOW95", SCHEME, "Lower end of the 95 % interval")
INTERVAL_HIGH = CodedConcept("HIGH95", SCHEME, "Upper end of the 95 % interval")
# it belongs to heatmaps, which DICOM does not know.
LUNG_SHARE = CodedConcept("LUNGSHARE", SCHEME, "Share of the heatmap inside the lungs")


def finding_code(name: str, code: dict[str, str] | None) -> CodedConcept:
    """The code of a finding: its own (`scheme`, `value`, `meaning`), or a private one of its name, the same every time."""
    if code is not None:
        return CodedConcept(code["value"], code["scheme"], code["meaning"][:64])
    digest = hashlib.sha256(" ".join(name.casefold().split()).encode()).hexdigest()
    return CodedConcept(f"F-{digest[:10].upper()}", SCHEME, name[:64])
