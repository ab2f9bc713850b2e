"""Two backbones under one input: each sees what its weights expect, starts from its own weights, and keeps its average."""

from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hilum.errors import RecipeError
from hilum.models import build
from hilum.models.two_backbones import on_one_grid

SMALL = {"first": "resnet10t", "second": "mobilenetv1_100", "hidden": 8, "size": (64, 64)}


@torch.no_grad()
def test_each_backbone_sees_the_film_normalised_as_its_weights_expect():
    model = build("concat_hybrid", outputs=2, **SMALL).eval()
    assert model.first.mean != model.second.mean
    grey = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def normalised(mean, std):
        return (grey - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)

    first, second = model.maps(normalised(model.mean, model.std))
    assert torch.allclose(first, model.first(normalised(model.first.mean, model.first.std)))
    alone = model.second(normalised(model.second.mean, model.second.std))
    assert torch.allclose(second, alone, atol=1e-5)


@torch.no_grad()
def test_the_embedding_is_both_averages_side_by_side():
    model = build("concat_hybrid", outputs=2, **SMALL).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first, second = model.maps(images)
    expected = torch.cat([first.mean((2, 3)), second.mean((2, 3))], 1)
    assert torch.allclose(model.encode(images), expected, atol=1e-6)


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_enlarging_by_a_whole_factor_keeps_the_average(factor, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, 2, height, width, generator=generator)
    fine = torch.randn(1, 3, factor * height, factor * width, generator=generator)
    enlarged, same = on_one_grid(coarse, fine)
    assert torch.equal(same, fine)
    assert enlarged.shape[-2:] == fine.shape[-2:]
    assert torch.allclose(enlarged.mean((2, 3)), coarse.mean((2, 3)), atol=1e-6)
    assert torch.equal(on_one_grid(fine, coarse)[0], fine)


def test_each_backbone_starts_from_its_own_file(tmp_path):
    paths = []
    for name in (SMALL["first"], SMALL["second"]):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
        paths.append(tmp_path / f"{name}.safetensors")
    model = build("concat_hybrid", outputs=2, pretrained=tuple(paths), **SMALL)
    from safetensors.torch import load_file

    for backbone, path in zip((model.first, model.second), paths, strict=True):
        written = load_file(path)
        assert all(torch.equal(value, written[key]) for key, value in backbone.net.state_dict().items())
    half = build("concat_hybrid", outputs=2, pretrained=(None, paths[1]), **SMALL)
    assert torch.equal(half.second.net.conv_stem.weight, model.second.net.conv_stem.weight)
    assert not torch.equal(half.first.net.conv1[0].weight, model.first.net.conv1[0].weight)


@pytest.mark.parametrize("pretrained", ["one.safetensors", ("a", "b", "c"), ()])
def test_one_set_of_weights_for_two_backbones_is_refused(pretrained):
    with pytest.raises(RecipeError, match="two sets of weights"):
        build("concat_hybrid", outputs=2, pretrained=pretrained, **SMALL)


def test_the_simple_cnn_has_no_imagenet_weights_but_takes_its_own(tmp_path):
    with pytest.raises(RecipeError, match="no ImageNet weights"):
        build("simple_cnn", outputs=2, pretrained="imagenet")
    model = build("simple_cnn", outputs=2)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    other = build("simple_cnn", outputs=5, pretrained=tmp_path / "w.safetensors")
    assert torch.equal(other.encoder[0].weight, model.encoder[0].weight)
