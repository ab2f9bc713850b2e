"""Losses of a generator and its discriminator: Wasserstein with gradient penalty, or sigmoid; and that of the findings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hilum.learning.losses import binary_cross_entropy

Adversarial = Literal["wgan_gp", "sigmoid"]


def told_apart(real: Tensor, synthetic: Tensor, how: Adversarial) -> Tensor:
    """What the discriminator lowers, of its realness (n,) of real and of synthetic films; a scalar.

    `wgan_gp`: mean(synthetic) - mean(real) (Arjovsky 2017, without the penalty); `sigmoid`: the cross-entropy of real
    against synthetic (Goodfellow 2014, equation 1), the mean of both halves.
    """
    if how == "wgan_gp":
        return synthetic.mean() - real.mean()
    return (F.softplus(-real).mean() + F.softplus(synthetic).mean()) / 2


def taken_for_real(synthetic: Tensor, how: Adversarial) -> Tensor:
    """What the generator lowers, of the realness (n,) of its films; a scalar.

    `wgan_gp`: -mean(synthetic); `sigmoid`: -log of the probability to be real, which does not saturate (Goodfellow 2014,
    section 3).
    """
    return -synthetic.mean() if how == "wgan_gp" else F.softplus(-synthetic).mean()


def gradient_penalty(
    realness: Callable[[Tensor], Tensor], real: Tensor, synthetic: Tensor, share: Tensor
) -> Tensor:
    """(||gradient of the realness|| - 1)^2 between real and synthetic films, a mean (Gulrajani 2017, equation 3).

    `realness`: films (n, c, h, w) to (n,). `share` (n,) in [0, 1]: how much of each film between is real.
    """
    share = share.view(-1, 1, 1, 1)
    between = (share * real + (1 - share) * synthetic).detach().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(realness(between).sum(), between, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()


def shares(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of a softmax over findings, (n, outputs) each: a film's positives have equal shares of one whole.

    A finding that is unknown (NaN) leaves the softmax of its film; a film without a known positive takes no part.
    """
    positive = targets > 0.5
    part = positive.any(1)
    if not bool(part.any()):
        return logits.sum() * 0
    logits, targets, positive = logits[part], targets[part], positive[part]
    log_shares = logits.masked_fill(targets.isnan(), -torch.inf).log_softmax(1)
    return -(torch.where(positive, log_shares, 0.0).sum(1) / positive.sum(1)).mean()


def named(logits: Tensor, targets: Tensor, how: str) -> Tensor:
    """The loss of a discriminator's findings, (n, outputs) each: `shares` for `softmax`, else a cross-entropy each."""
    return shares(logits, targets) if how == "softmax" else binary_cross_entropy(logits, targets)
