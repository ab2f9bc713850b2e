"""Letters are found where they stand, and anatomy is none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hilum.errors import EvaluationError
from hilum.images.markers import letters
from tests.phantom import phantom


def written(
    text: str, at: tuple[int, int], seed: int = 0, grey: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    film = phantom(seed)
    ink = np.zeros(film.pixels.shape, np.uint8)
    cv2.putText(ink, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 255, 2, cv2.LINE_AA)
    return np.maximum(film.pixels, grey * ink.astype(np.float32) / 255), film.lungs


@pytest.mark.parametrize("seed", range(6))
def test_a_film_without_letters_has_none(seed):
    film = phantom(seed, lesions=6)
    assert len(letters(film.pixels, film.lungs)) == 0


@pytest.mark.parametrize("text", ["L", "R", "AP"])
def test_letters_are_found_where_they_stand(text):
    pixels, lungs = written(text, (15, 40))
    boxes = letters(pixels, lungs)
    assert len(boxes) == len(text)
    assert (boxes[:, :2] >= 5).all()
    assert (boxes[:, 2:] <= 60).all()


def test_the_same_letter_at_other_sizes():
    pixels, lungs = written("R", (15, 40))
    for scale in (0.5, 1.7):
        size = round(448 * scale), round(512 * scale)
        (box,) = letters(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.resize(lungs, size))
        np.testing.assert_allclose(box / scale, letters(pixels, lungs)[0], atol=3)


def test_faint_letters_and_those_in_the_chest_are_missed():
    assert len(letters(*written("L", (15, 40), grey=0.2))) == 0
    assert len(letters(*written("L", (120, 250)))) == 0


def test_a_film_that_is_none_is_said():
    with pytest.raises(EvaluationError):
        letters(np.full((20, 20), np.nan))
    with pytest.raises(EvaluationError):
        letters(np.zeros(20))
    assert len(letters(np.zeros((40, 40)))) == 0
