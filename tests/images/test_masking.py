"""What is hidden of a film: outside a body that is known, far from lungs that are known, and text that was written on it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from hilum.images.crop import Window
from hilum.images.masking import around_lungs, lettering, outside_body
from hilum.images.preparation import (
    Body,
    Clahe,
    Focus,
    Gaussian,
    Letters,
    NearLungs,
    Percentile,
    Preparation,
    UnitVariance,
)
from tests.phantom import phantom

PLAIN = Preparation(size=(64, 56), channels=1, mean=(0.0,), std=(1.0,))


def body_of(pixels: NDArray[np.float32], seed: int) -> NDArray[np.bool_]:
    """The phantom's own body: all that is not air."""
    solid = ndimage.binary_fill_holes(ndimage.gaussian_filter(pixels, 2) > 0.15)
    assert solid is not None
    return np.asarray(solid)


def written(pixels: NDArray[np.float32], text: str, at: tuple[int, int]) -> NDArray[np.float32]:
    out = np.rint(pixels * 255).astype(np.uint8)
    cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 3)
    return out.astype(np.float32) / 255


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(512, 448), (1400, 1200), (180, 160)])
def test_what_lies_outside_a_known_body_is_hidden_and_nothing_of_it(seed: int, shape: tuple[int, int]):
    made = phantom(seed, *shape)
    body = body_of(made.pixels, seed)
    outside = outside_body(made.pixels)
    assert outside is not None
    assert not (outside & body).any()
    reach = 0.04 * max(shape)
    near = ndimage.distance_transform_edt(~body) < reach
    assert outside[~near].mean() > 0.99


@pytest.mark.parametrize("level", [0.0, 0.35, 1.0])
def test_bars_of_any_grey_along_the_edges_are_outside(level: float):
    made = phantom(1)
    bars = cv2.copyMakeBorder(made.pixels, 40, 30, 50, 60, cv2.BORDER_CONSTANT, value=level)
    outside = outside_body(bars)
    assert outside is not None
    frame = np.ones(bars.shape, bool)
    frame[30:-20, 40:-50] = False  # a hundredth of the film stays around what is found
    assert outside[frame].mean() > 0.97
    inner = outside[40:-30, 50:-60]
    assert not (inner & body_of(made.pixels, 1)).any()


def test_a_turned_collimator_is_outside():
    made = phantom(2)
    turn = cv2.getRotationMatrix2D((224, 256), 8, 0.9)
    turned = np.clip(cv2.warpAffine(made.pixels, turn, (448, 512)), 0, 1)
    lungs = cv2.warpAffine(made.lungs, turn, (448, 512), flags=cv2.INTER_NEAREST)
    outside = outside_body(turned)
    assert outside is not None
    assert outside[:10, :10].all()
    assert not outside[lungs > 0].any()


@pytest.mark.parametrize(
    "film",
    [
        np.zeros((300, 260), np.float32),
        np.full((300, 260), 0.4, np.float32),
        np.random.default_rng(0).random((300, 260)).astype(np.float32),
        phantom(0).pixels[150:380, 60:390].copy(),  # lungs and all, air nowhere
        np.pad(np.full((60, 60), 0.8, np.float32), 120),  # a patch of something, no body
        np.zeros((9, 400), np.float32),
    ],
    ids=["black", "grey", "noise", "touching all sides", "patch", "thin"],
)
def test_a_film_without_an_outside_stays_whole(film: NDArray[np.float32]):
    assert outside_body(film) is None
    steps = PLAIN.model_copy(update={"masking": Body()})
    np.testing.assert_array_equal(steps.pixels(film), PLAIN.pixels(film))


def test_a_marker_in_the_air_is_outside():
    film = written(phantom(0).pixels, "L", (400, 60))
    outside = outside_body(film)
    assert outside is not None
    assert outside[film > 0.95].mean() > 0.99


def test_around_the_lungs_stay_they_what_lies_between_and_a_margin():
    lungs = np.zeros((200, 300), np.uint8)
    lungs[50:150, 60:110] = 1
    lungs[50:150, 190:240] = 2
    for margin in (0.0, 0.1, 0.3):
        kept = around_lungs(lungs, margin)
        chest = np.zeros((200, 300), bool)
        chest[50:150, 60:240] = True
        wanted = ndimage.distance_transform_edt(~chest) <= margin * 180
        assert (kept != wanted).mean() < 0.02
        assert kept[51:149, 61:239].all()


