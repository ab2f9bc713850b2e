"""Where a transformer looked: attention rollout, and attention weighted by the gradient of each finding.

Both follow attention from the pooled embedding back through the layers to the patches. Rollout (Abnar and Zuidema 2020)
multiplies the layers' attention and is the same map for every finding: what the model mixed, not why. The gradient-weighted
form (Chefer 2021, "Generic attention-model explainability") keeps of each attention what raises a finding's logit, so each
finding has a map of its own.

The layers are only listened to: hooks note queries, keys, values and what attention gave, and the pass computes what it
always does (timm's fused attention never forms its weights). The weights are recomputed from queries and keys. Their
gradient needs no second form of the layer either: of `mixed = weights @ values` it is the gradient by `mixed` times the
values.

Works for timm's vision transformers under average pooling (`timm` and `backbone_head` with vit_*, deit_*), for
`attention_fusion`, for the transformers of `ssgan_vit` where its main network is one (what its discriminator saw, and its
tokens, are not in the map), and for ensembles of these. Several encoders make the mean of their maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.errors import HilumError
from hilum.models import Classifier
from hilum.models.attention_fusion import AttentionFusion, SelfAttention
from hilum.models.ensemble import Ensemble
from hilum.models.ssgan_vit import SsganVit
from hilum.models.timm_classifier import TimmClassifier

WORKS_FOR = "timm's transformers (vit_*, deit_*), attention_fusion, ssgan_vit around a transformer, ensembles of these"


@dataclass(frozen=True)
class Layer:
    """What one attention layer did with one film.

    `weights` (heads, tokens, tokens): how much each token (row) took of each; rows sum to 1. `values` (heads, tokens,
    width): what there was to take. `mixed`: a tensor of the pass whose gradient, as (heads, tokens, width) by `as_heads`
    and times `factor`, is that of `weights @ values`.
    """

    weights: Tensor
    values: Tensor
    mixed: Tensor
    as_heads: Callable[[Tensor], Tensor]
    factor: Tensor | float = 1.0

    def gradient(self, by_mixed: Tensor) -> Tensor:
        """The gradient by `weights`, of that by `mixed`."""
        return self.as_heads(by_mixed) * self.factor @ self.values.transpose(1, 2)


@dataclass
class Seen:
    """The attention of one film through one encoder, first layer first; the patches of `grid` follow `prefix` other tokens,
    and may be followed by more."""

    prefix: int
    grid: tuple[int, int] = (0, 0)
    layers: list[Layer] = field(default_factory=list)


def check_attention(model: nn.Module) -> None:
    """Raises HilumError where the model has no attention that can be followed."""
    for part in _parts(model):
        if not isinstance(part, AttentionFusion) and not _transformers(part):
            raise HilumError(
                "there is no attention in this model to make heatmaps of",
                mend=f"Attention works for {WORKS_FOR}. For other models choose cam, grad_cam_plus_plus or score_cam.",
            )


def gradient_weighted(model: Classifier, images: Tensor) -> Tensor:
    """One prepared film (1, channels, h, w) to evidence for each label, (labels, h', w') on the grid of patches, 0 or more.

    With A a layer's attention and dA the gradient of a logit by it, relevance starts as R = I and goes up the layers by
    R = R + mean over heads of max(dA * A, 0) R (Chefer 2021, equations 5 and 6). The embedding is the average over patches,
    so the map is the average of their rows of R; the identity that each token brings along, one number for all, is left out.

    Takes one pass forward and one back a label. Raises HilumError where the model has no attention that can be followed.
    """
    check_attention(model)
    with torch.inference_mode(False), torch.enable_grad():
        with _listening(model) as seen:
            logits = model(images.detach().clone().requires_grad_())[0]
        mixed = [layer.mixed for one in seen for layer in one.layers]
        maps = []
        for label in range(len(logits)):
            gradients = iter(torch.autograd.grad(logits[label], mixed, retain_graph=True))
            relevant = []
            for one in seen:
                pairs = [(layer, layer.gradient(next(gradients))) for layer in one.layers]
                steps = [(g * layer.weights).clamp_min(0).mean(0) for layer, g in pairs]
                relevant.append(_on_grid(_gathered(steps, one), one))
            maps.append(_mean(relevant))
    return torch.stack(maps).detach()


@torch.no_grad()
def rollout(model: Classifier, images: Tensor) -> Tensor:
    """One prepared film (1, channels, h, w) to attention rolled out to its patches, (h', w'): one map for all labels.

    Each layer's attention, mean over heads, is averaged with the identity for the path around it, and the layers are
    multiplied (Abnar and Zuidema 2020, section 3). The embedding is the average over patches, so the map is the average of
    their rows. Raises HilumError where the model has no attention that can be followed.
    """
    check_attention(model)
    with _listening(model) as seen:
        model(images)
    maps = []
    for one in seen:
        row = _start(one, one.layers[0].weights[0])
        for layer in reversed(one.layers):
            row = (row + row @ layer.weights.mean(0)) / 2
        maps.append(_on_grid(row, one))
    return _mean(maps)


def _gathered(steps: Sequence[Tensor], seen: Seen) -> Tensor:
    """The average over patches of the rows of (I + last step) ... (I + first step) - I, (tokens,).

    The identity never enters the sum: beside it the small numbers of a layer scale would be lost to rounding.
    """
    start = _start(seen, steps[0])
    found = torch.zeros_like(start)
    for step in reversed(steps):
        found = found + (start + found) @ step
    return found


def _start(seen: Seen, like: Tensor) -> Tensor:
    """The pooling as a row over tokens: each patch alike, other tokens not at all."""
    row = like.new_zeros(len(like))
    _patches(row, seen)[:] = 1 / len(_patches(row, seen))
    return row


def _patches(row: Tensor, seen: Seen) -> Tensor:
    return row[seen.prefix : seen.prefix + seen.grid[0] * seen.grid[1]]


def _on_grid(row: Tensor, seen: Seen) -> Tensor:
    return _patches(row, seen).reshape(seen.grid)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    """Of maps (h', w'), on the finest grid among them."""
    finest = max((each.shape for each in maps), key=lambda shape: shape[0] * shape[1])
    return torch.stack(
        [
            each
            if each.shape == finest
            else F.interpolate(each[None, None], finest, mode="bilinear", align_corners=False)[0, 0]
            for each in maps
        ]
    ).mean(0)


@contextmanager
def _listening(model: nn.Module) -> Iterator[list[Seen]]:
    """What each encoder of `model` attends to in the one pass made under this."""
    seen: list[Seen] = []
    handles: list[Any] = []
    try:
        for part in _parts(model):
            if isinstance(part, AttentionFusion):
                seen.append(Seen(0))
                handles += _listen_to_fusion(part, seen[-1])
            for net in _transformers(part):
                seen.append(Seen(net.num_prefix_tokens))
                handles += _listen_to_transformer(net, seen[-1])
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _listen_to_transformer(net: Any, seen: Seen) -> list[Any]:
    def grid(_: Any, inputs: tuple[Tensor, ...]) -> None:
        seen.grid = net.patch_embed.dynamic_feat_size(inputs[0].shape[-2:])

    handles = [net.patch_embed.register_forward_pre_hook(grid)]
    for block in net.blocks:
        handles += _listen_to_attention(block.attn, seen)
    return handles


def _listen_to_attention(attention: Any, seen: Seen) -> list[Any]:
    """To timm's `Attention`: its fused projection, and the first module that gets what was mixed."""
    heads = attention.num_heads
    noted: dict[str, Tensor] = {}

    def projected(_: Any, __: Any, output: Tensor) -> None:
        tokens = output.shape[1]
        query, key, value = output[0].detach().reshape(tokens, 3, heads, -1).permute(1, 2, 0, 3)
        query, key = attention.q_norm(query), attention.k_norm(key)
        noted["weights"] = (query @ key.transpose(1, 2) * attention.scale).softmax(-1)
        noted["values"] = value

    def mixed(_: Any, inputs: tuple[Tensor, ...]) -> None:
        as_heads = lambda x: x[0].reshape(x.shape[1], heads, -1).transpose(0, 1)  # noqa: E731
        seen.layers.append(Layer(noted["weights"].detach(), noted["values"], inputs[0], as_heads))

    after = getattr(
        attention, "norm", attention.proj
    )  # releases of timm before the norm have the projection next
    return [attention.qkv.register_forward_hook(projected), after.register_forward_pre_hook(mixed)]


