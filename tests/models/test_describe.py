"""What is shown of a model is what the model has."""

from __future__ import annotations

import pytest

from hilum.errors import RecipeError
from hilum.models import build, names
from hilum.models.contract import parameter_counts
from hilum.models.describe import about, describe, options


@pytest.mark.parametrize("name", names())
def test_every_architecture_says_what_it_is_and_takes(name):
    assert 20 < len(about(name)) < 160
    assert "\n" not in about(name)
    assert {"outputs", "pretrained", "channels"} <= set(options(name))


def test_parts_add_up_and_statistics_are_batch_norms():
    found = describe("attention_fusion", outputs=3, first="resnet10t", second="mobilenetv2_050",
                     first_tap=None, second_tap=None, width=8, size=(64, 64))  # fmt: skip
    model = build("attention_fusion", **found.options)
    counts = parameter_counts(model)
    assert sum(found.parts.values()) == found.parameters == counts["trainable"]
    assert list(found.parts) == ["encoder", "fusion", "head"]
    assert found.parts["head"] == 16 * 3 + 3
    assert found.statistics == counts["buffers"]
    assert found.megabytes == pytest.approx((2 * found.parameters + 4 * found.statistics) / 1e6)
    assert (found.channels, found.input_size, found.mean) == (3, (64, 64), model.mean)
    assert [b.name for b in found.backbones] == ["resnet10t", "mobilenetv2_050"]
    assert "apache" in found.backbones[0].weights


def test_a_segmenter_has_a_decoder_and_no_head():
    found = describe("unet", outputs=1, encoder="resnet10t", widths=(8, 8, 8, 8, 8))
    assert found.kind == "segmenter"
    assert list(found.parts) == ["encoder", "decoder"]


def test_weights_of_another_licence_and_backbones_without_weights_are_named_so():
    assert describe("timm", outputs=1, name="resnet18").backbones[0].weights == "apache-2.0"
    assert describe("timm", outputs=1, name="mobilenetv2_035").backbones[0].weights is None
    restricted = describe("timm", outputs=1, name="convnextv2_atto").backbones[0].weights
    assert restricted == "cc-by-nc-4.0"


def test_nothing_is_downloaded():
    with pytest.raises(RecipeError, match="without weights"):
        describe("timm", outputs=1, pretrained="imagenet")
