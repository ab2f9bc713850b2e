"""Bad films: each is refused with fault, file and mend, or read with a warning; none ends or floods the process.

The numbers are those of the project's list of hazards (A: refused; B: bounded; D: warned of).
"""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from hilum.errors import HilumError, LimitError, ReadError
from hilum.images.radiograph import Radiograph
from hilum.images.read import read

from .images.films import film, ramp, save, save_compressed

STORED = ramp(12, False)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return save(film(STORED), tmp_path / "good.dcm")


def without_meta(change: Callable[[Dataset], None], syntax: uid.UID | None = None) -> Callable[[Path], None]:
    """A maker of a film that is valid but for `change`."""

    def make(path: Path) -> None:
        ds = film(STORED)
        change(ds)
        if syntax is None:
            save(ds, path)
        else:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.save_as(path, enforce_file_format=True)

    return make


def cut(share: float) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        data = save(film(STORED), path).read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def cut_by(count: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(save(film(STORED), path).read_bytes()[:-count])

    return make


def lying_length(path: Path, **elements: object) -> None:
    """All pixels are there; only the length of their element is a lie."""
    data = save(film(STORED, **elements), path).read_bytes()
    at = data.index(struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OW", 0)) + 8
    path.write_bytes(data[:at] + struct.pack("<L", 0xFFFFFFF0) + data[at + 4 :])


def lying_length_before_more(path: Path) -> None:
    lying_length(path, DataSetTrailingPadding=bytes(64))


def nested(undefined: bool) -> Callable[[Path], None]:
    """Requested Procedure Code Sequence within itself, 300 times."""

    def make(path: Path) -> None:
        head = struct.pack("<HH2sH", 0x0032, 0x1064, b"SQ", 0)
        item, item_end = struct.pack("<HH", 0xFFFE, 0xE000), struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        sequence_end, body, forever = (
            struct.pack("<HHL", 0xFFFE, 0xE0DD, 0),
            b"",
            struct.pack("<L", 0xFFFFFFFF),
        )
        for _ in range(300):
            if undefined:
                body = head + forever + item + forever + body + item_end + sequence_end
            else:
                body = item + struct.pack("<L", len(body)) + body
                body = head + struct.pack("<L", len(body)) + body
        data = save(film(STORED), path).read_bytes()
        at = data.index(struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OW", 0))
        path.write_bytes(data[:at] + body + data[at:])

    return make


def set_to(**elements: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in elements.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


def smaller_codestream(path: Path) -> None:
    ds = film(STORED)
    ds.compress(uid.JPEG2000Lossless)
    ds.Rows, ds.Columns = 4000, 4000
    ds.save_as(path)


def corrupt_jpeg_2000(path: Path) -> None:
    ds = film(STORED)
    ds.compress(uid.JPEG2000Lossless)
    data = bytearray(ds.PixelData)
    at = data.index(b"\xff\x51")
    data[at + 46 : at + 126] = b"\xa5" * 80
    ds.PixelData = bytes(data)
    ds["PixelData"].is_undefined_length = True
    ds.save_as(path)


def as_syntax(syntax: uid.UID) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        from pydicom.encaps import encapsulate

        ds = film(STORED)
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([b"\0\0\1\xb3" + b"\0" * 60])
        ds["PixelData"].is_undefined_length = True
        ds.save_as(path, enforce_file_format=True)

    return make


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "1 empty file": (lambda p: p.write_bytes(b""), "empty"),
    "2 text named .dcm": (
        lambda p: p.write_text("Dear colleague, enclosed please find the film.\n" * 9),
        "neither",
    ),
    "3 truncated header": (cut(0.06), "cut short"),
    "4 truncated pixels": (cut(0.7), "cut short"),
    "5 pixel length 0xFFFFFFF0": (lying_length, "declares 4294967280 bytes"),
    "5 pixel length 0xFFFFFFF0 in the middle": (lying_length_before_more, "declares 4294967280 bytes"),
    "5 a last pixel that is not there": (cut_by(1), "cut short"),
    "6 nested 300 deep": (nested(undefined=False), "nests sequences"),
    "6 nested 300 deep, undefined length": (nested(undefined=True), "nests sequences"),
    "7 no rows": (without_meta(set_to(Rows=0)), "0 rows"),
    "8 65535 x 65535": (without_meta(set_to(Rows=65535, Columns=65535)), "65535 x 65535"),
    "9 a billion frames": (without_meta(set_to(NumberOfFrames=10**9)), "1000000000 frames"),
    "10 codestream size": (smaller_codestream, "64 x 48"),
    "11 corrupt JPEG 2000": (corrupt_jpeg_2000, "cannot be decoded|no JPEG 2000"),
    "12 bits stored over allocated": (without_meta(set_to(BitsStored=20, HighBit=19)), "contradict"),
    "13 palette": (without_meta(set_to(PhotometricInterpretation="PALETTE COLOR")), "PALETTE COLOR"),
    "13 YBR": (without_meta(set_to(PhotometricInterpretation="YBR_FULL", SamplesPerPixel=3)), "YBR_FULL"),
    "14 no photometric": (without_meta(set_to(PhotometricInterpretation=None)), "Photometric"),
    "15 MPEG": (as_syntax(uid.MPEG2MPML), "MPEG2"),
    "16 no pixels": (without_meta(set_to(PixelData=None)), "no pixels"),
    "a folder": (lambda p: p.mkdir(), "no regular file"),
    "a missing file": (lambda p: None, "no such file"),
    "a signed 32-bit dose": (without_meta(set_to(BitsAllocated=32, BitsStored=32, HighBit=31)), "32 bits"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_and_the_next_film_is_read(case: str, tmp_path: Path, good: Path) -> None:
    make, words = REFUSED[case]
    bad = tmp_path / "bad.dcm"
    make(bad)
    with pytest.raises(ReadError, match=words) as caught:
        read(bad)
    assert caught.value.path == bad
    assert caught.value.mend
    assert "\n" not in str(caught.value)
    assert read(good).pixels.shape == STORED.shape


def deflated_bomb(path: Path) -> None:
    """17: a dataset of zeros that inflates to 600 MiB from 0.6 MB."""
    ds = film(STORED)
    header = save(ds, path).read_bytes()
    meta_end = 132 + 12 + struct.unpack("<L", header[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(header[meta_end:])
    body += b"".join(packer.compress(bytes(2**20)) for _ in range(600)) + packer.flush()
    # The two UIDs differ in length: write the meta group again for the deflated syntax.
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    meta = io.BytesIO()
    from pydicom.filewriter import write_file_meta_info

    write_file_meta_info(meta, ds.file_meta)
    path.write_bytes(bytes(128) + b"DICM" + meta.getvalue() + body)


def png(path: Path, side: int, bits: int, colour_type: int, row: bytes, rows: int) -> None:
    """A PNG (W3C PNG, section 11) of `side` x `side` pixels that holds `row` so many times, perhaps too few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))

    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"\0" + row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">LLBBBBB", side, side, bits, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


LARGE = 8000  # pixels a side: 64 million, all that a film may have


def large_png(samples: int, bits: int, colour_type: int) -> Callable[[Path], None]:
    """Sixteen steps from left to right, others in each channel: no short cut for grey or opaque images is taken, and
    yet the file is small and soon made."""

    def make(path: Path) -> None:
        steps = np.linspace(0, 2**bits - 1, 16).repeat(LARGE // 16)
        row = np.column_stack([steps / (n + 1) for n in range(samples)]).astype(f">u{bits // 8}").tobytes()
        png(path, LARGE, bits, colour_type, row, LARGE)

    return make


def large_rgb_dicom(path: Path) -> None:
    ds = film(np.zeros((1, 1), np.int64), 8)
    ds.Rows = ds.Columns = LARGE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = np.linspace(0, 255, 3 * LARGE).astype(np.uint8).tobytes() * LARGE
    save(ds, path)


# What becomes of each, in less than a gibibyte: it is refused, or it is a large film and is read.
BOUNDED: dict[str, tuple[Callable[[Path], object], str]] = {
    "5 pixel length 0xFFFFFFF0": (lying_length, "ReadError"),
    "6 nested 300 deep": (nested(undefined=False), "LimitError"),
    "6 nested 300 deep, undefined length": (nested(undefined=True), "LimitError"),
    "8 65535 x 65535": (without_meta(set_to(Rows=65535, Columns=65535)), "LimitError"),
    "9 a billion frames": (without_meta(set_to(NumberOfFrames=10**9)), "ReadError"),
    "10 codestream size": (smaller_codestream, "ReadError"),
    "11 corrupt JPEG 2000": (corrupt_jpeg_2000, "ReadError"),
    "17 deflated bomb": (deflated_bomb, "LimitError"),
    "20 a 50,000 x 50,000 PNG": (lambda p: png(p, 50_000, 8, 0, bytes(50_000), 2000), "LimitError"),
    "large grey, 16 bit": (large_png(1, 16, 0), "Radiograph"),
    "large RGBA, 16 bit": (large_png(4, 16, 6), "Radiograph"),
    "large DICOM, RGB": (large_rgb_dicom, "Radiograph"),
}
# A process of their own reads one after the other, since its start takes longer than most of them. On Linux the peak is
# VmHWM, which `clear_refs` sets back (proc(5)); elsewhere that of all up to here. ru_maxrss alone would start at what
# the parent, a worker that ran many tests, had in memory when it made this process.
MEASURED = """
import re, resource, sys
from pathlib import Path
from hilum.errors import ReadError
from hilum.images.read import read
status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
for path in sys.argv[1:]:
    if clear.exists():
        clear.write_text("5")
    try:
        kind = type(read(path)).__name__
    except ReadError as error:
        kind = type(error).__name__
    if status.is_file():
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1])
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(kind, peak // 1024)
"""


def test_memory_stays_under_a_gibibyte(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(len(BOUNDED))]
    for path, (make, _) in zip(paths, BOUNDED.values(), strict=True):
        make(path)
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    for path in paths:
        path.unlink()  # the largest has 192 MB
    assert done.returncode == 0, done.stderr
    found = {case: line.split() for case, line in zip(BOUNDED, done.stdout.splitlines(), strict=True)}
    assert {case: kind for case, (kind, _) in found.items()} == {c: kind for c, (_, kind) in BOUNDED.items()}
    assert {case: int(peak) for case, (_, peak) in found.items() if int(peak) >= 1024} == {}


def test_a_deflated_film_is_read(tmp_path: Path, good: Path) -> None:
    ds = film(STORED)
    ds.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "deflated.dcm").pixels, read(good).pixels)


WARNED: dict[str, tuple[dict[str, object], str]] = {
    "40 for processing": ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing"),
    "42 NaN window": ({"WindowCenter": "NaN", "WindowWidth": "100"}, "bad_window"),
    "43 window width 0": ({"WindowCenter": 2048, "WindowWidth": 0}, "bad_window"),
    "43 negative window width": ({"WindowCenter": 2048, "WindowWidth": -4}, "bad_window"),
    "44 burned in": ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
    "45 missing sex": ({"PatientSex": ""}, "missing_sex"),
    "45 missing age": ({"PatientAge": "", "PatientBirthDate": ""}, "missing_age"),
    "46 unknown character set": ({"SpecificCharacterSet": "ISO_IR 4711"}, "character_set"),
    "an unknown VOI function": (
        {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "CUBIC"},
        "bad_window",
    ),
    "a slope of 0": ({"RescaleSlope": 0, "RescaleIntercept": 1}, "bad_rescale"),
    "a slope that passes every float": ({"RescaleSlope": "1e307", "RescaleIntercept": 0}, "bad_rescale"),
    "a slope that passes every float, with a window": (
        {"RescaleSlope": "1e307", "RescaleIntercept": 0, "WindowCenter": 2048, "WindowWidth": 0},
        "bad_rescale",
    ),
    "45 an age of 999 years": ({"PatientAge": "999Y", "PatientBirthDate": ""}, "missing_age"),
    "an empty VOI LUT": ({"VOILUTSequence": Sequence([Dataset()])}, "bad_window"),
    "an empty Modality LUT": ({"ModalityLUTSequence": Sequence([Dataset()])}, "bad_modality_lut"),
}


@pytest.mark.parametrize("case", WARNED)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_warned_and_read(case: str, tmp_path: Path) -> None:
    elements, code = WARNED[case]
    got = read(save(film(STORED, **elements), tmp_path / "film.dcm"))
    assert code in {notice.code for notice in got.notices}
    clean = {n.code for n in read(save(film(STORED), tmp_path / "clean.dcm")).notices}
    assert not clean
    assert np.isfinite(got.pixels).all()
    # What cannot be applied is left out: the film's full range is shown.
    np.testing.assert_allclose(got.pixels, STORED / 4095, atol=2e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_range_of_finite_ends_that_no_float_holds(tmp_path: Path) -> None:
    """From -1.6e308 to 1.6e308: each end is a float, their difference is none."""
    stored = ramp(12, True)
    got = read(save(film(stored, 12, True, RescaleSlope="8e304", RescaleIntercept=0), tmp_path / "film.dcm"))
    assert {n.code for n in got.notices} == {"bad_rescale"}
    np.testing.assert_allclose(got.pixels, (stored + 2048) / 4095, atol=2e-4)


def valid_files() -> dict[str, bytes]:
    """Small valid files of every kind, to be damaged."""
    grey = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)
    out: dict[str, bytes] = {}
    for kind, image in {
        "PNG": Image.fromarray(grey.astype(np.uint16) * 257),
        "JPEG": Image.fromarray(grey),
        "TIFF": Image.fromarray(grey.astype(np.uint16) * 257),
    }.items():
        buffer = io.BytesIO()
        image.save(buffer, format=kind)
        out[kind] = buffer.getvalue()
    return out


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    out = valid_files()
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": 1, "RescaleIntercept": 0}
    out["DICOM"] = save(film(STORED, **window), folder / "raw").read_bytes()
    syntaxes = (uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless)
    for syntax in syntaxes:
        out[syntax.name] = save_compressed(film(STORED, **window), folder / "packed", syntax).read_bytes()
    return out


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_damage_gives_a_film_or_our_error(
    data: st.DataObject, seeds: dict[str, bytes], tmp_path: Path
) -> None:
    """Truncation and changed bytes in a valid file of any kind: a `Radiograph` or a `HilumError`, nothing else."""
    content = bytearray(seeds[data.draw(st.sampled_from(sorted(seeds)))])
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / "damaged"
    path.write_bytes(content)
    got: Radiograph | HilumError
    try:
        got = read(path)
    except HilumError as error:
        got = error
    if isinstance(got, HilumError):
        assert got.path == path
    else:
        assert 0 <= got.pixels.min() <= got.pixels.max() <= 1


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGExtended12Bit])
def test_an_odd_application_segment_does_not_end_the_process(syntax: uid.UID, tmp_path: Path) -> None:
    """A JFIF revision of 255 makes GDCM raise an exception that nobody catches; the stream reaches it without."""
    ds = film(STORED)
    path = save_compressed(ds, tmp_path / "film.dcm", uid.JPEGLosslessSV1)
    data = path.read_bytes()
    at = data.index(b"\xff\xd8\xff") + 2
    jfif = b"\xff\xe0" + struct.pack(">H5sBBBHHBB", 16, b"JFIF\0", 255, 1, 0, 1, 1, 0, 0)
    length_at = data.rindex(b"\xfe\xff\x00\xe0", 0, at) + 4
    length = struct.unpack("<L", data[length_at : length_at + 4])[0] + len(jfif)
    data = data[:length_at] + struct.pack("<L", length) + data[length_at + 4 : at] + jfif + data[at:]
    path.write_bytes(data.replace(str(uid.JPEGLosslessSV1).encode(), str(syntax).encode().ljust(22, b"\0")))
    code = f"from hilum.images.read import read; print(read({str(path)!r}).pixels.shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(STORED.shape)


def test_limits_are_read_errors() -> None:
    assert issubclass(LimitError, ReadError)
