"""RT-DETR: built without a network or a download, weights from a file, one channel as three, and what it refuses."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from hilum.boxes import select
from hilum.bundles.export import onnx_graph
from hilum.errors import BundleError, MissingExtraError, RecipeError
from hilum.models import build, names
from hilum.models.backbones import Pyramid
from hilum.models.describe import about, describe
from hilum.models.viewed import PLAIN, View, Viewed

pytest.importorskip("transformers")
SMALL = {"backbone": "resnet10t", "hidden": 32, "layers": 2, "queries": 20, "size": (64, 96)}


def small(**options):
    torch.manual_seed(0)
    return build("rt_detr", **{"outputs": 2, **SMALL, **options})


def test_boxes_begin_on_their_cells_and_things_are_rare():
    model = small().eval()
    with torch.no_grad():
        maps = model(torch.randn(1, 1, 64, 96))
        boxes, scores = model.boxes(maps)
    assert len(maps) == 3  # the encoder's, and one a layer
    sides = maps[-1][..., 2:4] / torch.tensor([96, 64])
    assert {round(float(side), 3) for side in sides.flatten()} <= {0.05, 0.1, 0.2}
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    # The middle of cells of 8, 16 and 32.
    assert torch.allclose(centre / 4, (centre / 4).round(), atol=1e-3)
    assert scores.mean() < 0.1


def test_a_signal_comes_through_the_encoder_from_the_first_step():
    """As `transformers` begins it, batch norm's scales are near 0, and two films differ by 5e-8."""
    model = small().eval()
    with torch.no_grad():
        one, other = model(torch.randn(2, 1, 64, 96, generator=torch.Generator().manual_seed(1)))[0][..., 4:]
    assert (one - other).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("name", "stem"), [("mobilenetv2_050", "conv_stem.weight"), ("resnet10t", "conv1.0.weight")]
)
def test_weights_of_three_channels_are_summed_for_one(name, stem, tmp_path):
    source = timm.create_model(name)
    assert source.state_dict()[stem].shape[1] == 3
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    three = small(backbone=name, channels=3, pretrained=tmp_path / "w.safetensors").eval()
    one = small(backbone=name, channels=1, pretrained=tmp_path / "w.safetensors").eval()
    x = torch.randn(1, 1, 64, 96)
    with torch.no_grad():
        for a, b in zip(three.backbone(x.expand(-1, 3, -1, -1)), one.backbone(x), strict=True):
            assert torch.allclose(a, b, atol=1e-4)
    key = f"backbone.net.{stem}"
    assert torch.equal(one.state_dict()[key], three.state_dict()[key].sum(1, keepdim=True))


def test_weights_of_another_backbone_are_refused(tmp_path):
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BundleError, match="do not fit the backbone"):
        small(pretrained=tmp_path / "w.safetensors")


def test_the_backbone_stands_once_and_is_what_it_starts_from():
    model = small()
    assert {key.split(".")[0] for key in model.state_dict()} == {"backbone", "network"}
    encoder = {id(p) for p in model.encoder_parameters()}
    assert encoder == {id(p) for p in model.backbone.parameters()}
    assert not encoder & {id(p) for p in model.detect_layer.parameters()}


def test_true_boxes_with_noise_know_what_they_were_made_of():
    model = small(denoising=8).train()
    truth = torch.tensor([[1.0, 0, 40, 30, 20, 30], [0, 1, 30, 30, 20, 20], [1, 1, 60, 40, 10, 20]])
    found = model.taught(torch.randn(3, 1, 64, 96), truth)
    noisy = found.denoised
    assert noisy.groups == 4  # 8 over the 2 boxes of the film that has most
    assert torch.equal(truth[noisy.row, 0].long(), noisy.film)
    assert torch.bincount(noisy.row).tolist() == [4, 4, 4]
    assert noisy.maps[0].shape == (3, 4 * 2 * 2, 6)
    assert all(each.shape == (3, 20, 6) for each in found.maps)
    nothing = model.taught(torch.randn(3, 1, 64, 96), truth[:0])
    assert nothing.denoised is None
    assert small(denoising=0).train().taught(torch.randn(3, 1, 64, 96), truth).denoised is None


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecipeError, match="multiple of 4"):
        small(hidden=30)
    with pytest.raises(RecipeError, match="at least 1"):
        small(queries=0)
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        with pytest.raises(RecipeError, match="no maps at strides 8, 16, 32"):
            small(backbone=name)
    with pytest.raises(RecipeError, match="timm has no model 'mobilenetv9'"):
        small(backbone="mobilenetv9")
    with pytest.raises(RecipeError, match=r"200 queries are more than the 84 cells"):
        small(queries=200)(torch.randn(1, 1, 64, 64))


def test_a_pyramid_gives_the_deepest_map_of_each_stride():
    pyramid = Pyramid("mobilenetv2_100", (8, 16, 32), channels=1).eval()
    maps = pyramid(torch.zeros(1, 1, 64, 96))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (width, 64 // stride, 96 // stride) for width, stride in zip(pyramid.widths, (8, 16, 32), strict=True)
    ]
    assert pyramid.widths == (32, 96, 320)


def test_it_is_listed_and_shown():
    assert "rt_detr" in names()
    assert "queries" in about("rt_detr")
    found = describe("rt_detr", outputs=2, **SMALL)
    assert found.kind == "detector"
    assert found.backbones[0].name == "resnet10t"
    assert "transformers" in found.code
    assert set(found.parts) == {"encoder", "head"}


def test_as_an_onnx_graph_it_gives_the_same_for_one_film_and_many():
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    model = small(size=(64, 64)).eval()
    graph = runtime.InferenceSession(onnx_graph(model, 1, (64, 64)), providers=["CPUExecutionProvider"])
    for films in (1, 3):
        x = torch.randn(films, 1, 64, 64, generator=torch.Generator().manual_seed(films))
        with torch.no_grad():
            wanted = model.detect(x)
        for ours, theirs in zip(graph.run(["boxes", "scores"], {"images": x.numpy()}), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-3)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"'rt_detr' needs the extra 'detect'.*hilum\[detect\]"):
        small()
    assert "rt_detr" in names()
    assert about("rt_detr")


def test_its_boxes_are_no_second_finds_of_one_another():
    model = build("rt_detr", outputs=1, backbone="mobilenetv3_small_050", hidden=32, heads=4, size=(64, 64))
    assert model.overlap == 1.0
    assert Viewed(model, PLAIN).overlap == 1.0
    assert Viewed(model, (View(), View(0.5))).overlap < 1


def test_boxes_of_which_none_is_suppressed_are_all_kept_the_best_first():
    box = [[[0.0, 0.0, 10.0, 10.0]] * 3]
    found = select(box, [[[0.2], [0.9], [0.5]]], iou_threshold=1.0)
    assert found.scores.tolist() == [0.9, 0.5, 0.2]
    assert select(box, [[[0.2], [0.9], [0.5]]]).scores.tolist() == [0.9]
