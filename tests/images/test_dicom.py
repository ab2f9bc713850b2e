"""DICOM films beyond the greyscale matrix: real films, encodings, padding, overlays, facts, orientation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from hilum.errors import HilumError
from hilum.images.orientation import turn_to_upright
from hilum.images.read import read

from .films import BIG, EXPLICIT, IMPLICIT, film, lut_item, ramp, save, save_compressed
from .judges import dcmtk
from .standard import Header, shown

STORED = ramp(12, False)


def real(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom-data does not have {name}")
    return Path(found)


def codes(path: Path) -> set[str]:
    return {notice.code for notice in read(path).notices}


def test_the_real_film_and_its_facts() -> None:
    got = read(real("RG1_UNCR.dcm"))
    assert (got.format, got.height, got.width, got.bits) == ("dicom", 1955, 1841, 15)
    assert (got.view, got.body_part, got.sex) == ("PA", "CHEST", "F")
    assert got.age == pytest.approx(64.5, abs=0.05)  # born 1940-03-05, study of 2004-08-26
    assert got.spacing is None  # the header says 0 mm
    assert got.headers["Modality"] == "CR"
    assert got.headers["SOPInstanceUID"].startswith("1.3.6.1.4.1.5962.1.1.9.1.1")
    assert got.notices == ()
    assert not got.pixels.flags.writeable


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_UNCR.dcm"])
def test_real_films_by_the_standard(name: str) -> None:
    path = real(name)
    ds = pydicom.dcmread(path)
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns).astype(np.int64)
    window = None
    if "WindowCenter" in ds:
        window = (float(ds.WindowCenter), float(ds.WindowWidth), "LINEAR")
    expected = shown(
        stored, Header(ds.PhotometricInterpretation, ds.get("PresentationLUTShape"), window=window)
    )
    turn = turn_to_upright(*ds.PatientOrientation)
    if turn is not None:
        expected = turn(expected.astype(np.float32))
    np.testing.assert_allclose(read(path).pixels, expected, atol=2e-6)


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_UNCR.dcm"])
def test_real_films_by_dcmtk(name: str, tmp_path: Path) -> None:
    copy = tmp_path / name
    copy.write_bytes(real(name).read_bytes())
    ds = pydicom.dcmread(copy, stop_before_pixels=True)
    theirs = dcmtk(copy, *(("+Wi", "1") if "WindowCenter" in ds else ()))
    turn = turn_to_upright(*ds.PatientOrientation)
    if turn is not None:
        theirs = turn(theirs.astype(np.float32))
    difference = np.rint(read(copy).pixels * 255) - np.rint(theirs * 255)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", ["RG1", "RG3"])
def test_jpeg_2000_gives_the_same_real_film(name: str) -> None:
    one, other = read(real(f"{name}_UNCR.dcm")), read(real(f"{name}_J2KR.dcm"))
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.digest != other.digest


def test_every_file_of_pydicom_is_read_or_refused() -> None:
    """None escapes with another error; every single-frame greyscale film of 8 or 16 bits is read."""
    folders = [Path(pydicom.__file__).parent / "data" / "test_files", real("RG1_UNCR.dcm").parent]
    damaged = {
        "MR_truncated.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",
        "emri_small_jpeg_2k_lossless_too_short.dcm",
    }
    read_films = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(p for folder in folders for p in folder.rglob("*.dcm")):
            ds = pydicom.dcmread(path, force=True)
            grey = str(ds.get("PhotometricInterpretation", "")).startswith("MONOCHROME")
            film_like = grey and ds.get("BitsAllocated") in (8, 16) and "PixelData" in ds
            film_like = film_like and str(ds.get("NumberOfFrames") or 1) == "1"
            try:
                got = read(path)
            except HilumError:
                assert (
                    not film_like or path.name in damaged or ds.file_meta.get("TransferSyntaxUID") is None
                ), path
            else:
                read_films += 1
                assert 0 <= got.pixels.min() <= got.pixels.max() <= 1, path
    assert read_films >= 50


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("bits", [8, 12])
def test_byte_orders(tmp_path: Path, bits: int, syntax: uid.UID) -> None:
    stored = ramp(bits, True)
    lut = lut_item(np.linspace(0, 4095, 1 << bits).astype(np.int64), -(1 << (bits - 1)), 12, "SS")
    plain = read(save(film(stored, bits, True), tmp_path / "plain.dcm"))
    assert np.ptp(plain.pixels) == 1
    got = read(save(film(stored, bits, True), tmp_path / "film.dcm", syntax))
    np.testing.assert_array_equal(got.pixels, plain.pixels)
    if syntax != BIG:  # pydicom writes LUT Data of VR OW as the bytes it was given
        curved = read(save(film(stored, bits, True, VOILUTSequence=[lut]), tmp_path / "lut.dcm", syntax))
        np.testing.assert_allclose(curved.pixels, plain.pixels, atol=1 / 2000)


def test_without_preamble_and_file_meta(tmp_path: Path) -> None:
    expected = read(save(film(STORED), tmp_path / "film.dcm")).pixels
    data = (tmp_path / "film.dcm").read_bytes()
    (tmp_path / "no_preamble").write_bytes(data[132:])
    np.testing.assert_array_equal(read(tmp_path / "no_preamble").pixels, expected)
    start = data.index(b"\x08\x00\x16\x00UI")
    (tmp_path / "bare").write_bytes(data[start:])
    np.testing.assert_array_equal(read(tmp_path / "bare").pixels, expected)


def test_a_tiff_preamble_is_still_dicom(tmp_path: Path) -> None:
    path = save(film(STORED), tmp_path / "film.dcm")
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert read(path).format == "dicom"


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_bits_outside_the_stored_ones_do_not_leak(tmp_path: Path, signed: bool) -> None:
    """Overlay planes of old films lie in the unused high bits; C.7.6.3 says to mask them."""
    stored = ramp(12, signed)
    plain = read(save(film(stored, 12, signed), tmp_path / "plain.dcm")).pixels
    ds = film(stored, 12, signed)
    words = (stored & 0xFFF) | (np.random.default_rng(0).integers(0, 16, stored.shape) << 12)
    ds.PixelData = words.astype("<u2").tobytes()
    np.testing.assert_array_equal(read(save(ds, tmp_path / "film.dcm")).pixels, plain)


def test_overlays_do_not_leak_after_jpeg_2000(tmp_path: Path) -> None:
    """pydicom #2260: a codestream of 16 bits that holds 12 stored bits and overlay bits above them."""
    plain = read(save(film(STORED), tmp_path / "plain.dcm")).pixels
    ds = film(STORED | (np.arange(STORED.size).reshape(STORED.shape) % 2 << 15), 16)
    ds.compress(uid.JPEG2000Lossless)
    ds.BitsStored, ds.HighBit = 12, 11
    ds.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "film.dcm").pixels, plain)


