"""Batch norm over all processes: statistics of the whole batch, wherever its films lie.

torch's own SyncBatchNorm runs on GPUs alone, and converting to it drops the activation that timm's layers carry. This one
is plain differentiable arithmetic, keeps the layer's class, parameters and names, and in eval mode is the layer itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from hilum.learning import group


def share(model: nn.Module) -> None:
    """From now on every batch norm of `model` takes its statistics of all processes' films."""
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and not isinstance(layer, _Shared):
            kind: Any = type(layer)
            layer.__class__ = type(kind.__name__, (_Shared, kind), {"__module__": __name__})


class _Shared:
    """What is mixed into a batch norm's class."""

    def forward(self: Any, images: Tensor) -> Tensor:
        """(n, c) or (n, c, h, w) of this process; every process must bring as many."""
        if not self.training or group.size() == 1:
            return super().forward(images)  # type: ignore[misc]
        normal = self._normal(images.float()).to(images.dtype)
        for later in ("drop", "act"):  # of timm's layers
            normal = getattr(self, later, _same)(normal)
        return normal

    def _normal(self: Any, images: Tensor) -> Tensor:
        others = [0, *range(2, images.ndim)]
        shape = [1, -1] + [1] * (images.ndim - 2)
        count = images.numel() // images.shape[1] * group.size()
        mean = _sum(images.sum(others)) / count
        centred = images - mean.view(shape)
        variance = _sum(centred.square().sum(others)) / count
        if self.track_running_stats:
            self._remember(mean.detach(), variance.detach() * count / max(1, count - 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        return normal if self.weight is None else normal * self.weight.view(shape) + self.bias.view(shape)

    def _remember(self: Any, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def _sum(values: Tensor) -> Tensor:
    """Over all processes, with gradients that find their way back."""
    total: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


def _same(images: Tensor) -> Tensor:
    return images
