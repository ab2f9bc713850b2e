"""The fuzz run of `benchmarks/fuzz_reader.py` in short form, and the ways in which it changes a file."""

from __future__ import annotations

import io
import random
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks.fuzz_reader import NUMBERS, changed, with_checksums
from pydicom import dcmread

from .films import film, ramp, save

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_few_seconds_of_damaged_files_break_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed")
    command = [sys.executable, "-m", "benchmarks.fuzz_reader", "--minutes", "0.1", "--keep", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read = re.match(r"([\d,]+) files in 0.1 minutes by 1 processes", done.stdout)
    assert read is not None
    assert int(read[1].replace(",", "")) > 20, done.stdout
    assert not list(tmp_path.iterdir())


def test_a_png_that_was_changed_has_right_checksums_again() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    png = cv2.imencode(".png", grey)[1].tobytes()
    assert with_checksums(png) == png
    at = png.index(b"IHDR")
    wrong = png[: at + 4 + 13] + bytes(4) + png[at + 4 + 13 + 4 :]
    assert wrong != png
    assert with_checksums(wrong) == png
    assert with_checksums(png[:-6])[:20] == png[:20]


def test_a_number_of_the_header_becomes_another_and_the_rest_stays(tmp_path: Path) -> None:
    data = save(film(ramp(12, False)), tmp_path / "film").read_bytes()
    numbers = (
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "SamplesPerPixel",
    )
    before, seen = dcmread(io.BytesIO(data)), set()
    for seed in range(40):
        out = changed(data, 2**16, random.Random(seed), lambda same, _: same)
        assert len(out) == len(data)
        after = dcmread(io.BytesIO(out))
        assert after.PixelData == before.PixelData
        for name in numbers:
            if after[name].value != before[name].value:
                assert after[name].value in NUMBERS
                seen.add(name)
    assert len(seen) > 3
