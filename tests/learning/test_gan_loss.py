"""The losses of a generator and its discriminator, each beside its formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from hilum.learning.gan_loss import gradient_penalty, shares, taken_for_real, told_apart
from hilum.learning.recipe_losses import Gan
from hilum.models import build

REAL, MADE = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([-0.5, 0.1])


def small(classes: str = "sigmoid") -> nn.Module:
    torch.manual_seed(0)
    return build("gan", outputs=2, size=16, width=4, latent=8, classes=classes)


def test_wasserstein_is_a_difference_of_means():
    assert float(told_apart(REAL, MADE, "wgan_gp")) == pytest.approx((-0.5 + 0.1) / 2 - (0.3 - 1.2 + 2.0) / 3)
    assert float(taken_for_real(MADE, "wgan_gp")) == pytest.approx(0.2)


def test_sigmoid_is_the_cross_entropy_of_real_against_synthetic():
    def p(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    real = -np.mean([math.log(p(x)) for x in REAL.tolist()])
    made = -np.mean([math.log(1 - p(x)) for x in MADE.tolist()])
    assert float(told_apart(REAL, MADE, "sigmoid")) == pytest.approx((real + made) / 2, rel=1e-5)
    wanted = -np.mean([math.log(p(x)) for x in MADE.tolist()])
    assert float(taken_for_real(MADE, "sigmoid")) == pytest.approx(wanted, rel=1e-5)


def test_the_penalty_of_a_quadratic_critic_is_gulrajanis_by_hand():
    """D(x) = sum(a x^2) / 2 has the gradient a x, at the points between that `share` names."""
    torch.manual_seed(1)
    a = torch.rand(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    real, made = torch.randn(2, 4, 1, 3, 3, dtype=torch.float64)
    share = torch.rand(4, dtype=torch.float64)
    found = gradient_penalty(lambda x: (a * x**2).sum((1, 2, 3)) / 2, real, made, share)
    wanted = 0.0
    for i in range(4):
        between = share[i] * real[i] + (1 - share[i]) * made[i]
        wanted += float(((a.detach()[0] * between).square().sum().sqrt() - 1) ** 2) / 4
    assert float(found) == pytest.approx(wanted, rel=1e-10)
    # Its own gradient, by which the critic learns, held to differences.
    (slope,) = torch.autograd.grad(found, a)
    step = torch.zeros_like(a)
    step[0, 0, 1, 1] = 1e-6

    def at(b: torch.Tensor) -> float:
        return float(gradient_penalty(lambda x: (b * x**2).sum((1, 2, 3)) / 2, real, made, share))

    assert float(slope[0, 0, 1, 1]) == pytest.approx((at(a + step) - at(a - step)) / 2e-6, rel=1e-5)


def test_the_penalty_reaches_every_layer_of_the_discriminator():
    model = small()
    real, made = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    gradient_penalty(lambda x: model.discriminator(x)[0], real, made, torch.rand(3)).backward()
    weights = {
        n: p
        for n, p in model.discriminator.named_parameters()
        if n.endswith("original") or n == "realness.weight"
    }
    assert len(weights) == 3
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in weights.values())


def test_shares_are_the_cross_entropy_of_equal_parts_of_one_whole():
    nan = float("nan")
    logits = torch.tensor(
        [[1.0, -0.5, 2.0], [0.1, 0.2, 0.3], [3.0, 1.0, -1.0], [1.0, 1.0, 1.0]], requires_grad=True
    )
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, nan], [nan, 1.0, 0.0], [nan, nan, nan]])
    found = shares(logits, targets)
    e = np.exp(logits.detach().double().numpy())
    first = -(math.log(e[0, 0] / e[0].sum()) + math.log(e[0, 2] / e[0].sum())) / 2
    third = -math.log(e[2, 1] / (e[2, 1] + e[2, 2]))  # the unknown one is no part of the whole
    assert float(found) == pytest.approx((first + third) / 2, rel=1e-5)
    found.backward()
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad[[1, 3]].abs().sum()) == 0
    assert float(logits.grad[2, 0]) == 0
    nothing = shares(logits, torch.full_like(targets, nan))
    assert float(nothing) == 0


@pytest.mark.parametrize("classes", ["sigmoid", "softmax"])
def test_unknown_findings_take_no_part_in_either_loss(classes: str):
    model, loss = small(classes).eval(), Gan(penalty=0)
    real, made = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    nan = float("nan")
    some = torch.tensor([[1.0, nan], [nan, nan], [nan, 1.0]])
    none = torch.full((3, 2), nan)
    alone = loss.of_discriminator(model, real, made, none, None)
    assert float(alone) == pytest.approx(
        float(told_apart(model.discriminator(real)[0], model.discriminator(made)[0], "wgan_gp"))
    )
    logits = model.discriminator(real)[1].detach().requires_grad_()
    loss.of_findings(model, logits, some).backward()
    assert float(logits.grad[some.isnan()].abs().sum()) == 0
    assert float(loss.of_generator(model, made, none)) == pytest.approx(
        -float(model.discriminator(made)[0].mean())
    )


def test_the_parts_are_weighed_as_the_recipe_says():
    model = small().eval()
    real, made = torch.rand(2, 3, 1, 16, 16) * 2 - 1
    targets, share = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.rand(3)

    def whole(**weights: float) -> float:
        return float(Gan(**weights).of_discriminator(model, real, made, targets, share))

    bare = whole(penalty=0, classes=0)
    penalty = float(gradient_penalty(lambda x: model.discriminator(x)[0], real, made, share))
    findings = float(Gan().of_findings(model, model.discriminator(real)[1], targets))
    assert whole(penalty=7, classes=0.5) == pytest.approx(bare + 7 * penalty + 0.5 * findings, rel=1e-4)
    # The penalty is of the Wasserstein loss alone.
    both = [
        Gan(adversarial="sigmoid", penalty=p).of_discriminator(model, real, made, targets, share)
        for p in (0, 9)
    ]
    assert torch.equal(*both)
