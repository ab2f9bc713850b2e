from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilum.datasets.augment import Augmentation

STILL = {"rotation": 0, "zoom": 0, "translation": 0, "brightness": 0, "contrast": 0, "gamma": 0}
MOVING = Augmentation(flip=0.5, rotation=25, zoom=0.2, translation=0.1, brightness=0, contrast=0, gamma=0)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_nothing_changed() -> None:
    images = torch.rand(3, 20, 30, generator=generator(0))
    change = Augmentation(**STILL).draw(3, (20, 30), generator(1))
    assert change.images(images) is images
    masks = (images * 4).to(torch.uint8)
    assert torch.equal(change.masks(masks), masks)
    boxes, kept = change.boxes([torch.tensor([[1.0, 2, 8, 9]])] * 3)[0]
    torch.testing.assert_close(boxes, torch.tensor([[1.0, 2, 8, 9]]))
    assert kept.tolist() == [0]


@pytest.mark.parametrize(
    "asked", [{"contrast": 0.4}, {"rotation": 9.0}, {"veil": 1.0}, {"veil": 1.0, "gamma": 0.3}]
)
def test_what_is_left_out_would_have_changed_nothing(asked: dict[str, float]) -> None:
    images = torch.rand(3, 20, 30, generator=generator(0))
    kept, masks = images.clone(), (images * 4).to(torch.uint8)
    change = Augmentation(**(STILL | asked)).draw(3, (20, 30), generator(1))
    whole = replace(change, moves=True, tones=True)
    found = change.images(images)
    torch.testing.assert_close(found, whole.images(images), atol=1e-5, rtol=0)
    assert torch.equal(change.masks(masks), whole.masks(masks))
    assert not torch.equal(found, images)
    assert torch.equal(images, kept)
    torch.testing.assert_close(
        change.of(slice(1, 3)).images(images[1:]), whole.images(images)[1:], atol=1e-5, rtol=0
    )


def test_flip_is_the_mirror_and_off_by_default() -> None:
    assert Augmentation().flip == 0
    images = torch.rand(2, 1, 12, 16, generator=generator(0))
    change = Augmentation(flip=1, **STILL).draw(2, (12, 16), generator(1))
    torch.testing.assert_close(change.images(images), images.flip(-1), atol=1e-5, rtol=0)
    boxes, _ = change.boxes([torch.tensor([[1.0, 2, 5, 9]])] * 2)[1]
    torch.testing.assert_close(boxes, torch.tensor([[11.0, 2, 15, 9]]))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(24, 48), st.integers(24, 48))
