"""Any timm backbone as a classifier: features, pooling, dropout and one linear layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from hilum.errors import RecipeError
from hilum.models.contract import Classifier
from hilum.models.pretrained import load_pretrained
from hilum.models.registry import register


@register("timm")
class TimmClassifier(Classifier):
    """`name` is any timm model that gives a feature map (convolutional) or tokens (a ViT, laid back on its grid).

    `outputs`: number of logits. `dropout`: before the linear layer, in [0, 1). `pretrained`: None, `imagenet` (timm
    downloads) or a .safetensors path. `size`: input height and width; None takes timm's.
    """

    def __init__(
        self,
        outputs: int,
        name: str = "mobilenetv2_100",
        dropout: float = 0.2,
        pretrained: str | Path | None = None,
        channels: int = 3,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8])
            raise RecipeError(
                f"timm has no model {name!r}", mend=f"Some that it has: {close}" if close else None
            )
        download = pretrained == "imagenet"
        self.backbone: Any = _create(name, download, channels, size)
        if pretrained is not None and not download:
            load_pretrained(self.backbone, pretrained)
        config = timm.data.resolve_model_data_config(self.backbone)
        self.channels = channels
        self.input_size = tuple(size or config["input_size"][-2:])
        self.mean, self.std = tuple(config["mean"][:channels]), tuple(config["std"][:channels])
        features: Any = self.backbone.num_features
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(int(features), outputs))

    def feature_map(self, images: Tensor) -> Tensor:
        features = self.backbone.forward_features(images)
        if features.ndim == 3:  # tokens: drop class and register tokens, lay the patches on their grid
            grid = self.backbone.patch_embed.dynamic_feat_size(images.shape[-2:])
            patches = features[:, self.backbone.num_prefix_tokens :]
            return patches.transpose(1, 2).reshape(len(images), -1, *grid)
        if (
            features.shape[-1] == self.backbone.num_features
            and features.shape[1] != self.backbone.num_features
        ):
            return features.permute(0, 3, 1, 2)  # channels last, as Swin gives
        return features

    def pool(self, features: Tensor) -> Tensor:
        return features.mean((2, 3))


def _create(name: str, download: bool, channels: int, size: tuple[int, int] | None) -> nn.Module:
    """The backbone without its classifier. timm takes `img_size` only for models built for one size."""
    options: dict[str, Any] = {"pretrained": download, "num_classes": 0, "in_chans": channels}
    if size is not None and "img_size" in _arguments(name):
        options["img_size"] = tuple(size)
    return timm.create_model(name, **options)


def _arguments(name: str) -> set[str]:
    """`img_size` is taken by models with a fixed input size only, which timm says in their config."""
    config = timm.get_pretrained_cfg(name)
    return {"img_size"} if config is not None and config.fixed_input_size else set()
