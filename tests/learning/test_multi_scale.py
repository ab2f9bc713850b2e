"""Batches at sizes of their own: what is drawn, that boxes stay on what they mark, and that a run takes it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.learning.multi_scale import at_some_scale, drawn_side
from hilum.learning.run import train
from tests.learning.test_detect import Make, wish


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 20), st.floats(0, 0.9), st.sampled_from([16, 32]), st.integers(0, 2**31))
def test_a_side_is_a_multiple_of_the_stride_within_its_share(
    strides: int, within: float, stride: int, seed: int
):
    side = strides * stride
    drawn = drawn_side(side, within, stride, torch.Generator().manual_seed(seed))
    assert drawn % stride == 0
    assert max(stride, side * (1 - within) - stride) <= drawn <= side * (1 + within) + stride
    assert drawn == drawn_side(side, within, stride, torch.Generator().manual_seed(seed))


def test_every_size_from_half_to_half_as_much_again_is_drawn_as_published():
    generator = torch.Generator().manual_seed(0)
    drawn = {drawn_side(640, 0.5, 32, generator) for _ in range(2000)}
    assert drawn == set(range(320, 961, 32))


@pytest.mark.parametrize("seed", range(4))
def test_boxes_go_with_their_images(seed: int):
    images = torch.zeros(2, 64, 96)
    images[0, 16:40, 24:72] = 1
    targets = torch.full((2, 2, 5), math.nan)
    targets[0, 0] = torch.tensor([3.0, 24, 16, 72, 40])
    out, moved = at_some_scale(images, targets, 0.5, 16, torch.Generator().manual_seed(seed))
    assert out.shape[1] % 16 == out.shape[2] % 16 == 0
    assert moved[0, 0, 0] == 3
    assert moved[1].isnan().all()
    ys, xs = torch.nonzero(out[0] > 0.5, as_tuple=True)
    found = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
    assert torch.allclose(moved[0, 0, 1:], found, atol=1.01)


def test_a_run_takes_it_and_other_tasks_do_not(recipe: Make, boxed: Path, tmp_path: Path):
    phase = {"name": "only", "epochs": 1, "batch": 8, "multi_scale": 0.5}
    asked = wish(recipe, boxed, phases=[phase])
    plain = wish(recipe, boxed, phases=[{**phase, "multi_scale": 0}])
    assert asked.digest != plain.digest
    assert train(asked, tmp_path / "run").is_dir()
    with pytest.raises(ValueError, match="multi_scale goes with task 'detect' only"):
        recipe("multilabel", phases=[phase])
