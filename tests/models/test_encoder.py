"""What an encoder learns is what a classifier starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hilum.errors import BundleError
from hilum.models import Encoder, build


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_a_classifier_takes_the_weights_of_an_encoder(name: str, tmp_path: Path):
    torch.manual_seed(0)
    encoder = build("encoder", outputs=0, name=name, channels=1, size=(32, 32)).eval()
    assert isinstance(encoder, Encoder)
    assert all(key.startswith("backbone.") for key in encoder.state_dict())
    path = tmp_path / "weights.safetensors"
    save_file(
        {
            key: value.half() if value.is_floating_point() else value
            for key, value in encoder.state_dict().items()
        },
        path,
    )
    classifier = build("timm", outputs=2, name=name, channels=1, size=(32, 32), pretrained=str(path)).eval()
    images = torch.randn(2, 1, 32, 32)
    assert torch.allclose(classifier.encode(images), encoder(images), atol=0.05)
    for key, value in classifier.backbone.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[f"backbone.{key}"].half().to(value.dtype))


def test_another_architecture_does_not(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    save_file(build("encoder", outputs=0, name="resnet10t", channels=1).state_dict(), path)
    with pytest.raises(BundleError, match="do not fit the backbone"):
        build("timm", outputs=2, name="resnet18", channels=1, pretrained=str(path))
