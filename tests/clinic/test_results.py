"""DICOM results: valid by dciodvfy, read back by highdicom with the report's values, and in the film's own pixels."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr import MeasurementReport
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as dicom_codes

from hilum.bundles.card import RESEARCH_USE
from hilum.clinic.results import KINDS, codes, results_of, write_results
from hilum.clinic.results.source import Source, read_source, source_of
from hilum.clinic.results.write import as_bytes
from hilum.errors import HilumError, ReadError
from hilum.images.read import decode, read
from tests.clinic.reports import BOXES, HEIGHT, WIDTH, phantom_film, refused, report_of, saved, without_boxes

MADE = datetime(2025, 3, 4, 5, 6, 7)
FRAME = {
    "FrameOfReferenceUID": "1.2.3.4",
    "ImagePositionPatient": [0, 0, 0],
    "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
    "PixelSpacing": [0.2, 0.2],
    "SliceThickness": "1",
}
KINDS_OF_FILM = {
    "plain": {},
    "monochrome 1": {"photometric": "MONOCHROME1"},
    "spacing": {"ImagerPixelSpacing": [0.143, 0.143], "PatientOrientation": ["L", "F"]},
    "no spacing after all": {"PixelSpacing": [0, 0]},
    "frame of reference": FRAME,
    "frame of reference without a place": {"FrameOfReferenceUID": "1.2.3.4"},
    "no slice": {k: v for k, v in FRAME.items() if k != "SliceThickness"},
    "head down": {"PatientOrientation": ["R", "H"]},
    "on its side": {"PatientOrientation": ["F", "L"], "PixelSpacing": [0.1, 0.2]},
    "odd orientation": {"PatientOrientation": ["X", "?"]},
    "window": {"WindowCenter": "2048", "WindowWidth": "1500", "RescaleSlope": "2", "RescaleIntercept": "-5"},
    "sigmoid": {"WindowCenter": ["2048", "1"], "WindowWidth": ["1500", "2"], "VOILUTFunction": "SIGMOID"},
    "latin 1": {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Äö^Jürgen"},
    "utf 8": {"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Wang^XiaoDong=王^小东"},
    "japanese": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    "bare": {k: None for k in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                               "StudyID", "AccessionNumber", "ReferringPhysicianName", "BodyPartExamined")},
    "faulty": {"PatientSex": "FEMALE", "PatientBirthDate": "1970-01-01", "StudyTime": "noon", "PatientAge": "old"},
    "lossy": {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10",
              "LossyImageCompressionMethod": "ISO_10918_1"},
    "de-identified": {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand"},
    "knee": {"BodyPartExamined": "KNEE"},
}  # fmt: skip


def made(path: Path, report=None) -> dict[str, Dataset]:
    """The results of a film, written to bytes and read again."""
    results = results_of(report or report_of(path), read_source(path), MADE)
    return {kind: _again(result) for kind, result in results.items()}


def _again(result: Dataset) -> Dataset:
    return pydicom.dcmread(pydicom.filebase.DicomBytesIO(as_bytes(result)))


def film_of(tmp_path: Path, name: str) -> Path:
    with pytest.warns() if name == "faulty" else nullcontext():
        return saved(tmp_path, **KINDS_OF_FILM[name])


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools' dciodvfy is not installed")
@pytest.mark.parametrize("name", KINDS_OF_FILM)
def test_dciodvfy_finds_no_error(name, tmp_path):
    path = film_of(tmp_path, name)
    names = write_results(report_of(path), tmp_path / "out", "film")
    names |= {
        f"no {kind}": f for kind, f in write_results(refused(path), tmp_path / "out", "refused").items()
    }
    assert {*KINDS, "no sr", "no sc"} == set(names)
    assert not [fault for file in names.values() for fault in errors(tmp_path / "out" / file)]


def errors(path: Path) -> list[str]:
    said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace")
    return [f"{path.name}: {line}" for line in said.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools' dciodvfy is not installed")
@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG3_UNCR.dcm"])
def test_dciodvfy_finds_no_error_on_real_films(name, tmp_path):
    path = Path(get_testdata_file(name, download=False))
    names = write_results(without_boxes(report_of(path)), tmp_path, "film")
    assert not [fault for file in names.values() for fault in errors(tmp_path / file)]


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="dcmtk is not installed")
def test_dcmtk_reads_them(tmp_path):
    names = write_results(report_of(saved(tmp_path)), tmp_path / "out", "film")
    dump = subprocess.run(["dsrdump", str(tmp_path / "out" / names["sr"])], capture_output=True, text=True)
    assert dump.returncode == 0, dump.stderr
    assert "Cardiomegaly" in dump.stdout
    assert "0.712346" in dump.stdout
    shown = tmp_path / "sc.ppm"
    subprocess.run(
        ["dcmj2pnm", str(tmp_path / "out" / names["sc"]), str(shown)], check=True, capture_output=True
    )
    rows = pydicom.dcmread(tmp_path / "out" / names["sc"]).pixel_array
    header, data = shown.read_bytes().split(b"\n255\n", 1)
    assert header.startswith(b"P6")
    np.testing.assert_array_equal(np.frombuffer(data, np.uint8).reshape(rows.shape), rows)


@pytest.mark.parametrize("name", KINDS_OF_FILM)
def test_they_belong_to_the_films_patient_and_study(name, tmp_path):
    path = film_of(tmp_path, name)
    film = pydicom.dcmread(path)
    results = made(path)
    assert set(results) == set(KINDS)
    assert (
        len({r.SOPInstanceUID for r in results.values()} | {r.SeriesInstanceUID for r in results.values()})
        == 8
    )
    for result in results.values():
        assert result.StudyInstanceUID == film.StudyInstanceUID
        assert result.SeriesInstanceUID != film.SeriesInstanceUID
        assert str(result.PatientName) == str(film.get("PatientName", ""))
        assert result.PatientID == film.get("PatientID", "")
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert result.Manufacturer == "Hilum"
        assert result.PatientSex in ("F", "")


def test_what_is_not_allowed_is_left_out(tmp_path):
    sr = made(film_of(tmp_path, "faulty"))["sr"]
    assert (sr.PatientSex, sr.PatientBirthDate, sr.StudyTime) == ("", "", "")
    assert "PatientAge" not in sr
    assert sr.StudyDate == "20150102"


def groups(sr: Dataset):
    content = highdicom.sr.ComprehensiveSR.from_dataset(sr).content
    assert isinstance(content, MeasurementReport)
    return content


def test_findings_read_back_with_their_numbers(tmp_path):
    path = saved(tmp_path)
    report = report_of(path)
    sr = made(path, report)["sr"]
    found = groups(sr).get_image_measurement_groups()
    assert len(found) == len(report.findings)
    for finding, group in zip(report.findings, found, strict=True):
        code = finding.code or {
            "value": codes.finding_code(finding.name, None).value,
            "meaning": finding.name,
        }
        assert (group.finding_type.value, group.finding_type.meaning) == (code["value"], code["meaning"])
        numbers = {m.name.value: m.value for m in group.get_measurements()}
        low, high = finding.interval or (None, None)
        expected = {
            "122157": finding.probability,
            "113061": finding.std,
            "LOW95": low,
            "HIGH95": high,
            "122411": finding.threshold,
            "LUNGSHARE": finding.lung_share,
        }
        assert numbers == pytest.approx({k: v for k, v in expected.items() if v is not None}, abs=1e-6)
        assert all(m.unit == codes.ONE for m in group.get_measurements())
    presence = [g.get_qualitative_evaluations(codes.PRESENCE)[0].value for g in found]
    assert presence == [codes.PRESENT, codes.ABSENT, codes.UNDETERMINED, codes.PRESENT]


def test_the_algorithm_is_named_with_its_digest(tmp_path):
    text = texts(made(saved(tmp_path))["sr"])
    assert {"toy", "1.2.3", f"digest {'ab' * 32}", "fusion of toy, other"} <= set(text)
    assert any(t.startswith(RESEARCH_USE) for t in text)
    assert any("très petit, 小さい" in t for t in text)


def texts(item: Dataset) -> list[str]:
    own = [str(item.TextValue)] if "TextValue" in item else []
    return own + [t for inner in item.get("ContentSequence", []) for t in texts(inner)]


def test_a_film_that_was_not_analysed_says_why(tmp_path):
    results = made(path := saved(tmp_path), refused(path))
    assert set(results) == {"sr", "sc"}
    (group,) = groups(results["sr"]).get_image_measurement_groups()
    assert group.get_qualitative_evaluations(codes.ANALYSIS)[0].value == codes.NOT_ATTEMPTED
    assert any("it shows no chest but a knee" in t for t in texts(results["sr"]))


@pytest.mark.parametrize("orientation", [None, ("L", "F"), ("R", "F"), ("L", "H"), ("R", "H"), ("F", "L"), ("H", "R"),
                                         ("F", "R"), ("H", "L")])  # fmt: skip
def test_positions_are_in_the_stored_pixels(orientation, tmp_path):
    """A mark that is stored at a known place is found there by the box and the mask, however the film was turned."""
    dataset = phantom_film(PatientOrientation=list(orientation) if orientation else None or "")
    stored = np.zeros((HEIGHT, WIDTH), np.uint16)
    stored[10:30, 50:75] = 4095
    dataset.PixelData = stored.tobytes()
    dataset.save_as(path := tmp_path / "film.dcm", enforce_file_format=True)
    film = read(path)
    rows, columns = np.nonzero(film.pixels > 0.5)
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    source = read_source(path)
    report = report_of(film)
    np.testing.assert_array_equal(source.boxes(np.array(box), report), [[50, 10, 75, 30]])
    mask = (film.pixels > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(source.mask(mask), stored > 0)


@pytest.mark.parametrize("name", ["plain", "head down", "on its side"])
def test_boxes_are_closed_polylines_on_the_film(name, tmp_path):
    path = film_of(tmp_path, name)
    report, source = report_of(path), read_source(path)
    results = made(path, report)
    regions = groups(results["sr"]).get_planar_roi_measurement_groups()
    assert len(regions) == len(report.boxes)
    film = pydicom.dcmread(path)
    for box, group, drawn in zip(
        report.boxes, regions, results["gsps"].GraphicAnnotationSequence, strict=False
    ):
        points = group.roi.value
        assert points.shape == (5, 2)
        np.testing.assert_array_equal(points[0], points[-1])
        x1, y1, x2, y2 = source.boxes(np.array(box.box), report)[0]
        np.testing.assert_allclose([*points.min(0), *points.max(0)], [x1, y1, x2, y2], atol=1e-4)
        assert group.roi.ContentSequence[0].referenced_sop_instance_uid == film.SOPInstanceUID
        (certainty,) = group.get_measurements(codes.CERTAINTY)
        assert certainty.value == pytest.approx(100 * box.score)
        line = drawn.GraphicObjectSequence[0]
        np.testing.assert_allclose(np.reshape(line.GraphicData, (-1, 2)), points)
        assert (line.GraphicType, line.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
        assert drawn.TextObjectSequence[0].UnformattedTextValue.startswith(box.name)
    assert BOXES[0] == report.boxes[0].box


@pytest.mark.parametrize("name", KINDS_OF_FILM)
def test_lungs_read_back_as_they_were(name, tmp_path):
    path = film_of(tmp_path, name)
    report, source = report_of(path), read_source(path)
    seg = highdicom.seg.Segmentation.from_dataset(made(path, report)["seg"])
    film = pydicom.dcmread(path)
    assert ("FrameOfReferenceUID" in seg) == (name == "frame of reference")
    masks = seg.get_pixels_by_source_instance([film.SOPInstanceUID], ignore_spatial_locations=True)[0]
    assert report.lungs is not None
    np.testing.assert_array_equal(masks[..., 0], source.mask(report.lungs.left))
    np.testing.assert_array_equal(masks[..., 1], source.mask(report.lungs.right))
    for number, side in ((1, codes.LEFT), (2, codes.RIGHT)):
        described = seg.get_segment_description(number)
        assert described.algorithm_type.value == "AUTOMATIC"
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        assert kind.CodeValue == "39607008"
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == side.value


def test_a_lung_that_was_not_found_stays_a_segment(tmp_path):
    path = saved(tmp_path)
    report = report_of(path)
    assert report.lungs is not None
    report.lungs.left[:] = 0
    seg = highdicom.seg.Segmentation.from_dataset(made(path, report)["seg"])
    assert seg.number_of_segments == 2
    assert not seg.pixel_array[0].any()


@pytest.mark.parametrize(("name", "shape"), [("plain", "IDENTITY"), ("monochrome 1", "INVERSE")])
def test_the_presentation_state_shows_bone_white(name, shape, tmp_path):
    assert made(film_of(tmp_path, name))["gsps"].PresentationLUTShape == shape


def test_the_presentation_state_has_the_films_window(tmp_path):
    state = made(film_of(tmp_path, "window"))["gsps"]
    (voi,) = state.SoftcopyVOILUTSequence
    assert (voi.WindowCenter, voi.WindowWidth) == (2048, 1500)
    assert (state.RescaleSlope, state.RescaleIntercept) == (2, -5)


def test_the_picture_is_what_the_report_draws(tmp_path):
    from hilum.analysis.render.overlay import overlay

    path = saved(tmp_path)
    report = report_of(path)
    picture = made(path, report)["sc"]
    nameless = replace(report, film=replace(report.film, path=None))
    np.testing.assert_array_equal(picture.pixel_array, overlay(nameless, 2048))
    assert (picture.BurnedInAnnotation, picture.ConversionType) == ("YES", "WSD")
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == pydicom.dcmread(path).SOPInstanceUID


def test_the_same_film_and_bundle_give_the_same_bytes(tmp_path):
    path = saved(tmp_path)
    once, again = (results_of(report_of(path), read_source(path), MADE) for _ in range(2))
    assert {k: as_bytes(v) for k, v in once.items()} == {k: as_bytes(v) for k, v in again.items()}


def test_another_bundle_or_film_gives_other_identifiers(tmp_path):
    path = saved(tmp_path)
    report, source = report_of(path), read_source(path)
    other = replace(report, bundles=(replace(report.bundles[0], digest="cd" * 32),))
    film = saved(tmp_path, "other.dcm", SOPInstanceUID="1.2.3.4.5")
    uids = {
        results_of(r, s, MADE)["sr"].SOPInstanceUID
        for r, s in ((report, source), (other, source), (report, read_source(film)))
    }
    assert len(uids) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_our_own_results_are_refused_as_films(kind, tmp_path):
    names = write_results(report_of(saved(tmp_path)), tmp_path / "out", "film")
    with pytest.raises(ReadError, match="a result that Hilum wrote"):
        read(tmp_path / "out" / names[kind])


def test_a_picture_has_no_dicom_results(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "film.png"), np.full((64, 64), 90, np.uint8))
    with pytest.raises(HilumError, match="DICOM results need a DICOM film"):
        write_results(report_of(tmp_path / "film.png"), tmp_path / "out", "film")
    assert not (tmp_path / "out").exists()


def test_a_film_without_identifiers_has_no_dicom_results(tmp_path):
    path = saved(tmp_path, StudyInstanceUID=None)
    with pytest.raises(HilumError, match="no usable StudyInstanceUID"):
        read_source(path)


def test_a_colour_film_has_all_but_a_presentation_state():
    dataset = phantom_film()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = bytes(HEIGHT * WIDTH * 3)
    source = source_of(dataset)
    assert isinstance(source, Source)
    assert source.chain is None
    seen = decode(as_bytes(dataset))
    assert set(results_of(report_of(seen), source, MADE)) == {"sr", "seg", "sc"}


def test_codes_are_those_of_the_standard():
    """Meanings as pydicom's copy of PS3.16 has them; private ones are named as private."""
    for code, known in [
        (codes.PROBABILITY, dicom_codes.DCM.Probability),
        (codes.STANDARD_DEVIATION, dicom_codes.DCM.StandardDeviation),
        (codes.THRESHOLD, dicom_codes.DCM.ThresholdValue),
        (codes.PRESENCE, dicom_codes.DCM.PresenceOfProperty),
        (codes.UNDETERMINED, dicom_codes.DCM.PresenceUndetermined),
        (codes.CERTAINTY, dicom_codes.DCM.CertaintyOfFinding),
        (codes.ANALYSIS, dicom_codes.DCM.AnalysisPerformed),
        (codes.NOT_ATTEMPTED, dicom_codes.DCM.NotAttempted),
        (codes.SUCCEEDED, dicom_codes.DCM.Succeeded),
        (codes.PRESENT, dicom_codes.SCT.Present),
        (codes.ABSENT, dicom_codes.SCT.Absent),
        (codes.LUNG, dicom_codes.SCT.Lung),
        (codes.AI, dicom_codes.DCM.ArtificialIntelligence),
        (codes.LEFT, dicom_codes.SCT.Left),
        (codes.RIGHT, dicom_codes.SCT.Right),
    ]:
        assert (code.value, code.scheme_designator, code.meaning) == (
            known.value,
            known.scheme_designator,
            known.meaning,
        )
    for code in (
        codes.INTERVAL_LOW,
        codes.INTERVAL_HIGH,
        codes.LUNG_SHARE,
        codes.finding_code("Hernia", None),
    ):
        assert code.scheme_designator == "99HILUM"
        assert len(code.value) <= 16
