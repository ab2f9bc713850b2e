"""What BodyPartExamined says: chest, something else, or nothing that can be told."""

from __future__ import annotations

import re
import unicodedata

# Defined terms of PS3.16 Annex L and what is seen beside them in headers, as beginnings of words.
_SPINE = (
    "SPINE",
    "TSPINE",
    "CSPINE",
    "LSPINE",
    "TSSPINE",
    "LSSPINE",
    "CTSPINE",
    "TLSPINE",
    "COLUMNA",
    "WIRBEL",
    "BRUSTWIRBEL",
)
_CHEST = (
    "CHEST",
    "THORA",
    "TORAX",
    "TORACE",
    "LUNG",
    "RIB",
    "STERN",
    "HEART",
    "TORSO",
    "PECHO",
    "POUMON",
    "BRUSTKORB",
)
_OTHER = re.findall(
    "[A-Z]+",
    """
    ABDOM ACETAB ANKLE ANUS ARM BILE BLADDER BRAIN BREAST BUTTOCK CALCAN CALF CAROTID CEREBR CERVIX CHEEK
    CLAVIC COCCYX COLON CORNEA DENT DUODEN EAR ELBOW ESOPHAG EXTREMITY EYE FACE FACIAL FEMUR FEET FINGER
    FOOT FOREARM GALLBL GROIN HAND HEAD HIP HUMER ILEUM ILIUM JAW JEJUN KIDNEY KNEE LARYNX LEG LIVER MANDIB
    MAXILL MOUTH NASAL NECK NOSE ORBIT OVARY PANCREAS PAROTID PATELL PELVI PENIS PHARYNX PROSTATE RADIUS
    RECTUM SACRUM SCALP SCAPULA SCROTUM SHOULDER SINUS SKULL SPLEEN STOMACH SUBMANDIB TARS TEETH TESTIS
    THIGH THUMB THYROID TIBIA TOE TONGUE TOOTH ULNA URETER URETHRA UTERUS VAGINA VULVA WRIST ZYGOMA
    """,
)


def is_chest(body_part: str | None) -> bool | None:
    """True for the chest and what is filmed like it (ribs, chest with abdomen), False for another part.

    None where the header says nothing, or says what is on neither list: then the pixels decide.
    """
    plain = unicodedata.normalize("NFKD", body_part or "").encode("ascii", "ignore").decode().upper()
    words = [word for word in re.split(r"[^A-Z]+", plain) if word]
    if _any_begins(words, _SPINE):
        return False
    if _any_begins(words, _CHEST) or "CXR" in words:
        return True
    if _any_begins(words, _OTHER):
        return False
    return None


def _any_begins(words: list[str], beginnings: tuple[str, ...] | list[str]) -> bool:
    return any(word.startswith(beginning) for word in words for beginning in beginnings)
