"""The list of bad inputs, and what must come of each at each door: the judge of what is seen, written before it is seen."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pydicom import uid

from . import films, hostile
from .doors import DOORS, Door, Seen
from .films import Make, bad, chest, drawn
from .hostile import Probe, Sends

Wants = dict[Door, "Want | Cannot"]


@dataclass(frozen=True)
class Want:
    """The word for what must be seen, and a pattern of what must be said of it."""

    verb: str
    said: str = ""

    def holds(self, seen: Seen | None) -> bool:
        return seen is not None and seen.verb == self.verb and re.search(self.said, seen.said) is not None


@dataclass(frozen=True)
class Cannot:
    """Why a hazard does not come by a door."""

    why: str


@dataclass(frozen=True)
class Hazard:
    """`number` and `what` as in the list; `demand`: what must come of it, for people. `make`: its films; `probes`: doors by
    which it is no film; `sends`: how an archive sends it. `proof`: what must be found once all was done (`proofs.py`)."""

    number: str
    what: str
    demand: str
    wants: Wants
    make: Make | None = None
    probes: dict[Door, Probe] = field(default_factory=dict)
    sends: Sends | None = None
    proof: str | None = None

    @property
    def name(self) -> str:
        return f"{self.number} {self.what}".strip()


def all_doors(verb: str, said: str = "", **but: Want | Cannot) -> Wants:
    wants: Wants = dict.fromkeys(DOORS, Want(verb, said))
    return {**wants, **but}  # type: ignore[dict-item]


NO_REQUEST = Cannot("no request")
NO_SERVER = Cannot("it calls, and is not called")


def refused(case: str, what: str, said: str, number: str, **but: Want | Cannot) -> Hazard:
    """A case of `tests/test_bad_inputs.py` that every door refuses with these words."""
    return Hazard(number, what, "refused, with its fault", all_doors("refused", said, **but), bad(case))


A = [
    refused("1 empty file", "an empty file", "empty", "1", store=Want("hung up on")),
    refused("2 text named .dcm", "text named .dcm", "neither DICOM nor PNG", "2", store=Want("refused")),
    refused("3 truncated header", "a truncated header", "cut short", "3"),
    refused("4 truncated pixels", "truncated pixels", "cut short", "4"),
    refused("5 pixel length 0xFFFFFFF0", "Pixel Data of 0xFFFFFFF0 bytes", "declares 4294967280 bytes", "5"),
    refused("6 nested 300 deep", "sequences nested 300 deep", "nests sequences", "6"),
    refused("6 nested 300 deep, undefined length", "the same, of undefined length", "nests sequences", "6"),
    refused("7 no rows", "no rows", "0 rows", "7"),
    refused("8 65535 x 65535", "65535 x 65535 with short data", "65535 x 65535", "8"),
    refused("9 a billion frames", "a billion frames", "1000000000 frames", "9"),
    refused("10 codestream size", "a codestream of another size", "64 x 48", "10"),
    refused("11 corrupt JPEG 2000", "corrupt JPEG 2000", "stream cannot be", "11"),
    refused("12 bits stored over allocated", "more bits stored than allocated", "contradict|bits stored 20", "12"),
    refused("13 palette", "palette colour", "PALETTE COLOR", "13"),
    refused("13 YBR", "YBR colour", "YBR_FULL", "13"),
    refused("14 no photometric", "no Photometric Interpretation", "Photometric", "14"),
    refused("15 MPEG", "an MPEG syntax", "MPEG2", "15", store=Want("not negotiated", "MPEG2")),
    refused("16 no pixels", "no pixels at all", "no pixels", "16"),
]  # fmt: skip

B = [
    Hazard("17", "a deflated bomb", "refused, bounded", all_doors("refused", "grows past"), bad("17 deflated bomb")),
    Hazard("18", "a compressed body", "refused, bounded",
           {"cli": NO_REQUEST, "upload": Want("415", "compressed"), "stow": Want("415", "compressed"),
            "store": Cannot("a message of DICOM has no encoding but row 17's"), "watch": Want("refused", "larger than")},
           probes={"upload": hostile.gzip_body, "stow": hostile.gzip_body}, sends=hostile.sends_gzip),
    Hazard("19", "a zip bomb", "refused, bounded", all_doors("refused", "neither DICOM", store=Want("refused")),
           films.zipped("film.dcm", 2**28)),
    Hazard("20", "a PNG of 50,000 x 50,000", "refused, bounded",
           all_doors("refused", "too many pixels", store=Want("refused")), bad("20 a 50,000 x 50,000 PNG")),
    Hazard("21", "a length of 13 GB", "refused, bounded",
           {"cli": NO_REQUEST, "upload": Want("413", "larger"), "stow": Want("413", "larger"),
            "store": Cannot("a message has no length but its PDU's, row 25"), "watch": Want("refused", "larger than")},
           probes={"upload": hostile.thirteen_gb, "stow": hostile.thirteen_gb}, sends=hostile.sends_13_gb),
    Hazard("22", "an endless chunked body", "refused, bounded",
           {"cli": NO_REQUEST, "upload": Want("refused", "larger than"), "stow": Want("413", "body is larger"),
            "store": Cannot("it has no chunks"), "watch": Want("refused", "larger than")},
           probes={"upload": hostile.endless, "stow": hostile.endless}, sends=hostile.sends_endless),
    Hazard("23", "10,000 multipart headers", "refused, bounded",
           {"cli": NO_REQUEST, "upload": Want("refused", "multipart"), "stow": Want("refused", "multipart"),
            "store": Cannot("it has no multipart"), "watch": Want("put off", "multipart")},
           probes={"upload": hostile.many_headers, "stow": hostile.many_headers}, sends=hostile.sends_many_headers),
    Hazard("24", "a huge urlencoded form", "refused, bounded",
           {"cli": NO_REQUEST, "upload": Want("415", "form"), "stow": Want("415", "form"),
            "store": Cannot("it has no forms"), "watch": NO_SERVER},
           probes={"upload": hostile.form, "stow": hostile.form}),
    Hazard("25", "a PDU of 2 GiB", "cut off",
           {"cli": Cannot("no PDU"), "upload": Cannot("no PDU"), "stow": Cannot("no PDU"), "store": Want("hung up on"),
            "watch": Cannot("no PDU")},
           probes={"store": hostile.large_pdu}),
    Hazard("26", "a peer that says nothing", "cut off",
           {"cli": NO_REQUEST, "upload": Want("hung up on"), "stow": Want("hung up on"), "store": Want("hung up on"),
            "watch": Want("put off", "cannot be reached")},
           probes={"upload": hostile.idle, "stow": hostile.idle, "store": hostile.idle}, sends=hostile.sends_nothing),
    Hazard("27", "a slow drip", "cut off",
           {"cli": NO_REQUEST, "upload": Want("408", "slowly"), "stow": Want("408", "slowly"), "store": Want("hung up on"),
            "watch": Want("refused", "longer than")},
           probes={"upload": hostile.drip, "stow": hostile.drip, "store": hostile.drip}, sends=hostile.sends_slowly),
    Hazard("28", "1,000 ranges", "not served",
           {"cli": NO_REQUEST, "upload": Want("not served", "whole"), "stow": Cannot("it only takes; what is fetched stands"
            " under upload"), "store": Cannot("it has no ranges"), "watch": NO_SERVER},
           probes={"upload": hostile.ranges}),
    Hazard("29", "10,000 connections", "cut off, others served",
           all_doors("cut", "served", cli=NO_REQUEST, watch=NO_SERVER),
           probes={"upload": hostile.flood, "stow": hostile.flood, "store": hostile.flood}),
]  # fmt: skip

NO_BUNDLE = Cannot("no bundle comes by it")
C = [
    Hazard("30", "SOPInstanceUID ../../x", "nothing written outside",
           all_doors("refused", "no UID", cli=Want("analysed")), chest(SOPInstanceUID="../../x")),
    Hazard("31", "a DICOMDIR that leads outside", "nothing read outside",
           all_doors("refused", "DICOMDIR", store=Want("not negotiated")), films.dicomdir),
    Hazard("32", "a zip whose names lead outside", "nothing written outside",
           all_doors("refused", "neither DICOM", store=Want("refused")), films.zipped("../../x")),
    Hazard("33", "an ELF preamble", "nothing executed",
           all_doors("analysed", "nothing may be executed", store=Cannot("C-STORE carries no preamble")),
           films.program, proof="not executable"),
    Hazard("34", "a script in PatientName", "shown as text",
           all_doors("analysed", "as text"), chest(PatientName=films.SCRIPT), proof="as text"),
    Hazard("35", "line breaks in PatientName", "no line of a log forged",
           all_doors("analysed", "in no log"), chest(PatientName=films.FORGED), proof="in no log"),
    Hazard("36", "a pickle", "refused, not loaded",
           all_doors("refused", "not loaded", cli=Want("refused", "not loaded")), None, proof="not loaded"),
    Hazard("37", "a bundle of another checksum", "refused",
           all_doors("", cli=Want("refused", "checksum|SHA-256|altered")) | dict.fromkeys(DOORS[1:], NO_BUNDLE)),
]  # fmt: skip

D = [
    Hazard("38", "a lateral view", "not analysable",
           all_doors("not analysable", "lateral"), chest(ViewPosition="LL")),
    Hazard("39", "a hand film, by its header", "not analysable", all_doors("not for us", "another part of the body",
           cli=Want("not analysable", "body part")), drawn(films.hand, BodyPartExamined="HAND")),
    Hazard("39", "a hand film whose header does not say so", "not analysable",
           all_doors("not analysable", "does not look like"), drawn(films.hand, BodyPartExamined="")),
    Hazard("40", "FOR PROCESSING", "not analysable",
           all_doors("not analysable", "FOR PROCESSING"), chest(PresentationIntentType="FOR PROCESSING")),
    Hazard("41", "a constant image", "not analysable",
           all_doors("not analysable", "blank"), drawn(lambda: films.hand() * 0 + 0.5)),
    Hazard("42", "a window that is no number", "warned of", all_doors("warned", "bad_window"),
           chest(WindowCenter="NaN", WindowWidth="100")),
    Hazard("43", "a window of width 0", "warned of", all_doors("warned", "bad_window"),
           chest(WindowCenter=2048, WindowWidth=0)),
    Hazard("44", "BurnedInAnnotation YES", "warned of", all_doors("warned", "burned_in_annotation"),
           chest(BurnedInAnnotation="YES")),
    Hazard("45", "no sex, no age", "warned of", all_doors("warned", "missing_sex, missing_age|missing_age, missing_sex"),
           chest(PatientSex="", PatientAge="", PatientBirthDate="")),
    Hazard("46", "an unknown character set", "warned of", all_doors("warned", "character_set"),
           chest(SpecificCharacterSet="ISO_IR 4711")),
    Hazard("", "a CT slice", "not analysable",
           all_doors("not for us", "CT Image Storage", cli=Want("not analysable", "modality CT"),
                     store=Want("not negotiated"), watch=Want("not fetched")),
           chest(Modality="CT", SOPClassUID=uid.CTImageStorage)),
    Hazard("", "a photograph", "not analysable", all_doors("not analysable", "colour"), films.photograph),
    Hazard("", "an inverted film", "not analysable", all_doors("not analysable", "inverted"), drawn(films.inverted)),
]  # fmt: skip

E = [
    Hazard("47", "the same instance twice", "one result",
           all_doors("known", "one result"), films.twice, proof="one result"),
    Hazard("48", "the same UID with other pixels", "both kept, held for a person",
           all_doors("conflict", "other pixels.*both kept"), films.changed_pixels, proof="both kept"),
    Hazard("49", "another PatientID in a study", "set apart",
           all_doors("quarantined", "another Patient ID"), films.other_patient),
    Hazard("50", "an unknown AE title", "refused, audited",
           {"cli": Cannot("no AE title"), "upload": Cannot("no AE title"), "stow": Cannot("no AE title"),
            "store": Want("association rejected", "not known; in the trail"), "watch": Cannot("no AE title")},
           probes={"store": hostile.unknown_title}),
    Hazard("51", "a wrong token", "401, audited",
           {"cli": Cannot("no token"), "upload": Want("401", "does not hold; in the trail"),
            "stow": Want("401", "does not hold; in the trail"), "store": Cannot("C-STORE has no tokens"),
            "watch": NO_SERVER},
           probes={"upload": hostile.wrong_token, "stow": hostile.wrong_token}),
]  # fmt: skip

GOOD = Hazard("", "a good film, after all of these", "analysed", all_doors("analysed"), chest())
GROUPS: dict[str, list[Hazard]] = {
    "A. Refused with a clear error; the process goes on": A,
    "B. Bounded: refused by size or time, others are served": B,
    "C. Nothing written outside the store, nothing executed, nothing forged": C,
    "D. Not analysable, or a warning; never a silent score": D,
    "E. State and access": E,
    "And then": [GOOD],
}
HAZARDS = [hazard for group in GROUPS.values() for hazard in group]