def test_high_bit_above_the_lowest(tmp_path: Path) -> None:
    ds = film(STORED << 4, 16)
    ds.BitsStored, ds.HighBit = 12, 15
    plain = read(save(film(STORED), tmp_path / "plain.dcm")).pixels
    np.testing.assert_array_equal(read(save(ds, tmp_path / "film.dcm")).pixels, plain)


def test_an_unsigned_codestream_of_a_signed_film(tmp_path: Path) -> None:
    """JPEG 2000 that calls two's complement values unsigned: the header's sign counts."""
    stored = ramp(12, True)
    ds = film(stored & 0xFFF)
    ds.compress(uid.JPEG2000Lossless)
    ds.PixelRepresentation = 1
    ds.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    plain = read(save(film(stored, 12, True), tmp_path / "plain.dcm")).pixels
    np.testing.assert_array_equal(read(tmp_path / "film.dcm").pixels, plain)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_padding_is_black_and_does_not_widen_the_range(
    tmp_path: Path, signed: bool, photometric: str
) -> None:
    inside = np.random.default_rng(1).integers(900, 1800, (40, 40))
    inside[0, :2] = 900, 1799
    pad = -2000 if signed else 4000
    stored = np.pad(inside, 4, constant_values=pad)
    ds = film(stored, 12, signed, photometric)
    ds.add_new("PixelPaddingValue", "SS" if signed else "US", pad)
    got = read(save(ds, tmp_path / "film.dcm"))
    grey = (inside - 900) / 899
    expected = 1 - grey if photometric == "MONOCHROME1" else grey
    np.testing.assert_allclose(got.pixels[4:-4, 4:-4], expected, atol=1e-6)
    assert (np.delete(got.pixels, np.s_[4:-4], axis=0) == 0).all()
    assert "pixel_padding" in {n.code for n in got.notices}


