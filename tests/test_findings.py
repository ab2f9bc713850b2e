from __future__ import annotations

import re

import pytest

from hilum.errors import HilumError
from hilum.findings import NIH14, PNEUMONIA3, VINBIG14, VOCABULARY, UnknownFindingError, canonical, find


def test_lists_are_of_the_vocabulary() -> None:
    assert len(NIH14) == len(VINBIG14) == 14
    for name in (*NIH14, *VINBIG14, *PNEUMONIA3, "COVID-19", "Tuberculosis", "Lung", "No Finding"):
        assert VOCABULARY[name].name == name


@pytest.mark.parametrize(
    ("spelling", "source", "name"),
    [
        ("Infiltrate", "nih14", "Infiltration"),
        ("Pleural_Thickening", "nih14", "Pleural Thickening"),
        ("Pleural thickening", "vinbig", "Pleural Thickening"),
        ("Pleural effusion", "vinbig", "Effusion"),
        ("Nodule/Mass", "vinbig", "Nodule or Mass"),
        ("ILD", "vinbig", "Interstitial Lung Disease"),
        ("Aortic enlargement", None, "Aortic Enlargement"),
        ("No finding", None, "No Finding"),
        ("No Finding", "cohen", "Normal"),
        ("COVID-19, ARDS", "cohen", "COVID-19"),
        ("virus", "kermany", "Viral Pneumonia"),
        ("bacteria", "covidx_v1", "Bacterial Pneumonia"),
        ("covid_19", None, "COVID-19"),
    ],
)
def test_each_source_spelling_has_its_canonical_name(spelling: str, source: str | None, name: str) -> None:
    assert canonical(spelling, source) == name


def test_an_alias_of_one_source_means_nothing_elsewhere() -> None:
    with pytest.raises(UnknownFindingError):
        find("virus", "nih14")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(HilumError, match="Did you mean Pneumothorax"):
        find("Pneumothrax")


def test_codes_are_whole_or_absent_and_unique() -> None:
    coded = [f for f in VOCABULARY.values() if f.code is not None]
    for finding in coded:
        pattern = {"SCT": r"\d{6,18}", "RADLEX": r"RID\d+"}[finding.code_scheme or ""]
        assert re.fullmatch(pattern, finding.code or "")
        assert finding.code_meaning
    assert len({f.code for f in coded}) == len(coded)
    assert all(
        f.code_scheme is None and f.code_meaning is None for f in VOCABULARY.values() if f.code is None
    )


@pytest.mark.parametrize("code", [f.code for f in VOCABULARY.values() if f.code_scheme == "SCT"])
def test_a_snomed_code_has_a_right_check_digit(code: str) -> None:
    """SNOMED CT identifiers end in a Verhoeff check digit: a slip of one digit fails."""
    assert _verhoeff(code) == 0


def test_what_lies_outside_the_lungs_is_said() -> None:
    assert VOCABULARY["Cardiomegaly"].outside_lungs
    assert VOCABULARY["Hernia"].outside_lungs
    assert not VOCABULARY["Nodule"].outside_lungs


def _verhoeff(digits: str) -> int:
    """0 for a number whose last digit is right: multiplication in the dihedral group D5."""

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    first = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        for _ in range(place % 8):
            value = first[value]
        check = product(check, value)
    return check
