"""Every loss against torch, or against its formula written out with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.nn import functional as F

from hilum.learning import losses, recipe_losses
from hilum.learning.losses import binary_cross_entropy, binary_focal, cross_entropy, soft_dice

NAN = float("nan")


def case(seed: int = 0, shape: tuple[int, ...] = (7, 3)) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and targets of 0, 1 and NaN."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape, generator=rng, dtype=torch.float64)
    targets = torch.randint(0, 3, shape, generator=rng).double()
    return logits, targets.masked_fill(targets == 2, torch.nan)


def focal_by_hand(
    logits: np.ndarray, targets: np.ndarray, alpha: float, gamma: float, negatives: str
) -> float:
    found = []
    for z, t in zip(logits.ravel(), targets.ravel(), strict=True):
        if math.isnan(t):
            continue
        p = expit(z)
        if t == 1:
            found.append(-alpha * (1 - p) ** gamma * math.log(p))
        else:
            found.append(-(1 - alpha if negatives == "complement" else alpha) * p**gamma * math.log(1 - p))
    return float(np.mean(found))


def test_bce_is_torchs_over_what_is_known():
    logits, targets = case()
    known = ~targets.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known])
    assert torch.isclose(binary_cross_entropy(logits, targets), expected)


def test_bce_takes_soft_targets():
    logits, _ = case()
    soft = torch.linspace(0, 1, logits.numel(), dtype=torch.float64).view(logits.shape)
    assert torch.isclose(binary_cross_entropy(logits, soft), F.binary_cross_entropy_with_logits(logits, soft))


@pytest.mark.parametrize("negatives", ["complement", "same"])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.75, 0.5), (0.5, 0.0), (1.0, 3.0)])
def test_focal_is_the_formula(alpha: float, gamma: float, negatives: str):
    logits, targets = case(1)
    found = binary_focal(logits, targets, alpha, gamma, negatives)
    assert found.item() == pytest.approx(
        focal_by_hand(logits.numpy(), targets.numpy(), alpha, gamma, negatives)
    )


def test_focal_without_focus_is_weighted_bce():
    logits, targets = case(2)
    known = ~targets.isnan()
    weight = torch.where(targets[known] == 1, 0.3, 0.7)
    expected = F.binary_cross_entropy_with_logits(logits[known], targets[known], weight)
    assert torch.isclose(binary_focal(logits, targets, 0.3, 0.0), expected)
    half = F.binary_cross_entropy_with_logits(logits[known], targets[known]) / 2
    assert torch.isclose(binary_focal(logits, targets, 0.5, 0.0, "same"), half)


def test_cross_entropy_leaves_out_unknown_classes():
    logits, _ = case(shape=(6, 4))
    classes = torch.tensor([0, 3, -1, 2, -1, 1])
    for smoothing in (0.0, 0.1):
        expected = F.cross_entropy(logits[classes >= 0], classes[classes >= 0], label_smoothing=smoothing)
        assert torch.isclose(cross_entropy(logits, classes, smoothing), expected)


def test_soft_dice_is_the_formula():
    logits, targets = case(3, (2, 2, 5, 4))
    smooth, found = 1.5, []
    for z, t in zip(logits.numpy().reshape(4, -1), targets.numpy().reshape(4, -1), strict=True):
        pairs = [(expit(a), b) for a, b in zip(z, t, strict=True) if not math.isnan(b)]
        overlap, total = sum(p * b for p, b in pairs), sum(p + b for p, b in pairs)
        found.append(1 - (2 * overlap + smooth) / (total + smooth))
    assert soft_dice(logits, targets, smooth).item() == pytest.approx(np.mean(found))


def test_joined_losses_are_sums():
    logits, targets = case(4, (2, 1, 6, 6))
    dice = soft_dice(logits, targets, 2.0)
    assert torch.isclose(
        recipe_losses.BCEDice(smooth=2.0)(logits, targets), binary_cross_entropy(logits, targets) + dice
    )
    joined = recipe_losses.FocalDice(alpha=0.4, gamma=1.5, smooth=2.0)(logits, targets)
    assert torch.isclose(joined, binary_focal(logits, targets, 0.4, 1.5) + dice)


BINARY = [
    recipe_losses.BinaryCrossEntropy(),
    recipe_losses.Focal(),
    recipe_losses.Focal(gamma=0.5),
    recipe_losses.Focal(gamma=0.0),
    recipe_losses.Dice(),
    recipe_losses.BCEDice(),
    recipe_losses.FocalDice(gamma=0.5),
]


@pytest.mark.parametrize("loss", BINARY, ids=str)
@pytest.mark.parametrize("unknown", ["some", "all"])
def test_gradients_are_finite_even_where_a_film_is_certain(loss: losses.Loss, unknown: str):
    logits = torch.tensor([0.0, 40.0, -40.0, 200.0, -200.0, 3.0]).repeat(2).view(2, 1, 2, 3).requires_grad_()
    targets = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, NAN, 0.0, 0.0, 1.0, 1.0, 0.0, NAN]).view(2, 1, 2, 3)
    value = loss(logits, targets if unknown == "some" else torch.full_like(targets, NAN))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    assert (logits.grad[targets.isnan()] == 0).all()


def test_nothing_known_gives_no_gradient_for_classes_too():
    logits = torch.randn(3, 4, requires_grad=True)
    cross_entropy(logits, torch.full((3,), -1)).backward()
    assert (logits.grad == 0).all()
