"""De-identification: nothing of the table's attributes gets through, identifiers stay consistent, pixels stay the same."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_has_tag, dictionary_keyword, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from hilum.clinic.deidentify import Identity, Options, deidentify, deidentify_all, read_key
from hilum.clinic.deidentify.identity import LONGEST_SHIFT, shifted_date, shifted_datetime
from hilum.clinic.deidentify.table import Action, action_on, table
from hilum.errors import HilumError, ReadError
from hilum.images.read import decode
from tests.clinic.reports import phantom_film
from tests.images.films import BIG, IMPLICIT, save, save_compressed

KEY = Identity(bytes(range(32)))
EVERYTHING = Options(dates=True, device=True, person=True)
SECRET = "SECRET"
# A value of each VR that could identify, and is found again by what it prints as.
SECRETS: dict[str, Any] = {
    "AE": SECRET, "AS": "077Y", "CS": SECRET, "DA": "19770707", "DS": "777.25", "DT": "19770707070707", "FD": 777.25,
    "FL": 777.25, "IS": "77777", "LO": SECRET, "LT": SECRET, "OB": b"SECRET", "OW": b"SECRET", "PN": "SECRET^NAME",
    "SH": SECRET, "SL": 77777, "SS": 7777, "ST": SECRET, "TM": "070707", "UC": SECRET, "UI": "1.2.777.7", "UL": 77777,
    "UN": b"SECRET", "UR": "http://SECRET", "US": 7777, "UT": SECRET, "AT": 0x00100010, "OF": b"SECRET77",
    "OD": b"SECRET77", "OL": b"SECRET77", "OV": b"SECRET77",
}  # fmt: skip
TRACES = ("SECRET", "777", "0707", "077Y")


def in_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def cleaned(dataset: Dataset, options: Options = Options(), key: Identity = KEY) -> Dataset:
    return pydicom.dcmread(io.BytesIO(deidentify(in_bytes(dataset), key, options).data))


def known() -> list[int]:
    return [tag for tag in table() if dictionary_has_tag(tag) and tag >> 16 > 4 and tag >> 16 != 0xFFFA]


def with_secrets(into: Dataset) -> Dataset:
    """Every attribute of the table, with a value that could identify."""
    for tag in known():
        vr = dictionary_VR(tag).split(" or ")[-1]
        if vr == "SQ":
            item = Dataset()
            item.PatientName, item.StudyDate, item.StationName = "SECRET^INSIDE", "19770707", SECRET
            item.ReferencedSOPInstanceUID = "1.2.777.9"
            into.add_new(tag, vr, Sequence([item]))
        else:
            into.add_new(tag, vr, SECRETS[vr])
    return into


def full_film() -> Dataset:
    """A film with every attribute of the table, private elements, curves, overlays, an unknown one, and all nested."""
    film = with_secrets(phantom_film())
    film.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    film.add_new(0x00091001, "LO", SECRET)
    film.private_block(0x0011, "SECRET MAKER", create=True).add_new(2, "LO", SECRET)
    film.add_new(0x50000010, "US", 7777)
    film.add_new(0x60000010, "US", 7777)
    film.add_new(0x60003000, "OW", b"SECRET")
    film.add_new(0x60021500, "LO", SECRET)
    film.add_new(0x00080999, "LO", SECRET)
    inner = with_secrets(Dataset())
    inner.add_new(0x00091001, "LO", SECRET)
    deeper = Dataset()
    deeper.ReferencedStudySequence = [inner]
    film.AnatomicRegionSequence = [deeper, with_secrets(Dataset())]
    return film


def traces(dataset: Dataset) -> list[str]:
    """Elements, at any depth, whose value still shows a secret."""
    found = []
    for element in dataset:
        if element.VR == "SQ":
            found += [f"{element.keyword}/{inner}" for item in element.value for inner in traces(item)]
        elif element.tag != 0x7FE00010 and any(trace in str(element.value) for trace in TRACES):
            found.append(f"{element.tag} {element.keyword} {element.value!r}")
    return found


def test_the_table_is_whole():
    rows = table()
    assert len(rows) > 640
    assert rows[0x00100010].actions == ("Z",)
    assert rows[0x00080020].actions == ("Z",)
    assert rows[0x00080018].actions == ("U",)
    assert rows[0x00081140].actions == ("X", "Z", "U*")
    assert rows[0x00101010].kept_by == "person"
    assert rows[0x00181000].kept_by == "device"
    assert rows[0x0008002A].kept_by == "dates"
    assert rows[0x00100030].kept_by == ""  # a birth date goes, whatever is kept
    assert {action for row in rows.values() for action in row.actions} == {"D", "Z", "X", "U", "U*"}
    dates = {tag for tag in known() if dictionary_VR(tag) in ("DA", "DT", "TM")} - {0x00100030, 0x00100032}
    assert {tag for tag in known() if rows[tag].kept_by == "dates"} == dates
    assert all(
        rows[tag].actions in (("U",), ("D",))
        for tag in known()
        if dictionary_VR(tag) == "UI" and tag != 0x00001000
    )


def test_no_attribute_of_the_table_is_kept_by_the_profile():
    assert not [f"{tag:08x}" for tag in table() if action_on(Tag(tag), Options()) is Action.KEEP]


def test_no_value_gets_through():
    film = full_film()
    assert len(traces(film)) > 1000
    result = deidentify(in_bytes(film), KEY)
    assert not traces(pydicom.dcmread(io.BytesIO(result.data)))
    assert b"SECRET" not in result.data
    assert b"1.2.777" not in result.data
    assert b"1977" not in result.data
    assert result.changes["removed"] > 400


def test_what_a_reader_needs_stays():
    film = cleaned(
        phantom_film(PatientOrientation=["L", "F"], PixelSpacing=[0.1, 0.1], ManufacturerModelName="DR 9")
    )
    kept = (
        "ViewPosition",
        "BodyPartExamined",
        "PatientOrientation",
        "PixelSpacing",
        "Rows",
        "BitsStored",
        "Modality",
    )
    assert all(keyword in film for keyword in kept)
    assert film.ManufacturerModelName == "DR 9"
    assert (film.PatientBirthDate, film.PatientSex, film.StudyDate, film.AccessionNumber) == ("", "", "", "")
    assert "PatientAge" not in film


@pytest.mark.parametrize(
    ("options", "codes", "dates"),
    [
        (Options(), ["113100"], "REMOVED"),
        (Options(dates=True), ["113100", "113107"], "MODIFIED"),
        (Options(person=True), ["113100", "113108"], "REMOVED"),
        (Options(device=True), ["113100", "113109"], "REMOVED"),
        (EVERYTHING, ["113100", "113107", "113108", "113109"], "MODIFIED"),
    ],
)
def test_it_says_how_it_was_done(options, codes, dates):
    film = cleaned(phantom_film(), options)
    assert film.PatientIdentityRemoved == "YES"
    assert "PS3.15" in film.DeidentificationMethod
    assert [(c.CodeValue, c.CodingSchemeDesignator) for c in film.DeidentificationMethodCodeSequence] == [
        (code, "DCM") for code in codes
    ]
    assert film.LongitudinalTemporalInformationModified == dates


def test_options_keep_what_they_name_and_nothing_else():
    film = phantom_film(
        StationName="ROOM 7", DeviceSerialNumber="S7", PatientSize="1.8", InstitutionName="HOUSE"
    )
    person = cleaned(film, Options(person=True))
    assert (person.PatientAge, person.PatientSex, person.PatientSize) == ("045Y", "F", 1.8)
    assert not person.get("StationName")
    device = cleaned(film, Options(device=True))
    assert (device.StationName, device.DeviceSerialNumber) == ("ROOM 7", "S7")
    assert not device.get("PatientAge")
    assert not cleaned(film, EVERYTHING).get("InstitutionName")


@pytest.mark.parametrize(
    ("age", "kept"), [("089Y", "089Y"), ("090Y", "090Y"), ("103Y", "090Y"), ("018M", "018M")]
)
def test_the_very_old_are_all_ninety(age, kept):
    assert cleaned(phantom_film(PatientAge=age), Options(person=True)).PatientAge == kept


def test_dates_of_a_patient_move_together():
    first = phantom_film(
        StudyDate="20200131", AcquisitionDateTime="20200131235959.5+0100", ContentDate="20200201"
    )
    later = phantom_film(StudyDate="20210131", SOPInstanceUID="1.2.3.4.9", StudyInstanceUID="1.2.3.4.8")
    other = phantom_film(StudyDate="20200131", PatientID="another")
    a, b, c = (cleaned(film, Options(dates=True)) for film in (first, later, other))

    def day(film: Dataset, keyword: str = "StudyDate") -> datetime:
        return datetime.strptime(film[keyword].value[:8], "%Y%m%d")

    moved = datetime(2020, 1, 31) - day(a)
    assert 1 <= moved.days <= LONGEST_SHIFT
    assert (day(b) - day(a)).days == 366
    assert (day(a, "ContentDate") - day(a)).days == 1
    assert a.AcquisitionDateTime == day(a).strftime("%Y%m%d") + "235959.5"
    assert day(c) != day(a)
    assert a.PatientBirthDate == ""
    assert a.PatientID == b.PatientID != c.PatientID
    assert a.PatientName == a.PatientID


@pytest.mark.parametrize(("text", "moved"), [("20200301", "20200229"), ("2020.03.01", "20200229"), ("", ""), ("today", ""),
                                             ("20201301", ""), ("00010101", "")])  # fmt: skip
def test_a_date_moves_or_goes(text, moved):
    from datetime import timedelta

    assert shifted_date(text, timedelta(-1)) == moved
    assert shifted_datetime(text, timedelta(-1)) == ("" if "." in text else moved)


UIDS = st.from_regex(r"[0-2](\.(0|[1-9][0-9]{0,8})){1,6}", fullmatch=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(UIDS, min_size=2, max_size=5, unique=True), st.binary(min_size=16, max_size=40))
def test_identifiers_are_consistent_valid_and_stable(uids, key):
    one, same, other = Identity(key), Identity(key), Identity(key + b"x")
    made = [one.uid(u) for u in uids]
    assert made == [same.uid(u) for u in uids]
    assert len(set(made)) == len(uids)
    assert all(uid.UID(m).is_valid and len(m) <= 64 for m in made)
    assert [one.uid(m) for m in made] == made  # twice is once
    assert not any(other.made_uid(m) for m in made)
    assert not any(one.made_uid(u) for u in uids)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=64), st.binary(min_size=16, max_size=40))
def test_patients_are_consistent_and_stable(name, key):
    identity = Identity(key)
    made = identity.patient(name)
    assert made == Identity(key).patient(name) == identity.patient(made)
    assert len(made) <= 64
    assert not identity.shift(made)
    assert identity.shift(name).days < 0 or identity.made_patient(name)


@pytest.mark.parametrize("options", [Options(), EVERYTHING])
def test_twice_is_once(options):
    once = deidentify(in_bytes(full_film()), KEY, options).data
    assert deidentify(once, KEY, options).data == once


def test_references_point_to_the_renamed():
    film = phantom_film()
    cited = Dataset()
    cited.ReferencedSOPClassUID, cited.ReferencedSOPInstanceUID = film.SOPClassUID, film.SOPInstanceUID
    film.SourceImageSequence = [cited]
    result = cleaned(film)
    assert (
        result.SourceImageSequence[0].ReferencedSOPInstanceUID
        == result.SOPInstanceUID
        == KEY.uid(film.SOPInstanceUID)
    )
    assert result.SourceImageSequence[0].ReferencedSOPClassUID == film.SOPClassUID
    assert result.file_meta.MediaStorageSOPInstanceUID == result.SOPInstanceUID


def test_the_file_names_no_machine():
    film = phantom_film()
    film.preamble = b"SECRET".ljust(128, b"!")
    film.file_meta.SourceApplicationEntityTitle = SECRET
    film.file_meta.ImplementationVersionName = SECRET
    data = deidentify(in_bytes(film), KEY).data
    assert data[:128] == bytes(128)
    assert b"SECRET" not in data
    assert data[128:132] == b"DICM"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("high", [11, 13])
def test_bits_outside_the_values_go_and_the_pixels_stay(signed, high):
    film = phantom_film()
    low = high - 11
    values = np.frombuffer(film.PixelData, "<u2").astype(np.int64)
    noise = np.random.default_rng(0).integers(0, 1 << 16, values.size)
    stray = ((values << low) | (noise & ~(0xFFF << low))) & 0xFFFF
    film.PixelData, film.HighBit, film.PixelRepresentation = stray.astype("<u2").tobytes(), high, int(signed)
    data = in_bytes(film)
    result = deidentify(data, KEY)
    after = np.frombuffer(pydicom.dcmread(io.BytesIO(result.data)).PixelData, "<u2").astype(np.int64)
    sign = values >> 11 if signed else values * 0
    expected = (values << low) | (sign * (0xFFFF & ~((1 << (high + 1)) - 1)))
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(decode(result.data).pixels, decode(data).pixels)
    assert result.changes["pixel bits cleared"] > 1000


SYNTAXES = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1)


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG, *SYNTAXES], ids=lambda s: s.name)
def test_every_syntax_keeps_its_pixels(syntax, tmp_path):
    write = save_compressed if syntax in SYNTAXES else save
    data = write(phantom_film(), tmp_path / "film.dcm", syntax).read_bytes()
    result = deidentify(data, KEY)
    assert pydicom.dcmread(io.BytesIO(result.data)).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(decode(result.data).pixels, decode(data).pixels)
    assert "pixel bits cleared" not in result.changes


def test_bits_hidden_in_a_compressed_film_go(tmp_path):
    film = phantom_film()
    values = np.frombuffer(film.PixelData, "<u2")
    film.PixelData = (values | 0x8000).astype("<u2").tobytes()
    data = save_compressed(film, tmp_path / "film.dcm", uid.RLELossless).read_bytes()
    result = pydicom.dcmread(io.BytesIO(deidentify(data, KEY).data))
    np.testing.assert_array_equal(np.frombuffer(result.PixelData, "<u2"), values)
    assert result.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm", "RG3_J2KR.dcm"])
def test_real_films(name):
    data = Path(get_testdata_file(name, download=False)).read_bytes()
    result = deidentify(data, KEY)
    for trace in (
        b"Philips Medical Systems Hamburg",
        b"CompressedSamples",
        b"9RG1",
        b"20040826",
        b"1.3.6.1.4.1.5962",
    ):
        assert trace not in result.data
    np.testing.assert_array_equal(decode(result.data).pixels, decode(data).pixels)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools' dciodvfy is not installed")
@pytest.mark.parametrize("options", [Options(), EVERYTHING])
def test_dciodvfy_finds_no_fault_that_was_not_there(options, tmp_path):
    data = Path(get_testdata_file("RG1_UNCR.dcm", download=False)).read_bytes()
    (tmp_path / "before.dcm").write_bytes(data)
    (tmp_path / "after.dcm").write_bytes(deidentify(data, KEY, options).data)
    before, after = (
        {line for line in subprocess.run(["dciodvfy", str(tmp_path / f"{which}.dcm")], capture_output=True, text=True).stderr
         .splitlines() if line.startswith("Error")}
        for which in ("before", "after")
    )  # fmt: skip
    assert after <= before


def test_words_in_a_jpeg_stream_go(tmp_path):
    path = save_compressed(phantom_film(), tmp_path / "film.dcm", uid.JPEGLosslessSV1)
    film = pydicom.dcmread(path)
    stream = get_frame(film.PixelData, 0, number_of_frames=1)
    words = b"SECRET comment"
    comment = b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words
    film.PixelData = encapsulate([stream[:2] + comment + stream[2:]])
    data = in_bytes(film)
    assert words in data
    result = deidentify(data, KEY)
    assert b"SECRET" not in result.data
    np.testing.assert_array_equal(decode(result.data).pixels, decode(data).pixels)


def test_burnt_in_letters_are_warned_of():
    film = phantom_film(BurnedInAnnotation="YES")
    grey = (np.frombuffer(film.PixelData, "<u2").reshape(96, 80) // 32).astype(np.uint8)
    grey = cv2.resize(grey, (400, 480))
    cv2.putText(grey, "JANE", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 2)
    big = grey.astype(np.uint16) * 16
    film.Rows, film.Columns, film.PixelData = *big.shape, big.astype("<u2").tobytes()
    result = deidentify(in_bytes(film), KEY)
    assert {n.code for n in result.notices} == {"burned_in_annotation", "letters_seen"}
    assert result.letters
    assert all(x1 >= 0 and y2 <= 120 for x1, _, _, y2 in result.letters)


def test_what_is_no_film_is_refused(tmp_path):
    with pytest.raises(ReadError, match="no DICOM file"):
        deidentify(cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes(), KEY)
    report = phantom_film(Modality="SR")
    with pytest.raises(ReadError, match="a structured report"):
        deidentify(in_bytes(report), KEY)


def test_a_folder(tmp_path):
    films = tmp_path / "JANE DOE"
    films.mkdir()
    save(phantom_film(), films / "JANE.dcm")
    save(phantom_film(SOPInstanceUID="1.2.3.99"), films / "JANE2.dcm")
    (films / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nothing")
    done = deidentify_all([films], tmp_path / "out", KEY)
    assert done.exit_code == 1
    assert [Path(f["file"]).name for f in done.failures] == ["broken.dcm"]
    account = json.loads(done.account.read_text())
    assert account["failed"] == 1
    assert account["profile"] == [
        {"scheme": "DCM", "value": "113100", "meaning": "Basic Application Confidentiality Profile"}
    ]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["deidentified.json", *(film["name"] for film in account["films"])]
    )
    assert "JANE" not in done.account.read_text()
    assert {Path(n["file"]).name for n in done.names} == {"JANE.dcm", "JANE2.dcm"}
    with pytest.raises(HilumError, match="among the old"):
        deidentify_all([films], films, KEY)


def test_keys(tmp_path):
    made = read_key(tmp_path / "project.key")
    assert (tmp_path / "project.key").stat().st_mode & 0o077 == 0
    assert read_key(tmp_path / "project.key") == made
    assert read_key(None) != read_key(None)
    assert "..." in repr(made)
    (tmp_path / "bad.key").write_text("nonsense")
    with pytest.raises(HilumError, match="holds no key"):
        read_key(tmp_path / "bad.key")


def test_every_dummy_fits_its_representation():
    """Each attribute that the profile replaces on a film gets a value that pydicom lets pass."""
    film = full_film()
    with pydicom.config.strict_reading():
        after = cleaned(film)
        for tag in known():
            if action_on(Tag(tag), Options()) is Action.DUMMY and tag in after and tag != 0x00100020:
                keyword = dictionary_keyword(tag)
                pydicom.valuerep.validate_value(after[tag].VR, after[tag].value, pydicom.config.RAISE)
                assert keyword
