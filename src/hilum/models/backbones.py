"""timm backbones: made without their classifier, asked for their last map, or cut off at a tap inside."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from hilum.errors import RecipeError
from hilum.models.pretrained import downloaded, load_pretrained

IMAGENET = "imagenet"  # as `pretrained`: timm downloads


def create(
    name: str, pretrained: str | Path | None, channels: int, size: tuple[int, int] | None = None
) -> nn.Module:
    """The timm model `name` without its classifier.

    `pretrained`: None, `imagenet` or the path of a .safetensors file. `size`: (height, width) of the input, which only
    models made for one size take. Raises RecipeError for an unknown name, BundleError for weights that do not fit or
    cannot be downloaded.
    """
    _refuse_unknown(name)
    options: dict[str, Any] = {"num_classes": 0, "in_chans": channels}
    if size is not None and _has_one_size(name):
        options["img_size"] = tuple(size)
    if pretrained == IMAGENET:
        return downloaded(name, **options)
    backbone = timm.create_model(name, **options)
    if pretrained is not None:
        load_pretrained(backbone, pretrained)
    return backbone


def last_map(backbone: Any, images: Tensor) -> Tensor:
    """Images (n, channels, h, w) to the last spatial map (n, features, h', w'): convolutional, tokens or channels last.

    Raises RecipeError for a model whose tokens lie on no grid that timm tells.
    """
    features: Tensor = backbone.forward_features(images)
    if features.ndim == 3:
        return patches(backbone, features, images)
    if features.shape[-1] == backbone.num_features and features.shape[1] != backbone.num_features:
        return features.permute(0, 3, 1, 2)  # as Swin gives
    return features


def patches(backbone: Any, tokens: Tensor, images: Tensor) -> Tensor:
    """Tokens (n, tokens, features) to a map: class and register tokens dropped, the patches laid on their grid.

    Some transformers normalise after the average over patches, not before. Here each patch is normalised, so that in every
    model the embedding is an average of the map, which class activation maps rest on.
    """
    grid_of = getattr(getattr(backbone, "patch_embed", None), "dynamic_feat_size", None)
    prefix = getattr(backbone, "num_prefix_tokens", None)
    if grid_of is None or prefix is None:
        raise RecipeError(
            f"{type(backbone).__name__} gives tokens that lie on no grid that timm tells",
            mend="Choose a vit_*, deit_*, beit_*, eva02_* or swin_* model, or a convolutional one",
        )
    own = getattr(backbone, "fc_norm", nn.Identity())(tokens[:, prefix:])
    return own.transpose(1, 2).unflatten(2, grid_of(images.shape[-2:]))


class Backbone(nn.Module):
    """A timm model up to its last map, or up to the module `tap` (dotted, as timm names it); nothing after it is kept.

    Attributes
    ----------
    width: channels of the map. mean, std, input_size: what timm says that the weights expect.
    """

    def __init__(
        self,
        name: str,
        tap: str | None = None,
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        whole: Any = create(name, pretrained, channels, size)
        config = timm.data.resolve_model_data_config(whole)
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        self.input_size = tuple(size or config["input_size"][-2:])
        self.tapped = tap is not None
        if tap is None:
            self.net, self.width = whole, int(whole.num_features)
        else:
            self.net, self.width = _cut_and_checked(whole, name, tap, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to a map (n, width, h', w')."""
        features: Tensor = self.net(images) if self.tapped else last_map(self.net, images)
        return features


class Pyramid(nn.Module):
    """A convolutional timm model asked for its maps at `strides`, such as (8, 16, 32); nothing after the last is kept.

    Attributes
    ----------
    widths: channels of each map. mean, std: what timm says that the weights expect.
    """

    def __init__(
        self, name: str, strides: tuple[int, ...], pretrained: str | Path | None = None, channels: int = 3
    ) -> None:
        super().__init__()
        _refuse_unknown(name)
        reductions = _reductions(name)
        if not set(strides) <= set(reductions):
            raise RecipeError(
                f"{name!r} gives no maps at strides {', '.join(map(str, strides))}",
                mend="Choose a convolutional backbone, such as mobilenetv2_100 or resnet18",
            )
        # A stride may stand twice; the deepest of its maps has seen most.
        places = tuple(len(reductions) - 1 - reductions[::-1].index(stride) for stride in strides)
        options: dict[str, Any] = {"features_only": True, "in_chans": channels, "out_indices": places}
        if pretrained == IMAGENET:
            self.net: Any = downloaded(name, **options)
        else:
            self.net = timm.create_model(name, **options)
            if pretrained is not None:
                load_pretrained(self.net, pretrained)
        self.widths = tuple(self.net.feature_info.channels())
        config = timm.data.resolve_model_data_config(self.net)
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, channels, h, w) to a map (n, width, h / stride, w / stride) a stride."""
        maps: list[Tensor] = self.net(images)
        return maps


def cut(module: nn.Module, path: list[str]) -> nn.Module:
    """`module` up to and with the child at `path`, its children run in order. Names of parameters stay.

    Raises KeyError where there is no such child.
    """
    if not path:
        return module
    kept: OrderedDict[str, nn.Module] = OrderedDict()
    for name, child in module.named_children():
        if name == path[0]:
            kept[name] = cut(child, path[1:])
            return nn.Sequential(kept)
        kept[name] = child
    raise KeyError(path[0])


@torch.no_grad()
def _cut_and_checked(whole: Any, name: str, tap: str, channels: int) -> tuple[nn.Module, int]:
    """The cut model and its width. That children run in the order they stand in is not so everywhere: it is tried out."""
    try:
        part = cut(whole, tap.split("."))
    except KeyError as error:
        known = [n for n, _ in whole.named_modules() if n.count(".") == tap.count(".")]
        raise RecipeError(
            f"{name!r} has no module {tap!r} to tap", mend=f"Some that it has: {', '.join(known[-8:])}"
        ) from error
    images = torch.randn(1, channels, 64, 64, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    hook = whole.get_submodule(tap).register_forward_hook(lambda *call: seen.append(call[2].clone()))
    whole.eval()
    try:
        whole.forward_features(images)
        hook.remove()
        same = torch.equal(part(images), seen[0])
    except (
        RuntimeError,
        TypeError,
        AttributeError,
        AssertionError,
    ):  # as said by whatever got the wrong shape
        same = False
    finally:
        hook.remove()
        whole.train()
    if not same or seen[0].ndim != 4:
        raise RecipeError(
            f"{name!r} cannot be cut at {tap!r}: what leads there is no plain chain of layers",
            mend="Tap a whole stage, or leave the tap out for the last map",
        )
    return part, seen[0].shape[1]


def _reductions(name: str) -> list[int]:
    """How many times smaller than its image each map of a timm model is; none where it gives no maps."""
    try:
        with torch.device("meta"):
            model: Any = timm.create_model(name, features_only=True)
        found: list[int] = model.feature_info.reduction()
    except (RuntimeError, AttributeError, TypeError, ValueError):  # as timm says that it has none
        return []
    return found if getattr(model, "output_fmt", "NCHW") == "NCHW" else []  # Swin's have their channels last


def _refuse_unknown(name: str) -> None:
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8])
        raise RecipeError(f"timm has no model {name!r}", mend=f"Some that it has: {close}" if close else None)


def _has_one_size(name: str) -> bool:
    """timm takes `img_size` only for models built for one size, which their config says."""
    config = timm.get_pretrained_cfg(name)
    return config is not None and bool(config.fixed_input_size)