def test_letters_near_the_edge_are_covered_and_with_lungs_those_anywhere_but_there():
    made = phantom(0)
    film = written(written(made.pixels, "AP 12", (20, 40)), "R", (210, 495))
    found = lettering(film)
    text = film > 0.97
    assert found[text].mean() > 0.9
    assert found.mean() < 0.04
    middle = written(made.pixels, "R", (210, 300))
    assert not lettering(middle)[200:330, 180:270].any()
    np.testing.assert_array_equal(lettering(film, made.lungs)[made.lungs > 0], False)
    assert lettering(film, made.lungs)[text].mean() > 0.9


MASKS = (Body(), Body(letters=True), Letters(), NearLungs(), NearLungs(margin=0.02))


def window_of(shape: tuple[int, int], lungs: NDArray[np.uint8], margin: float = 0.1) -> Window:
    return Window(shape, 0, 0, shape[1], shape[0], clear=around_lungs(lungs, margin))


@settings(deadline=None, max_examples=30)
@given(
    st.integers(40, 200),
    st.integers(40, 200),
    st.sampled_from(["squash", "pad", "crop"]),
    st.sampled_from(MASKS),
    st.integers(0, 5),
)
def test_geometry_and_masks_are_those_of_the_whole_film(h: int, w: int, aspect, mask, seed: int):
    made = phantom(seed, h, w)
    plain = PLAIN.model_copy(update={"aspect": aspect})
    steps = plain.model_copy(update={"masking": mask})
    window = window_of((h, w), made.lungs) if isinstance(mask, NearLungs) else None
    assert steps.place((h, w), window) == plain.place((h, w))
    np.testing.assert_array_equal(steps.mask(made.lungs, window), plain.mask(made.lungs))
    away = steps.hidden(made.pixels, window)
    out, whole = steps.pixels(made.pixels, window), plain.pixels(made.pixels)
    assert out.shape == whole.shape
    if away is None:
        np.testing.assert_array_equal(out, whole)
        return
    # Where nothing near is hidden the film is as it was.
    hidden = plain.mask(cv2.dilate(away.astype(np.uint8), np.ones((2 * (h // 32) + 5, 2 * (w // 28) + 5))))
    far = (hidden == 0) & (plain.mask(np.ones((h, w), np.uint8)) == 1)
    np.testing.assert_array_equal(out[far], whole[far])


@pytest.mark.parametrize(
    "normalise",
    [None, Percentile(low=2, high=98), UnitVariance(spread=2)],
    ids=["none", "percentile", "variance"],
)
@pytest.mark.parametrize("clahe", [None, Clahe()])
def test_nothing_of_what_is_hidden_reaches_the_model(normalise, clahe):
    made = phantom(3)
    steps = PLAIN.model_copy(
        update={
            "masking": NearLungs(),
            "normalise": normalise,
            "clahe": clahe,
            "denoise": Gaussian(),
            "bits": 16,
        }
    )
    window = window_of((512, 448), made.lungs)
    away = steps.hidden(made.pixels, window)
    assert away is not None
    assert 0.2 < away.mean() < 0.8
    out = steps.pixels(made.pixels, window)
    other = np.where(away, np.random.default_rng(0).random(away.shape), made.pixels).astype(np.float32)
    np.testing.assert_array_equal(steps.pixels(other, window), out)
    flat = out[steps.mask(away.astype(np.uint8), window) == 1]
    assert np.median(flat) == flat.min() or np.unique(flat, return_counts=True)[1].max() > 0.95 * flat.size


@pytest.mark.parametrize(
    ("step", "low", "high"), [(Percentile(low=5, high=95), 0.05, 0.05), (UnitVariance(spread=1), None, None)]
)
def test_normalising_asks_what_is_left(step, low, high):
    """The share that is clipped at either end, and the mean, are those of what is left, not of all."""
    made = phantom(4)
    steps = PLAIN.model_copy(update={"masking": NearLungs(), "normalise": step, "bits": 16})
    window = window_of((512, 448), made.lungs)
    out = steps.pixels(made.pixels, window).astype(np.float64) / 65535
    away = steps.hidden(made.pixels, window)
    left = steps._resized(away.astype(np.float32)) < 0.5
    kept = out[left]
    if low is not None:
        assert (kept == 0).mean() == pytest.approx(low, abs=0.01)
        assert (kept == 1).mean() == pytest.approx(high, abs=0.01)
        assert (out == 0).mean() < low
    else:
        plain = PLAIN.model_copy(update={"bits": 16})
        values = plain.model_copy(update={"masking": NearLungs()}).pixels(made.pixels, window)[left] / 65535
        wanted = np.clip((values - values.mean()) / (2 * values.std()) + 0.5, 0, 1)
        np.testing.assert_allclose(kept, wanted, atol=2e-4)


def test_what_is_hidden_has_the_mean_of_what_is_left():
    made = phantom(0)
    steps = PLAIN.model_copy(update={"masking": Body(), "bits": 16})
    out = steps.pixels(made.pixels).astype(np.float64)
    hidden = steps._resized(steps.hidden(made.pixels).astype(np.float32)) >= 0.5
    assert np.unique(out[hidden]).size == 1
    assert out[hidden][0] == pytest.approx(out[~hidden].mean(), rel=1e-3)


def test_padding_stays_black():
    made = phantom(0, 300, 150)
    steps = PLAIN.model_copy(update={"masking": Body(), "aspect": "pad"})
    out = steps.pixels(made.pixels)
    assert (out[:, :8] == 0).all()
    assert (out[:, -8:] == 0).all()


def test_a_window_without_lungs_hides_nothing_and_lungs_need_a_window():
    made = phantom(0)
    steps = PLAIN.model_copy(update={"masking": NearLungs()})
    np.testing.assert_array_equal(
        steps.pixels(made.pixels, Window.whole((512, 448))), PLAIN.pixels(made.pixels)
    )
    for call in (lambda: steps.pixels(made.pixels), lambda: steps.place((512, 448))):
        with pytest.raises(ValueError, match="masking by the lungs: give the window"):
            call()


def test_with_a_focus_what_is_hidden_is_cut_as_the_film_is():
    made = phantom(0)
    away = around_lungs(made.lungs, 0.05)
    window = Window((512, 448), 30, 60, 380, 380, clear=away)
    focus, near = Focus(), NearLungs(margin=0.05)
    steps = PLAIN.model_copy(update={"focus": focus, "masking": near})
    out = steps.pixels(made.pixels, window)
    hidden = steps.mask((~away).astype(np.uint8), window)
    assert np.unique(out[ndimage.binary_erosion(hidden)]).size == 1
    plain = PLAIN.pixels(window.cut(made.pixels).copy())
    inner = ndimage.binary_erosion(hidden == 0, iterations=2)
    np.testing.assert_array_equal(out[inner], plain[inner])


def test_digests_and_files_of_before_are_as_they_were_and_a_path_is_no_part_of_them():
    assert "masking" not in PLAIN.model_dump()
    assert '"masking"' not in PLAIN.model_dump_json()
    digests = {
        steps.stored_digest
        for steps in (
            PLAIN,
            *(PLAIN.model_copy(update={"masking": each}) for each in MASKS),
            PLAIN.model_copy(update={"masking": NearLungs(digest="a" * 64)}),
        )
    }
    assert len(digests) == 7
    one, two = (
        PLAIN.model_copy(update={"masking": NearLungs(segmenter=name, digest="a" * 64)})
        for name in ("x", "/y/x")
    )
    assert one.stored_digest == two.stored_digest
    for each in MASKS:
        steps = PLAIN.model_copy(update={"masking": each})
        assert Preparation.model_validate_json(steps.model_dump_json()) == steps


def test_focus_and_masking_go_by_the_same_lungs():
    steps = Preparation(size=(64, 64), focus=Focus(), masking=NearLungs())
    assert steps.with_segmenter(digest="b" * 64).masking.digest == "b" * 64
    assert steps.with_segmenter(digest="b" * 64).focus.digest == "b" * 64
    assert Preparation(size=(64, 64), focus=Focus(), masking=Body()).by_lungs == Focus()
    with pytest.raises(ValidationError, match="lungs of one segmenter"):
        Preparation(size=(64, 64), focus=Focus(segmenter="a"), masking=NearLungs(segmenter="b"))
    with pytest.raises(ValidationError, match="margin"):
        NearLungs(margin=-0.1)
