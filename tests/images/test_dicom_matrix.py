"""The greyscale chain, cell by cell.

Judges: `standard` (PS3.3 written out in tests/images/standard.py) speaks in every cell. DCMTK and highdicom speak where
they can, and each cell says which do; what they cannot is written beside them.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from hilum.images.read import read

from .films import film, lut_item, ramp, save, save_compressed
from .judges import dcmtk, highdicom_shown
from .pairwise import pairwise
from .standard import Header, Table, shown

BITS = (8, 10, 12, 15, 16)
SHAPES = (None, "IDENTITY", "INVERSE")
PHOTOMETRICS = ("MONOCHROME1", "MONOCHROME2")
MODALITIES = ("none", "positive", "negative", "lut")
LUT_DEPTHS = {"lut 8 bit": 8, "lut 12 bit": 12, "lut 16 bit": 16}
VOIS = ("linear", "linear_exact", "sigmoid", *LUT_DEPTHS, "none")


def cell(
    bits: int,
    signed: bool,
    modality: str,
    voi: str,
    photometric: str = "MONOCHROME2",
    shape: str | None = None,
) -> tuple[Dataset, np.ndarray]:
    """A film with these properties, and what the standard shows of it."""
    stored = ramp(bits, signed)
    low, count = int(stored.min()), 1 << bits
    elements: dict[str, Any] = {}
    header: dict[str, Any] = {"photometric": photometric, "shape": shape}
    x_low, x_high = float(low), float(low + count - 1)
    if modality in ("positive", "negative"):
        # At 16 bit the output must stay where a LUT's 16-bit first input can reach it.
        slope, intercept = {
            ("positive", False): (2.0, -37.0),
            ("positive", True): (1.0, 0.0 if signed else -32768.0),
            ("negative", False): (-1.0, 100.0),
            ("negative", True): (-1.0, 32767.0),
        }[modality, bits == 16]
        elements |= {"RescaleSlope": slope, "RescaleIntercept": intercept, "RescaleType": "US"}
        header |= {"slope": slope, "intercept": intercept}
        x_low, x_high = sorted((x_low * slope + intercept, x_high * slope + intercept))
    elif modality == "lut":  # a root curve over the inner half of the range, so that both ends are clamped
        entries = np.rint(np.sqrt(np.linspace(0, 1, count // 2)) * 65535).astype(np.int64)
        first = low + count // 4
        elements["ModalityLUTSequence"] = [lut_item(entries, first, 16, "SS" if signed else "US")]
        header["modality"] = Table([int(e) for e in entries], first, 16)
        x_low, x_high = 0.0, 65535.0

    centre, width = round(x_low + 0.45 * (x_high - x_low)), round(0.6 * (x_high - x_low))
    if voi in LUT_DEPTHS:
        depth = LUT_DEPTHS[voi]
        curve = (1 - np.cos(np.pi * np.linspace(0, 1, min(width, 65535)))) / 2
        entries = np.rint(curve * (2**depth - 1)).astype(np.int64)
        first = centre - width // 2
        elements["VOILUTSequence"] = [lut_item(entries, first, depth, "SS" if first < 0 else "US")]
        header["voi"] = Table([int(e) for e in entries], first, depth)
    elif voi != "none":
        function = voi.upper()
        elements |= {"WindowCenter": centre, "WindowWidth": width}
        if function != "LINEAR":
            elements["VOILUTFunction"] = function
        header["window"] = (centre, width, function)
    if shape is not None:
        elements["PresentationLUTShape"] = shape
    return film(stored, bits, signed, photometric, **elements), shown(stored, Header(**header))


@pytest.mark.parametrize("voi", VOIS)
@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", BITS)
def test_standard_judges_every_cell(tmp_path: Path, bits: int, signed: bool, modality: str, voi: str) -> None:
    """Judge: standard. Both photometric interpretations with all three Presentation LUT Shapes."""
    for photometric, shape in itertools.product(PHOTOMETRICS, SHAPES):
        ds, expected = cell(bits, signed, modality, voi, photometric, shape)
        got = read(save(ds, tmp_path / "film.dcm"))
        np.testing.assert_allclose(got.pixels, expected, atol=2e-6, err_msg=f"{photometric} {shape}")
        contradicts = shape is not None and (shape == "INVERSE") != (photometric == "MONOCHROME1")
        assert ("presentation_conflict" in {n.code for n in got.notices}) == contradicts


SYNTAXES = {
    "RLE": uid.RLELossless,
    "JPEG Lossless": uid.JPEGLosslessSV1,
    "JPEG Lossless, process 14": uid.JPEGLossless,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}
CODINGS = tuple(itertools.product(BITS, (False, True)))
# Every syntax with all bits and signs, and any two values of any two columns in a film.
COMPRESSED = pairwise(tuple(SYNTAXES), CODINGS, MODALITIES, VOIS, PHOTOMETRICS, SHAPES)


@pytest.mark.parametrize(("syntax", "coding", "modality", "voi", "photometric", "shape"), COMPRESSED)
def test_transfer_syntaxes(
    tmp_path: Path,
    syntax: str,
    coding: tuple[int, bool],
    modality: str,
    voi: str,
    photometric: str,
    shape: str | None,
) -> None:
    """Judge: standard. Lossless compression changes no pixel, whatever stands behind it in the chain."""
    ds, expected = cell(*coding, modality, voi, photometric, shape)
    got = read(save_compressed(ds, tmp_path / "film.dcm", SYNTAXES[syntax]))
    np.testing.assert_allclose(got.pixels, expected, atol=2e-6)
    assert got.bits == coding[0]


def test_the_compressed_cells_are_all_pairs() -> None:
    """In every two columns each value meets each, counted plainly."""
    columns = (tuple(SYNTAXES), CODINGS, MODALITIES, VOIS, PHOTOMETRICS, SHAPES)
    for (i, some), (j, others) in itertools.combinations(enumerate(columns), 2):
        assert {(cell[i], cell[j]) for cell in COMPRESSED} == set(itertools.product(some, others))
    assert len(COMPRESSED) < 100


def same_at_8_bit(one: np.ndarray, other: np.ndarray) -> None:
    """Within one grey level of 255."""
    np.testing.assert_allclose(np.rint(one * 255), np.rint(other * 255), atol=1)


Cell = tuple[int, bool, str, str, str, str | None]
WINDOWED: list[Cell] = [
    (bits, signed, modality, "linear", "MONOCHROME2", None)
    for bits, signed, modality in itertools.product(BITS, (False, True), MODALITIES)
]
PRESENTED: list[Cell] = [
    (12, False, "none", voi, photometric, shape)
    for voi, photometric, shape in itertools.product(
        ("linear", "lut 8 bit", "lut 16 bit"), PHOTOMETRICS, SHAPES
    )
]
OTHER_VOI: list[Cell] = [
    (12, signed, modality, voi, "MONOCHROME1", None)
    for signed, modality, voi in itertools.product((False, True), MODALITIES, (*LUT_DEPTHS, "none"))
]
# DCMTK knows LINEAR only, and +Wl or +Wi must say what to apply.
DCMTK_OPTIONS = {"linear": ("+Wi", "1"), "none": (), **dict.fromkeys(LUT_DEPTHS, ("+Wl", "1"))}
# LUTs, presentation and both photometric interpretations at all bits and signs.
PAIRED: list[Cell] = [
    (*coding, *rest)
    for coding, *rest in pairwise(CODINGS, MODALITIES, tuple(DCMTK_OPTIONS), PHOTOMETRICS, SHAPES)
]


@pytest.mark.parametrize(
    ("bits", "signed", "modality", "voi", "photometric", "shape"),
    dict.fromkeys(WINDOWED + PRESENTED + OTHER_VOI + PAIRED),
)
def test_dcmtk_agrees(
    tmp_path: Path, bits: int, signed: bool, modality: str, voi: str, photometric: str, shape: str | None
) -> None:
    """Judges: standard, DCMTK."""
    ds, expected = cell(bits, signed, modality, voi, photometric, shape)
    path = save(ds, tmp_path / "film.dcm")
    got = read(path).pixels
    same_at_8_bit(got, expected)
    same_at_8_bit(got, dcmtk(path, *DCMTK_OPTIONS[voi]))


def highdicom_speaks(case: Cell) -> bool:
    """It refuses 12-bit entries, leaves films without a VOI in modality units, is up to three grey levels off for a
    negative slope with 8-bit windows, and where a VOI LUT follows a negative slope or a Modality LUT it inverts or
    scales wrongly (DCMTK and the standard agree there)."""
    bits, _, modality, voi, _, _ = case
    if voi in LUT_DEPTHS and modality in ("negative", "lut"):
        return False
    return voi not in ("lut 12 bit", "none") and not (bits == 8 and modality == "negative")


@pytest.mark.parametrize(
    ("bits", "signed", "modality", "voi", "photometric", "shape"),
    [case for case in WINDOWED + PRESENTED + OTHER_VOI if highdicom_speaks(case)],
)
def test_highdicom_agrees(
    tmp_path: Path, bits: int, signed: bool, modality: str, voi: str, photometric: str, shape: str | None
) -> None:
    """Judges: standard, highdicom."""
    ds, expected = cell(bits, signed, modality, voi, photometric, shape)
    path = save(ds, tmp_path / "film.dcm")
    got = read(path).pixels
    same_at_8_bit(got, expected)
    same_at_8_bit(got, highdicom_shown(path))


@pytest.mark.parametrize("voi", ["linear_exact", "sigmoid"])
def test_highdicom_agrees_on_other_functions(tmp_path: Path, voi: str) -> None:
    """Judges: standard, highdicom."""
    ds, expected = cell(12, False, "positive", voi)
    path = save(ds, tmp_path / "film.dcm")
    got = read(path).pixels
    same_at_8_bit(got, expected)
    same_at_8_bit(got, highdicom_shown(path))


DCMTK_PROGRAMS = {
    "RLE": "dcmj2pnm",
    "JPEG Lossless": "dcmj2pnm",
    "JPEG Lossless, process 14": "dcmj2pnm",
    "JPEG-LS": "dcml2pnm",
}


@pytest.mark.parametrize(
    ("syntax", "coding", "modality", "voi", "photometric", "shape"),
    pairwise(tuple(DCMTK_PROGRAMS), CODINGS, MODALITIES, tuple(DCMTK_OPTIONS), PHOTOMETRICS, SHAPES),
)
def test_dcmtk_agrees_on_compressed_films(
    tmp_path: Path,
    syntax: str,
    coding: tuple[int, bool],
    modality: str,
    voi: str,
    photometric: str,
    shape: str | None,
) -> None:
    """Judges: standard, DCMTK (which cannot decode JPEG 2000)."""
    ds, expected = cell(*coding, modality, voi, photometric, shape)
    path = save_compressed(ds, tmp_path / "film.dcm", SYNTAXES[syntax])
    got = read(path).pixels
    same_at_8_bit(got, expected)
    same_at_8_bit(got, dcmtk(path, *DCMTK_OPTIONS[voi], program=DCMTK_PROGRAMS[syntax]))


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_highdicom_agrees_on_jpeg_2000(tmp_path: Path, signed: bool) -> None:
    """Judges: standard, highdicom."""
    ds, expected = cell(12, signed, "none", "linear")
    path = save_compressed(ds, tmp_path / "film.dcm", uid.JPEG2000Lossless)
    got = read(path).pixels
    same_at_8_bit(got, expected)
    same_at_8_bit(got, highdicom_shown(path))


def test_dcmtk_agrees_on_a_lut_that_fills_part_of_its_depth(tmp_path: Path) -> None:
    """Judge: DCMTK. An entry of 2 ** bits - 1 is white, whether the LUT has it or not (highdicom stretches instead)."""
    entries = np.linspace(400, 3000, 4096).astype(np.int64)
    path = save(film(ramp(12, False), VOILUTSequence=[lut_item(entries, 0, 12)]), tmp_path / "film.dcm")
    got = read(path).pixels
    np.testing.assert_allclose([got.min(), got.max()], [400 / 4095, 3000 / 4095], atol=1e-6)
    same_at_8_bit(got, dcmtk(path, "+Wl", "1"))


def test_dcmtk_agrees_on_a_film_that_fills_part_of_its_range(tmp_path: Path) -> None:
    """Judge: DCMTK's +Wm. Without a window the film's own lowest and highest value become black and white."""
    path = save(film(ramp(10, False) + 500, 16), tmp_path / "film.dcm")
    got = read(path).pixels
    assert (got.min(), got.max()) == (0, 1)
    same_at_8_bit(got, dcmtk(path, "+Wm"))