def test_padding_range_limit_and_a_value_under_the_wrong_sign(tmp_path: Path) -> None:
    stored = np.arange(-200, 200).reshape(20, 20)
    ds = film(stored, 12, True, WindowCenter=0, WindowWidth=400)
    ds.add_new("PixelPaddingValue", "US", 65536 - 200)
    ds.add_new("PixelPaddingRangeLimit", "SS", -100)
    got = read(save(ds, tmp_path / "film.dcm")).pixels
    assert (got[stored <= -100] == 0).all()
    np.testing.assert_allclose(
        got[stored > -100], ((stored[stored > -100] + 0.5) / 399 + 0.5).clip(0, 1), atol=1e-6
    )


def test_a_lut_is_preferred_to_a_window_and_the_first_of_several_is_taken(tmp_path: Path) -> None:
    two = [lut_item(np.full(4096, v), 0, 12) for v in (1000, 3000)]
    ds = film(STORED, VOILUTSequence=two, WindowCenter=[100, 900], WindowWidth=[10, 20])
    np.testing.assert_allclose(read(save(ds, tmp_path / "lut.dcm")).pixels, 1000 / 4095, atol=1e-6)
    ds = film(STORED, WindowCenter=[1000, 900], WindowWidth=[500, 20])
    expected = shown(STORED, Header(window=(1000, 500, "LINEAR")))
    np.testing.assert_allclose(read(save(ds, tmp_path / "window.dcm")).pixels, expected, atol=1e-6)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    ds = film(ramp(8, False, 20, 30), 8)
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.PlanarConfiguration = "RGB", 3, 0
    ds.PixelData = rgb.tobytes()
    got = read(save(ds, tmp_path / "rgb.dcm"))
    np.testing.assert_allclose(got.pixels, rgb @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    apart = np.abs(rgb.astype(float) - np.roll(rgb.astype(float), 1, axis=2)).mean() / 255
    assert got.colour == pytest.approx(apart, abs=1e-6)
    ds.PlanarConfiguration, ds.PixelData = 1, rgb.transpose(2, 0, 1).tobytes()
    np.testing.assert_array_equal(read(save(ds, tmp_path / "planar.dcm")).pixels, got.pixels)
    ds.PlanarConfiguration, ds.PixelData = 0, rgb.tobytes()
    packed = save_compressed(ds, tmp_path / "rle.dcm", uid.RLELossless)
    np.testing.assert_array_equal(read(packed).pixels, got.pixels)


@pytest.mark.parametrize(
    ("elements", "field", "expected"),
    [
        ({"ViewPosition": "AP"}, "view", "AP"),
        ({"ViewPosition": "LL"}, "view", "LATERAL"),
        ({"ViewPosition": "RAO"}, "view", "OTHER"),
        ({"SeriesDescription": "Chest p.a."}, "view", "PA"),
        ({"SeriesDescription": "W034 Thorax lat."}, "view", "LATERAL"),
        ({"SeriesDescription": "CHEST PA + LAT"}, "view", None),
        ({"SeriesDescription": "Chapel St"}, "view", None),
        ({"BodyPartExamined": "chest"}, "body_part", "CHEST"),
        ({"PatientSex": "M"}, "sex", "M"),
        ({"PatientSex": "O"}, "sex", None),
        ({"PatientAge": "018M"}, "age", 1.5),
        ({"PatientAge": "026W"}, "age", 26 * 7 / 365.25),
        ({"PatientAge": "010D"}, "age", 10 / 365.25),
        ({"PatientAge": ""}, "age", 45.0),
        ({"PatientAge": "", "PatientBirthDate": "20200101"}, "age", None),
        ({"PatientAge": "120Y"}, "age", 120.0),
        ({"PatientAge": "121Y", "PatientBirthDate": ""}, "age", None),
        ({"PatientAge": "999Y"}, "age", 45.0),
        ({"PatientAge": "", "PatientBirthDate": "18900101"}, "age", None),
        ({"PixelSpacing": [0.14, 0.15]}, "spacing", (0.14, 0.15)),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, "spacing", (0.2, 0.2)),
        ({"PixelSpacing": [0.14, 0.14], "ImagerPixelSpacing": [0.2, 0.2]}, "spacing", (0.14, 0.14)),
        ({"PixelSpacing": [0, 0]}, "spacing", None),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_facts(tmp_path: Path, elements: dict[str, Any], field: str, expected: object) -> None:
    got = getattr(read(save(film(STORED, **elements), tmp_path / "film.dcm")), field)
    assert got == (pytest.approx(expected, abs=0.01) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(("code", "scheme", "view"), [("272479007", "SCT", "PA"), ("R-10206", "SRT", "AP")])
def test_view_code(tmp_path: Path, code: str, scheme: str, view: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, "view"
    assert read(save(film(STORED, ViewCodeSequence=[item]), tmp_path / "film.dcm")).view == view


def test_nothing_that_names_the_patient_leaves_the_header(tmp_path: Path) -> None:
    got = read(save(film(STORED), tmp_path / "film.dcm"))
    told = " ".join([*got.headers.values(), *(n.text for n in got.notices)])
    assert not any(secret in told for secret in ("Doe", "Jane", "12345", "19700101"))
    assert got.headers["StudyInstanceUID"] == "1.2.826.0.1.3680043.8.498.2"


@pytest.mark.parametrize("orientation", ["L\\F", "R\\F", "L\\H", "R\\H", "F\\L", "F\\R", "H\\L", "H\\R"])
def test_upright_whatever_the_stored_orientation(tmp_path: Path, orientation: str) -> None:
    """The film of a patient whose head, feet, left and right are marked is stored in each of the eight ways."""
    upright = np.arange(12 * 10).reshape(12, 10) * 30
    across, down = orientation.split("\\")
    stored = upright
    if down in "LR":  # rows run along the body
        stored = stored.T
        across, down = down, across
        flips = (across == "R", down == "H")
        stored = stored[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
    else:
        stored = stored[:: -1 if down == "H" else 1, :: -1 if across == "R" else 1]
    ds = film(
        np.ascontiguousarray(stored), PatientOrientation=orientation.split("\\"), PixelSpacing=[0.1, 0.3]
    )
    got = read(save(ds, tmp_path / "film.dcm"))
    np.testing.assert_allclose(got.pixels, upright / upright.max(), atol=1e-6)
    assert ("turned" in {n.code for n in got.notices}) == (orientation != "L\\F")
    assert got.spacing == ((0.3, 0.1) if orientation[0] in "HF" else (0.1, 0.3))


@pytest.mark.parametrize("orientation", ["A\\F", "P\\F", "LF\\P", "X\\Y"])
def test_unclear_orientations_are_left(tmp_path: Path, orientation: str) -> None:
    path = save(film(STORED, PatientOrientation=orientation.split("\\")), tmp_path / "film.dcm")
    np.testing.assert_allclose(read(path).pixels, STORED / 4095, atol=1e-6)
    assert "turned" not in codes(path)