def test_torch_and_opencv_put_pixels_in_the_same_place(seed: int, height: int, width: int) -> None:
    """Two programs with two conventions (unit square and pixel centres) on the same stated matrix."""
    images = torch.rand(3, height, width, generator=generator(seed))
    change = MOVING.draw(3, (height, width), generator(seed))
    torch.testing.assert_close(change.images(images), change._by_torch(images, False, 0.0), atol=2e-3, rtol=0)
    masks = (images * 4).to(torch.uint8)
    differ = change.masks(masks, outside=255) != change._by_torch(masks, True, 255.0)
    assert differ.float().mean() < 0.03  # a point half-way between two pixels may fall to either


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(16, 30), st.integers(16, 30))
def test_a_point_lies_where_the_matrix_says(seed: int, height: int, width: int) -> None:
    """The centre of mass of a small blob moves by the matrix, in pixels from the top left edge."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    at = np.array([width * 0.45, height * 0.55])
    blob = np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 3).astype(np.float32)
    change = MOVING.draw(1, (height, width), generator(seed))
    moved = change.images(torch.from_numpy(blob)[None])[0].numpy()
    found = np.array([(moved * x).sum(), (moved * y).sum()]) / moved.sum()
    matrix = change.matrix[0].double().numpy()
    np.testing.assert_allclose(found, matrix @ [*at, 1], atol=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_boxes_and_masks_follow_the_pixels(seed: int) -> None:
    """A bright rectangle as film, as mask and as box: after the change all three still agree."""
    rng = np.random.default_rng(seed)
    height, width = 96, 80
    x1, y1 = rng.integers(20, 35), rng.integers(25, 45)
    x2, y2 = x1 + rng.integers(8, 25), y1 + rng.integers(8, 25)
    film = torch.zeros(1, height, width)
    film[0, y1:y2, x1:x2] = 1
    change = MOVING.draw(1, (height, width), generator(seed))
    moved, mask = change.images(film)[0], change.masks(film.to(torch.uint8))[0]
    box, _ = change.boxes([torch.tensor([[x1, y1, x2, y2]])])[0]
    ys, xs = torch.nonzero(mask, as_tuple=True)
    found = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    assert (found - box[0]).abs().max() <= 1.5  # a corner between pixel centres is not drawn
    disagree = (mask.bool() != (moved > 0.5)).float().sum()
    assert disagree <= 0.12 * mask.sum()


def test_a_quarter_turn_is_exact() -> None:
    draw = Augmentation(**(STILL | {"rotation": 90})).draw(1, (10, 10), generator(0))
    linear = torch.tensor([[0.0, -1, 10], [1, 0, 0]])  # (x, y) to (10 - y, x): clockwise on the screen
    turn = type(draw)(linear[None], (10, 10), draw.brightness, draw.contrast, draw.gamma)
    images = torch.rand(1, 10, 10, generator=generator(2))
    torch.testing.assert_close(turn.images(images), torch.rot90(images, -1, (1, 2)), atol=1e-5, rtol=0)
    boxes, _ = turn.boxes([torch.tensor([[1.0, 2, 4, 3]])])[0]
    torch.testing.assert_close(boxes, torch.tensor([[7.0, 1, 8, 4]]))


def test_boxes_that_leave_are_dropped_and_others_clipped() -> None:
    draw = Augmentation(**STILL).draw(1, (10, 10), generator(0))
    shift = draw.matrix.clone()
    shift[0, 0, 2] = 6.0
    moved = type(draw)(shift, (10, 10), draw.brightness, draw.contrast, draw.gamma)
    boxes, kept = moved.boxes([torch.tensor([[0.0, 0, 2, 2], [2, 2, 6, 4], [5, 5, 9, 9], [3.9, 0, 8, 8]])])[0]
    assert kept.tolist() == [0, 1]
    torch.testing.assert_close(boxes, torch.tensor([[6.0, 0, 8, 2], [8, 2, 10, 4]]))
    assert moved.boxes([torch.zeros(0, 4)])[0][0].shape == (0, 4)


def test_masks_say_outside_what_they_are_told() -> None:
    draw = Augmentation(**STILL).draw(1, (8, 8), generator(0))
    shift = draw.matrix.clone()
    shift[0, 0, 2] = 3.0
    moved = type(draw)(shift, (8, 8), draw.brightness, draw.contrast, draw.gamma)
    mask = torch.full((1, 8, 8), 1, dtype=torch.uint8)
    assert moved.masks(mask, outside=255)[0, 0].tolist() == [255] * 3 + [1] * 5
    assert moved.masks(mask)[0, 0].tolist() == [0] * 3 + [1] * 5


def test_tones_are_the_formula_and_stay_in_range() -> None:
    images = torch.rand(64, 9, 9, generator=generator(0))
    change = Augmentation(**(STILL | {"brightness": 0.2, "contrast": 0.4, "gamma": 0.5})).draw(
        64, (9, 9), generator(1)
    )
    for film, out, g, c, b in zip(
        images, change.images(images), change.gamma, change.contrast, change.brightness, strict=True
    ):
        toned = film.numpy().astype(np.float64) ** g.item()
        expected = np.clip((toned - toned.mean()) * c.item() + toned.mean() + b.item(), 0, 1)
        np.testing.assert_allclose(out.numpy(), expected, atol=2e-5)
    assert 1 / 1.5 <= change.gamma.min() < 0.8 < 1.2 < change.gamma.max() <= 1.5
    assert change.brightness.abs().max() <= 0.2
    assert (change.contrast - 1).abs().max() <= 0.4


def test_a_veil_is_the_formula_and_leaves_masks_alone() -> None:
    images = torch.rand(6, 20, 30, generator=generator(0))
    change = Augmentation(veil=0.7, **STILL).draw(6, (20, 30), generator(3))
    veil = change.veil
    assert veil is not None
    assert 0 < (veil.opacity > 0).float().mean() < 1
    found = change.images(images)
    for film in range(6):
        expected = images[film].double()
        for spot in range(2):
            (cx, cy), (a, b) = veil.centre[film, spot].tolist(), veil.axes[film, spot].tolist()
            angle, level = float(veil.angle[film, spot]), float(veil.level[film, spot])
            for row in range(20):
                for column in range(30):
                    dx, dy = (column + 0.5) / 30 - cx, (row + 0.5) / 20 - cy
                    u = (math.cos(angle) * dx + math.sin(angle) * dy) / a
                    v = (-math.sin(angle) * dx + math.cos(angle) * dy) / b
                    share = float(veil.opacity[film, spot]) * math.exp(-((u * u + v * v) ** 2))
                    expected[row, column] = (1 - share) * expected[row, column] + share * level
        torch.testing.assert_close(found[film].double(), expected, atol=1e-4, rtol=0)
    masks = (images * 4).to(torch.uint8)
    assert torch.equal(change.masks(masks), masks)
    assert Augmentation(**STILL).draw(6, (20, 30), generator(3)).veil is None


def test_amounts_are_within_what_was_asked_and_differ_between_films() -> None:
    change = Augmentation(rotation=10, zoom=0.1, translation=0, flip=0).draw(500, (50, 50), generator(3))
    linear = change.matrix[:, :, :2]
    angle = torch.rad2deg(torch.atan2(linear[:, 1, 0], linear[:, 0, 0]))
    scale = torch.linalg.det(linear).sqrt()
    assert 9 < angle.abs().max() <= 10.001
    assert 0.899 <= scale.min() < 0.91 < 1.09 < scale.max() <= 1.101
    assert math.isclose(angle.mean().item(), 0, abs_tol=0.8)


def test_the_seed_decides() -> None:
    images = torch.rand(4, 16, 16, generator=generator(0))

    def changed(seed: int) -> torch.Tensor:
        return Augmentation().draw(4, (16, 16), generator(seed)).images(images)

    assert torch.equal(changed(1), changed(1))
    assert not torch.equal(changed(1), changed(2))


def test_wrong_amounts_and_shapes_are_refused() -> None:
    with pytest.raises(ValidationError, match="zoom"):
        Augmentation(zoom=1)
    with pytest.raises(ValidationError, match="shear"):
        Augmentation(shear=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="drawn for 2 films"):
        Augmentation().draw(2, (8, 8), generator(0)).images(torch.zeros(2, 8, 9))
