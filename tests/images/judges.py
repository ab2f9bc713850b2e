"""Independent programs that show a DICOM film: DCMTK and highdicom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray


def dcmtk(path: Path, *options: str, program: str = "dcmj2pnm") -> NDArray[np.float64]:
    """The film as DCMTK's `program` shows it, in [0, 1] in steps of 1/255. Skips the test where DCMTK is absent."""
    binary = shutil.which(program)
    if binary is None:
        pytest.skip(f"{program} of DCMTK is not installed")
    target = path.with_suffix(".pgm")
    done = subprocess.run(
        [binary, "+op", *options, str(path), str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    magic, size, top, pixels = target.read_bytes().split(b"\n", 3)
    assert (magic, top) == (b"P5", b"255")
    width, height = (int(n) for n in size.split())
    return np.frombuffer(pixels, np.uint8).reshape(height, width) / 255


def highdicom_shown(path: Path) -> NDArray[np.float64]:
    """The film through highdicom's pixel transforms: VOI where there is one, and presentation."""
    image = highdicom.imread(path)
    return image.get_frame(1, dtype=np.float64, apply_voi_transform=None)
