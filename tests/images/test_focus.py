"""A preparation with a focus: what it cuts comes back to its place, and one without keeps what was written of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.images.crop import Window, lung_window
from hilum.images.preparation import Clahe, Focus, Median, Percentile, Preparation

MANY = settings(max_examples=60, deadline=None)
WHOLE = {"size": (96, 80), "channels": 1, "mean": (0.5,), "std": (0.25,)}


@st.composite
def looks(draw: st.DrawFn) -> tuple[Window, Preparation]:
    """A window of a film, by a square, a clipped one or none, and a preparation that looks there."""
    height, width = draw(st.integers(40, 400)), draw(st.integers(40, 400))
    mask = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 2))):
        x, y = draw(st.integers(0, width)), draw(st.integers(0, height))
        cv2.ellipse(
            mask,
            (x, y),
            (draw(st.integers(0, width // 2)), draw(st.integers(0, height // 2))),
            0,
            0,
            360,
            1,
            -1,
        )
    focus = Focus(margin=draw(st.floats(0, 0.3)), digest="1")
    aspect = draw(st.sampled_from(["squash", "pad", "crop"]))
    return lung_window(mask, focus.margin), Preparation(**WHOLE, aspect=aspect, focus=focus)


@MANY
@given(looks(), st.integers(0, 2**31))
def test_boxes_go_from_film_to_prepared_and_back(look, seed):
    window, preparation = look
    place = preparation.place(window.film, window)
    height, width = window.film
    corners = np.random.default_rng(seed).uniform(0, 1, (5, 2, 2)) * [width, height]
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    there = place.boxes_to_prepared(boxes)
    np.testing.assert_allclose(place.boxes_to_source(there), boxes, rtol=0, atol=1e-9 * max(window.film))
    # By hand: cut, then placed as the cut film by itself is.
    plain = preparation.model_copy(update={"focus": None})
    alone = plain.place((window.height, window.width)).boxes_to_prepared(
        boxes - [window.left, window.top] * 2
    )
    np.testing.assert_allclose(there, alone, rtol=1e-9, atol=1e-6)


@MANY
@given(looks(), st.integers(0, 2**31))
def test_pixels_and_masks_are_those_of_the_cut_film(look, seed):
    window, preparation = look
    plain = preparation.model_copy(update={"focus": None})
    film = np.random.default_rng(seed).random(window.film, np.float32)
    x1, y1, x2, y2 = window.box
    np.testing.assert_array_equal(preparation.pixels(film, window), plain.pixels(film[y1:y2, x1:x2].copy()))
    mask = (film > 0.5).astype(np.uint8)
    np.testing.assert_array_equal(preparation.mask(mask, window), plain.mask(mask[y1:y2, x1:x2].copy()))


def test_a_film_without_lungs_is_seen_whole():
    window = lung_window(np.zeros((50, 70), np.uint8))
    assert window == Window((50, 70), 0, 0, 70, 50, found=False)
    film = np.random.default_rng(0).random((50, 70), np.float32)
    preparation = Preparation(**WHOLE, focus=Focus())
    np.testing.assert_array_equal(preparation.pixels(film, window), Preparation(**WHOLE).pixels(film))
    assert preparation.place((50, 70), window) == Preparation(**WHOLE).place((50, 70))


def test_a_forgotten_window_or_that_of_another_film_is_refused():
    focused, film = Preparation(**WHOLE, focus=Focus()), np.zeros((50, 70), np.float32)
    with pytest.raises(ValueError, match="give the window"):
        focused.pixels(film)
    with pytest.raises(ValueError, match="give the window"):
        focused.place((50, 70))
    with pytest.raises(ValueError, match="give the window"):
        focused.mask(film.astype(np.uint8))
    with pytest.raises(ValueError, match="of a film of"):
        focused.place((50, 70), Window((70, 50), 0, 0, 10, 10))
    for wrong in ({"margin": -0.1}, {"kind": "heart"}, {"segmenter": ""}):
        with pytest.raises(ValidationError):
            Focus(**wrong)


def test_what_was_written_before_there_was_a_focus_keeps_its_digest():
    """Taken from the version before: they name pixel stores that are on disks."""
    plain = Preparation(size=(224, 224))
    assert plain.stored_digest == "409d8536c5e560b0fb2430c9359eea718de1ef5aee27df9d19f019d19863765a"
    rich = Preparation(
        size=(512, 512), aspect="pad", denoise=Median(), normalise=Percentile(low=0.5, high=99.5), clahe=Clahe(),
        bits=16, channels=1, mean=(0.5,), std=(0.25,),
    )  # fmt: skip
    assert rich.stored_digest == "4d1d5a971e49588417511ab9b58916564703cea7d82e7be26d90cf565a054bc3"
    assert "focus" not in plain.model_dump()
    assert Preparation.model_validate_json(plain.model_dump_json()) == plain


def test_a_store_is_named_by_the_lungs_not_by_where_their_finder_lies():
    def digest(**given: object) -> str:
        return Preparation(**WHOLE, focus=Focus(**given)).stored_digest  # type: ignore[arg-type]

    assert digest(digest="1") == digest(digest="1", segmenter="elsewhere/lungs")
    different = {digest(), digest(digest="1"), digest(digest="2"), digest(digest="1", margin=0.1)}
    assert len(different | {Preparation(**WHOLE).stored_digest}) == 5
    written = Preparation(**WHOLE, focus=Focus(digest="1", segmenter="mine"))
    assert Preparation.model_validate_json(written.model_dump_json()) == written
