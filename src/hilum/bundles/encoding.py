"""Bundles that give embeddings and find nothing: what they are refused for, and what they are for."""

from __future__ import annotations

from hilum.bundles.info import Info
from hilum.errors import BundleError

ENCODES = "encode"


def refuse_encoder(info: Info) -> None:
    """BundleError where the bundle encodes: whoever asks it for findings is told how to train a classifier from it."""
    if info.task == ENCODES:
        raise BundleError(
            "it gives embeddings and finds nothing by itself",
            path=info.name,
            mend="Train a classifier from it: hilum train RECIPE model.pretrained=BUNDLE/weights.safetensors"
            " (see docs/pretrain.md)",
        )
