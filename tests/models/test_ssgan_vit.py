"""The joined model: what each block sees, what its tokens do, what is left without a block, and where each starts."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from hilum.errors import BundleError, RecipeError
from hilum.models import build
from hilum.models.gan import Discriminator
from hilum.models.ssgan_vit import SsganVit, Standardised

VIT = "vit_tiny_patch16_224"
SMALL = {"backbone": "resnet10t", "main": VIT, "film": 16, "film_width": 4, "size": (64, 64)}


def made(**options) -> SsganVit:
    torch.manual_seed(0)
    model = build("ssgan_vit", outputs=2, **{**SMALL, **options}).eval()
    assert isinstance(model, SsganVit)
    return model


def grey(films: int = 2, size: int = 64) -> torch.Tensor:
    return torch.rand(films, 1, size, size, generator=torch.Generator().manual_seed(1))


def prepared(model: SsganVit, films: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (model.mean, model.std))
    return (films.expand(-1, 3, -1, -1) - mean) / std


@torch.no_grad()
def test_the_embedding_is_the_average_of_each_blocks_map_side_by_side():
    model = made()
    images = prepared(model, grey())
    maps = model.maps(images)
    assert list(maps) == ["backbone", "discriminator", "main"]
    expected = torch.cat([each.mean((2, 3)) for each in maps.values()], 1)
    assert torch.allclose(model.encode(images), expected, atol=1e-5)


@torch.no_grad()
def test_the_discriminator_sees_the_film_at_its_own_size_in_its_own_range():
    model = made(film=64)
    films = grey()
    assert torch.allclose(model.films(prepared(model, films)), 2 * films - 1, atol=1e-5)
    for film, size in ((16, 64), (16, 24), (16, 8)):
        films = grey(size=size)
        by_torch = torch.nn.functional.interpolate(films, (film, film), mode="bilinear", antialias=True)
        found = made(film=film).films(prepared(model, films))
        assert torch.allclose(found, 2 * by_torch - 1, atol=1e-5)
    flat = made().films(prepared(model, torch.full((1, 1, 64, 64), 0.25)))
    assert torch.allclose(flat, torch.full_like(flat, -0.5), atol=1e-5)


@torch.no_grad()
def test_each_backbone_sees_the_film_normalised_as_its_weights_expect():
    model = made()
    assert model.backbone is not None
    assert model.backbone.mean != model.mean
    films = grey()
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (model.backbone.mean, model.backbone.std))
    expected = model.backbone((films.expand(-1, 3, -1, -1) - mean) / std)
    assert torch.allclose(model.maps(prepared(model, films))["backbone"], expected, atol=1e-4)


@torch.no_grad()
def test_the_main_transformer_is_timms_own_but_for_its_further_tokens():
    model = made(discriminator=False, backbone=None)
    images = prepared(model, grey())
    assert model.tokens is None
    assert model.main is not None
    assert torch.allclose(model.maps(images)["main"], model.main(images))
    joined = made(backbone=None)
    assert joined.tokens is not None
    assert joined.tokens.place.shape == (1, 16, 192)
    before = joined.maps(images)["main"]
    joined.tokens.place += torch.randn(joined.tokens.place.shape)
    assert not torch.allclose(joined.maps(images)["main"], before, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("block", ["backbone", "discriminator", "main"])
def test_without_a_block_its_features_are_zero(block):
    model = made()
    images = prepared(model, grey())
    whole = model.maps(images)
    model.without = (block,)
    left = model.maps(images)
    assert not left[block].any()
    for other in {"backbone", "discriminator", "main"} - {block}:
        # The discriminator takes part in the main transformer too, by its tokens.
        same = torch.equal(left[other], whole[other])
        assert same == (not (block == "discriminator" and other == "main"))


@torch.no_grad()
def test_a_convolutional_main_network_takes_no_tokens():
    model = made(main="resnet10t", backbone=None)
    assert model.tokens is None
    assert list(model.widths) == ["discriminator", "main"]


def test_each_block_starts_from_its_own_file(tmp_path):
    net, gan = timm.create_model("resnet10t", num_classes=0), Discriminator(2, size=16, width=4)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    save_file({f"discriminator.{k}": v for k, v in gan.state_dict().items()}, tmp_path / "gan.safetensors")
    model = made(pretrained=(tmp_path / "net.safetensors", tmp_path / "gan.safetensors", None))
    assert model.backbone is not None
    assert model.discriminator is not None
    assert all(torch.equal(v, net.state_dict()[k]) for k, v in model.backbone.net.state_dict().items())
    assert all(torch.equal(v, gan.state_dict()[k]) for k, v in model.discriminator.state_dict().items())
    with pytest.raises(BundleError, match="do not fit"):
        made(findings=5, pretrained=(None, tmp_path / "gan.safetensors", None))


@pytest.mark.parametrize("pretrained", ["one.safetensors", ("a", "b"), (None, "imagenet", None)])
def test_weights_that_cannot_be_of_the_blocks_are_refused(pretrained):
    with pytest.raises(RecipeError):
        made(pretrained=pretrained)


def test_a_model_of_no_block_is_refused():
    with pytest.raises(RecipeError, match="no block left"):
        made(backbone=None, main=None, discriminator=False)


def test_the_discriminators_features_are_standardised_over_films():
    model = made()
    assert model.discriminator is not None
    assert model.standard is not None
    model.train()
    images = prepared(model, 0.5 + 0.01 * grey(films=64))  # all but alike
    with torch.no_grad():
        model.maps(
            images
        )  # once: the first statistics are the first batch's, not a start of 0 and 1 that fades
    model.eval()
    raw = model.discriminator.features(model.films(images))
    assert raw.std(0).max() < 1e-3
    found = model.maps(images)["discriminator"]
    expected = (raw - raw.mean(0)) / raw.std(0)
    assert torch.allclose(found, expected, atol=0.02)
    assert (found.std(0) - 1).abs().max() < 0.02


def test_a_batch_of_one_film_takes_the_statistics_of_the_films_before_it():
    standard = Standardised(8)
    standard(3 + 2 * torch.randn(64, 2, 2, 2))
    one = torch.randn(1, 2, 2, 2)
    expected = standard.eval()(one)
    torch.testing.assert_close(standard.train()(one), expected)


def test_the_statistics_follow_features_that_drift():
    standard, drawn = Standardised(4), torch.Generator().manual_seed(0)
    for shift in (0.0, 5.0):
        for _ in range(60):
            standard(shift + torch.randn(64, 1, 2, 2, generator=drawn))
        assert (standard.norm.running_mean - shift).abs().max() < 0.1
        assert (standard.norm.running_var - 1).abs().max() < 0.2
