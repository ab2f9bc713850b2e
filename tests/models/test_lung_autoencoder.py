"""The lung autoencoder sees its encoder's last map alone; that encoder becomes a classifier, ReCovNet, bit by bit."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from hilum.bundles import Bundle, load, save
from hilum.bundles.info import Architecture
from hilum.errors import BundleError, RecipeError
from hilum.models import Segmenter, build, names
from hilum.models.contract import parameter_counts
from tests.bundles_for_tests import dark_lungs_bundle

LIGHT = {"encoder": "mobilenetv2_050", "filters": (16, 16, 8, 8, 8), "size": (64, 64)}
FILTERS = (256, 128, 64, 32, 16)
MAPS = {"densenet121": 1024, "resnet50": 2048, "mobilenetv2_100": 1280}
"""Channels of each encoder's last map, as its paper has them."""


def small(**options) -> Segmenter:
    torch.manual_seed(0)
    model = build("lung_autoencoder", **{**LIGHT, **options})
    assert isinstance(model, Segmenter)
    return model.eval()


def decoder_by_hand(below: int) -> int:
    """A 3x3 convolution from a to b channels: 9ab weights, no bias; its batch norm: 2b. Last, 9 x 16 weights and a bias."""
    count = 0
    for width in FILTERS:
        count += 9 * below * width + 2 * width + 9 * width * width + 2 * width
        below = width
    return count + 9 * below + 1


@pytest.mark.parametrize("encoder", MAPS)
def test_the_decoder_has_the_papers_filters_to_the_last_parameter(encoder):
    with torch.device("meta"):
        model = build("lung_autoencoder", encoder=encoder)
        alone = timm.create_model(encoder, num_classes=0)
    assert parameter_counts(model.decoder)["trainable"] == decoder_by_hand(MAPS[encoder])
    assert sum(p.numel() for p in model.encoder_parameters()) == sum(p.numel() for p in alone.parameters())
    assert "lung_autoencoder" in names()


def test_the_decoder_of_v1_counted_out():
    weights = (
        1024 * 256
        + 256 * 256
        + 256 * 128
        + 128 * 128
        + 128 * 64
        + 64 * 64
        + 64 * 32
        + 32 * 32
        + 32 * 16
        + 16 * 16
    )
    norms = 4 * (256 + 128 + 64 + 32 + 16)
    assert decoder_by_hand(1024) == 9 * weights + norms + 9 * 16 + 1 == 3_538_769


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (96, 33), (50, 50), (31, 64)])
def test_logits_lie_on_the_inputs_own_grid(size):
    assert small(outputs=2)(torch.randn(2, 3, *size)).shape == (2, 2, *size)


def test_an_encoder_that_pads_nothing_has_them_on_that_grid_too():
    with torch.device("meta"):
        model = build("lung_autoencoder", encoder="inception_v3", filters=LIGHT["filters"])
        assert model.eval()(torch.empty(1, 3, 150, 224)).shape == (1, 1, 150, 224)


@torch.no_grad()
def test_a_film_continued_by_its_edge_has_the_same_logits():
    """Sides that the stride does not divide move no pixel."""
    model, film = small(), torch.randn(1, 3, 64, 64)
    film[..., 40:, :] = film[..., 39:40, :]
    assert torch.equal(model(film[..., :40, :]), model(film)[..., :40, :])


@torch.no_grad()
def test_nothing_but_the_last_map_reaches_the_decoder():
    """With the last map held fixed, films of any content have the same logits; a U-Net's differ."""
    model = small()
    one, other = torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64)
    fixed = model.feature_map(one)
    assert not torch.equal(model(one), model(other))
    assert torch.equal(model(one), model.decoder(fixed))
    hook = model.encoder.bn2.register_forward_hook(lambda *call: fixed)  # the encoder's last layer
    held = model(one), model(other)
    hook.remove()
    assert torch.equal(*held)
    unet = build("unet", encoder="resnet10t", widths=(8, 8, 8, 8, 8)).eval()
    deepest = unet.encoder(one)[-1]
    hook = unet.encoder.layer4.register_forward_hook(lambda *call: deepest)
    assert not torch.equal(unet(one), unet(other))
    hook.remove()


def test_stages_that_do_not_undo_the_stride_are_refused():
    with pytest.raises(RecipeError, match=r"16 times smaller.*Give `filters` 4 numbers"):
        small(encoder="vit_tiny_patch16_224")
    assert (
        small(encoder="vit_tiny_patch16_224", filters=(8, 8, 8, 8))(torch.randn(1, 3, 64, 64)).shape[1] == 1
    )


@pytest.fixture(scope="module", params=["float16", "float32"])
def phase_one(request, tmp_path_factory) -> tuple[Bundle, str]:
    """A saved bundle of a lung autoencoder, loaded again, and the path of its weights."""
    model = small()
    for name, value in model.state_dict().items():
        if name.startswith("encoder.") and name.endswith("running_mean"):
            value.normal_(generator=torch.Generator().manual_seed(1))
    info = dark_lungs_bundle("phase-one", 64).info.model_copy(
        update={"model": Architecture(name="lung_autoencoder", options=LIGHT), "precision": request.param}
    )
    place = save(Bundle(info, model), tmp_path_factory.mktemp("phase") / "one")
    return load(place), str(place / "weights.safetensors")


def test_recovnet_starts_from_every_tensor_of_a_bundles_encoder(phase_one):
    bundle, weights = phase_one
    model = build("timm", outputs=2, name="mobilenetv2_050", dropout=0.0, pretrained=weights)
    ours, theirs = model.backbone.state_dict(), bundle.model.encoder.state_dict()
    assert list(ours) == list(theirs)
    for name, value in load_file(weights).items():
        if name.startswith("encoder."):
            kept = ours[name.removeprefix("encoder.")]
            assert torch.equal(kept, value.to(kept.dtype)), name
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    films = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        map_of_lungs = bundle.model.feature_map(films)
        assert torch.equal(model.eval().feature_map(films), map_of_lungs)
        assert torch.allclose(model(films), model.linear_head()(map_of_lungs.mean((2, 3))))


def test_recovnet_starts_from_plain_weights_of_an_autoencoder(tmp_path):
    source = small()
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    again = small(pretrained=tmp_path / "w.safetensors")
    model = build("timm", outputs=2, name="mobilenetv2_050", pretrained=tmp_path / "w.safetensors")
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value), name
        assert torch.equal(again.encoder.state_dict()[name], value), name


def test_the_encoder_of_another_architecture_is_refused(phase_one):
    with pytest.raises(BundleError, match=r"do not fit the backbone \(\d+ tensors missing"):
        build("timm", outputs=2, name="resnet10t", pretrained=phase_one[1])


@pytest.mark.parametrize(("name", "features"), [("densenet121", 1024), ("resnet50", 2048)])
def test_v1_and_v2_are_the_autoencoders_encoder_under_one_linear_layer(name, features):
    """Their tensors have the same names and shapes, so that phase I's weights fit; two outputs for a softmax."""
    with torch.device("meta"):
        first = build("lung_autoencoder", encoder=name)
        second = build("timm", outputs=2, name=name, dropout=0.0)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (first.encoder, second.backbone)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in second.head.parameters()) == 2 * features + 2
