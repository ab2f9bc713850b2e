"""Weights to start from: read from safetensors alone or out of a bundle; anything else is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from hilum.bundles import save
from hilum.errors import BundleError
from hilum.models import build
from hilum.models.backbones import create
from hilum.models.pretrained import read_weights
from tests.bundles_for_tests import classifier_bundle, unet_bundle

NAME = "mobilenetv3_small_050"


class Evil:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def build_small(pretrained: Path, **options):
    return build("timm", outputs=2, name=NAME, pretrained=pretrained, **options)


def test_a_backbone_starts_from_its_file_classifier_and_all(tmp_path):
    source = timm.create_model(NAME, num_classes=5)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = build_small(tmp_path / "w.safetensors")
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[name]), name


def test_half_precision_weights_are_read_as_float32(tmp_path):
    save_file({"a": torch.ones(2, dtype=torch.float16), "n": torch.tensor([3])}, tmp_path / "w.safetensors")
    tensors = read_weights(tmp_path / "w.safetensors")
    assert tensors["a"].dtype == torch.float32
    assert tensors["n"].dtype == torch.int64


def test_a_backbone_starts_from_a_bundles_weights(tmp_path):
    bundle = classifier_bundle()
    save(bundle, tmp_path / "b")
    model = build_small(tmp_path / "b" / "weights.safetensors", channels=1, size=(64, 64))
    for name, value in model.backbone.state_dict().items():
        assert torch.allclose(value, bundle.model.backbone.state_dict()[name], rtol=1e-3, atol=1e-4), name


def test_a_unet_starts_from_another_unets_encoder(tmp_path):
    bundle = unet_bundle()
    save(bundle, tmp_path / "b")
    options = bundle.info.model.options
    model = build("unet", outputs=2, **options, pretrained=tmp_path / "b" / "weights.safetensors")
    key = next(iter(model.encoder.state_dict()))
    assert torch.allclose(model.encoder.state_dict()[key], bundle.model.encoder.state_dict()[key], atol=1e-3)


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BundleError, match="do not fit the backbone"):
        build_small(tmp_path / "w.safetensors")


def test_weights_of_another_width_are_refused(tmp_path):
    save_file(timm.create_model("mobilenetv3_small_075").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BundleError, match="of another shape"):
        build_small(tmp_path / "w.safetensors")


def test_a_pickle_is_refused_and_never_run(tmp_path):
    mark = tmp_path / "mark"
    for name, content in {
        "plain.safetensors": pickle.dumps(Evil(mark)),
        "plain.pt": pickle.dumps({"state_dict": Evil(mark)}),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError, match="not a safetensors file"):
            build_small(tmp_path / name)
    torch.save({"w": torch.ones(1), "e": Evil(mark)}, tmp_path / "zip.safetensors")
    with pytest.raises(BundleError, match="not a safetensors file"):
        build_small(tmp_path / "zip.safetensors")
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x08\0\0\0\0\0\0\0not json", b"\0" * 64])
def test_what_is_no_safetensors_is_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(BundleError, match="not a safetensors file"):
        build_small(tmp_path / "w.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BundleError, match="no weights here"):
        build_small(tmp_path / "absent.safetensors")


def test_weights_that_cannot_be_downloaded_are_told_with_a_way_out(monkeypatch: pytest.MonkeyPatch):
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(BundleError, match=r"mobilenetv2_100.*no route to host\).*model\.pretrained=null"):
        create("mobilenetv2_100", "imagenet", 3)