def _listen_to_fusion(part: nn.Module, seen: Seen) -> list[Any]:
    """To the one layer of `attention_fusion`, whose output is x + gamma * mixed, as maps (n, width, h, w)."""
    attention = part.get_submodule("attention")
    assert isinstance(attention, SelfAttention)

    def mixed(_: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.grid = output.shape[-2], output.shape[-1]
        with torch.no_grad():
            weights = attention.weights(inputs[0])
            values = as_heads(attention.value(inputs[0]))
        seen.layers.append(Layer(weights, values, output, as_heads, attention.gamma.detach()))

    def as_heads(x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)

    return [attention.register_forward_hook(mixed)]


def _parts(model: nn.Module) -> list[nn.Module]:
    return list(model.members) if isinstance(model, Ensemble) else [model]


def _transformers(part: nn.Module) -> list[Any]:
    """The timm vision transformers that make this classifier's map; none where its main network is something else."""
    if isinstance(part, SsganVit):
        nets = [block.net for block in (part.main, part.backbone) if block is not None]
    else:
        nets = [part.backbone] if isinstance(part, TimmClassifier) else []
    return [net for net in nets if _is_plain(net)] if nets and _is_plain(nets[0]) else []


def _is_plain(net: Any) -> bool:
    """A vision transformer with timm's own attention in every block."""
    from timm.models.vision_transformer import Attention, VisionTransformer

    if not isinstance(net, VisionTransformer):
        return False
    return all(type(getattr(block, "attn", None)) is Attention for block in net.blocks)
