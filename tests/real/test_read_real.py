"""Films of each real dataset are read without an error."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.images.read import read

FOLDERS = {
    "nih14/images": "*",
    "kermany": "**/*.jp*g",
    "cohen/images": "*",
    "lungs_shenzhen": "**/*.jp*g",
    "covid_radiography": "**/*.jp*g",
    "vinbig/images": "*",
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_fifty_films(real_data: Path, folder: str) -> None:
    paths = sorted(p for p in (real_data / folder).glob(FOLDERS[folder]) if p.is_file())
    assert paths, f"no films in {folder}"
    for path in random.Random(0).sample(paths, min(50, len(paths))):
        film = read(path)
        assert film.format == "jpeg"
        assert film.bits == 8
        assert film.notices == ()
        assert 0 <= film.pixels.min() < film.pixels.max() <= 1
        with Image.open(path) as image:
            assert (film.width, film.height) == image.size
            np.testing.assert_allclose(film.pixels, np.asarray(image.convert("L")) / 255, atol=1.01 / 255)
