"""Damaged files by the million into `hilum.read` and the clinic's look at a file: no crash, no hang, no memory past a limit.

    python -m benchmarks.fuzz_reader [--minutes 10] [--memory 1024] [--seconds 20] [--seed 1] [--keep DIR]

A process of its own (atheris: libFuzzer, guided by the branches of `hilum.images` and of pydicom's parser) changes small
valid films: DICOM in every transfer syntax that is read, PNG, JPEG, TIFF. Beside bytes it changes numbers of the header, and
sets a PNG's checksums right again, since nothing past a wrong one is read. Each file must give a film whose pixels lie in
[0, 1], or one of Hilum's errors. What breaks that, what ends the process, takes longer than `--seconds` or more than
`--memory` MiB beyond what the process takes for the films as they are is kept in DIR and counted; a new process goes on.
Prints how many files were read, and ends with 1 where one was kept.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

LONGEST = 2**16  # bytes of a file
NUMBERS = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 31, 32, 48, 64, 255, 256, 4095, 8000, 32767, 32768, 65534, 65535)
STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
COVERED = re.compile(r"\bcov: (\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("--seconds", type=int, default=20, help="for one file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="where to keep what was found; a new folder without it")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given, rest = parser.parse_known_args()
    if given.child is not None:
        fuzz(given.child, rest)
    else:
        sys.exit(watch(given.minutes, given.memory, given.seconds, given.seed, given.keep))


def watch(minutes: float, memory: int, seconds: int, seed: int, keep: Path | None) -> int:
    """Run processes one after the other until the time is over; returns 1 where one was ended by a file."""
    keep = keep or Path(tempfile.mkdtemp(prefix="hilum-fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    until, files, peak, covered, bad, started = time.monotonic() + 60 * minutes, 0, 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in ("films", "grown", "work"):
            (place / name).mkdir()
        write_films(place / "films")
        while (left := int(until - time.monotonic())) > 0:
            base = resident(place)
            words = [f"-max_total_time={left}", f"-rss_limit_mb={base + memory}", f"-timeout={seconds}"]
            words += [
                f"-seed={seed + started}",
                f"-artifact_prefix={keep}/",
                f"-max_len={LONGEST}",
                "-print_final_stats=1",
            ]
            ended = child(place, *words, str(place / "grown"), str(place / "films"))
            told = dict(STATISTIC.findall(ended.stderr))
            files += int(told.get("number_of_executed_units", 0))
            peak = max(peak, int(told.get("peak_rss_mb", 0)) - base)
            covered = max([covered, *map(int, COVERED.findall(ended.stderr))])
            started += 1
            if ended.returncode != 0 or not told:
                bad += 1
                (keep / f"process-{started}.txt").write_text(ended.stderr[-20_000:])
    print(f"{files:,} files in {minutes:g} minutes by {started} processes; {covered:,} branches were seen")
    print(f"memory beyond that of the films as they are: {peak} MiB at most, of {memory}")
    print(f"{bad} crashes, hangs, wrong pixels or too much memory" + (f": see {keep}" if bad else ""))
    return int(bad > 0 or peak > memory)


def child(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.fuzz_reader", "--child", str(place), *words]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)


def resident(place: Path) -> int:
    """MiB that a process takes which read the films as they are."""
    ended = child(place, "-runs=0", "-print_final_stats=1", str(place / "films"))
    told = dict(STATISTIC.findall(ended.stderr))
    if ended.returncode != 0 or not told:
        raise RuntimeError(f"the films as they are cannot be read: {ended.stderr[-3000:]}")
    return int(told["peak_rss_mb"])


def write_films(folder: Path) -> None:
    """The valid films that are changed."""
    from pydicom import uid
    from tests.images.films import film, lut_item, ramp, save, save_compressed
    from tests.test_bad_inputs import valid_files

    from hilum.images.dicom_decode import NATIVE

    stored = ramp(12, False)
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": 1, "RescaleIntercept": 0}
    for name, data in valid_files().items():
        (folder / name).write_bytes(data)
    for syntax in sorted(NATIVE):
        ds = film(stored, SOPInstanceUID="1.2.3", **window)
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.save_as(folder / syntax, enforce_file_format=True)
        else:
            save(ds, folder / syntax, syntax)
    for syntax in (uid.RLELossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless):
        save_compressed(film(stored, **window), folder / syntax, syntax)
        (folder / syntax).with_suffix(".raw").unlink(missing_ok=True)
    entries = stored.ravel()[:64]
    luts = {"VOILUTSequence": [lut_item(entries, 0, 12)], "ModalityLUTSequence": [lut_item(entries, 0, 16)]}
    save(film(stored, **luts), folder / "luts")
    eight = stored.repeat(3, 1) // 16
    rgb = film(
        eight, 8, Columns=64, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0
    )
    save(rgb, folder / "rgb")
    save(film(stored - 2048, 12, True, "MONOCHROME1", PixelPaddingValue=-2048), folder / "signed")


def fuzz(place: Path, words: list[str]) -> None:
    """What the process does."""
    import atheris

    with atheris.instrument_imports(include=["hilum.images", "hilum.clinic", "pydicom"]):
        import pydicom.filereader
        import pydicom.pixels  # noqa: F401

        from hilum.clinic.look import _look
        from hilum.errors import HilumError
        from hilum.images.read import read

    path = place / "work" / "film"

    def once(data: bytes) -> None:
        path.write_bytes(data)
        try:
            film = read(path)
        except HilumError as error:
            if not error.mend or "\n" in str(error):
                raise AssertionError(f"an error without a mend, or of several lines: {error}") from error
        else:
            assert 0 <= film.pixels.min() <= film.pixels.max() <= 1, "pixels outside [0, 1]"
        try:
            _look((path, hashlib.sha256(data).hexdigest()))
        except HilumError as error:
            if error.path is not None:
                raise AssertionError("the name of a file in the store is told") from error

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        return changed(data, longest, chance, atheris.Mutate)

    atheris.Setup([sys.argv[0], *words], once, custom_mutator=change)
    atheris.Fuzz()


def changed(data: bytes, longest: int, chance: random.Random, mutate: object) -> bytes:
    """Another file: a number of its header changed, or its bytes as libFuzzer does; a PNG with right checksums."""
    out = bytearray(data)
    shorts = [m.start() for m in re.finditer(rb"(?:US|SS)\x02\0", data)]
    if shorts and chance.random() < 0.5:
        for at in chance.sample(shorts, min(len(shorts), chance.randint(1, 3))):
            struct.pack_into("<H", out, min(at + 4, len(out) - 2), chance.choice(NUMBERS))
    else:
        out = bytearray(mutate(bytes(out), longest))  # type: ignore[operator]
    return with_checksums(bytes(out)) if out[:8] == b"\x89PNG\r\n\x1a\n" else bytes(out)


def with_checksums(png: bytes) -> bytes:
    """The CRC of each whole chunk set right (W3C PNG, section 5.3)."""
    out, at = bytearray(png), 8
    while at + 12 <= len(out):
        length = struct.unpack_from(">L", out, at)[0]
        if at + 12 + length > len(out):
            break
        struct.pack_into(">L", out, at + 8 + length, zlib.crc32(out[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(out)


if __name__ == "__main__":
    main()
