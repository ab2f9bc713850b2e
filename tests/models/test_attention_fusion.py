"""Self-attention held to the plain form and to torch's own module; taps held to the whole network."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor

from hilum.errors import RecipeError
from hilum.models import build
from hilum.models.attention_fusion import SelfAttention
from hilum.models.backbones import Backbone


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def attention() -> SelfAttention:
    torch.manual_seed(0)
    module = SelfAttention(512)
    torch.nn.init.constant_(module.gamma, 0.7)
    return module


def plainly(module: SelfAttention, x: Tensor) -> Tensor:
    """SAGAN's equations with explicit sums over positions, scores divided by the root of the width."""
    n, width, h, w = x.shape
    q, k, v = (layer(x).reshape(n, width, h * w) for layer in (module.query, module.key, module.value))
    scores = torch.einsum("nci,ncj->nij", q, k) / width**0.5
    share = scores.exp() / scores.exp().sum(2, keepdim=True)
    return module.gamma * torch.einsum("nij,ncj->nci", share, v).reshape(x.shape) + x


@torch.no_grad()
@pytest.mark.parametrize("grid", [(14, 14), (7, 7), (3, 5)])
def test_the_efficient_form_equals_the_plain_one(attention, grid):
    x = random(2, 512, *grid)
    assert torch.allclose(attention(x), plainly(attention, x), rtol=0, atol=1e-5)


def test_both_forms_have_the_same_gradients(attention):
    x = random(1, 512, 5, 4).requires_grad_()
    (ours,) = torch.autograd.grad(attention(x).square().sum(), x)
    (plain,) = torch.autograd.grad(plainly(attention, x).square().sum(), x)
    assert torch.allclose(ours, plain, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_it_is_torchs_multi_head_attention_of_one_head(attention):
    other = torch.nn.MultiheadAttention(512, 1, batch_first=True)
    layers = (attention.query, attention.key, attention.value)
    other.in_proj_weight.copy_(torch.cat([layer.weight[:, :, 0, 0] for layer in layers]))
    other.in_proj_bias.copy_(torch.cat([layer.bias for layer in layers]))
    other.out_proj.weight.copy_(torch.eye(512))
    other.out_proj.bias.zero_()
    x = random(2, 512, 4, 6)
    rows = x.flatten(2).transpose(1, 2)
    attended, weights = other(rows, rows, rows)
    expected = x + 0.7 * attended.transpose(1, 2).reshape(x.shape)
    assert torch.allclose(attention(x), expected, atol=1e-5)
    assert torch.allclose(attention.weights(x), weights, atol=1e-6)


@torch.no_grad()
def test_attention_begins_as_nothing():
    x = random(1, 16, 4, 4)
    assert torch.equal(SelfAttention(16)(x), x)


@pytest.fixture(scope="module")
def fusion():
    torch.manual_seed(0)
    return build("attention_fusion", outputs=14).eval()


@torch.no_grad()
def test_published_maps_and_the_attention_map_have_the_published_sizes(fusion):
    images = random(1, 3, 224, 224)
    first, second = fusion.maps(images)
    assert (first.shape[1:], second.shape[1:]) == ((1024, 7, 7), (816, 14, 14))
    shares = fusion.attention_map(images)
    assert shares.shape == (1, 196, 196)
    assert torch.allclose(shares.sum(2), torch.ones(1, 196))
    assert fusion.feature_map(images).shape == (1, 512, 14, 14)


def test_nothing_after_a_tap_is_kept(fusion):
    assert not any(name.startswith("first.net.features.norm5") for name in fusion.state_dict())
    kept = {name.removeprefix("second.net.") for name in fusion.second.state_dict()}
    assert not any("conv_head" in name or "blocks.6" in name or "blocks.5.1" in name for name in kept)


@pytest.mark.parametrize(
    ("name", "tap"),
    [
        ("resnet18", "layer3"),
        ("resnet18", "layer2.1.bn1"),
        ("mobilenetv2_050", "blocks.3"),
        ("densenet121", "features.transition2.conv"),
        ("efficientnet_b0", "blocks.5.0.bn1"),
    ],
)
@torch.no_grad()
def test_a_tap_gives_what_the_whole_network_has_there(name, tap):
    torch.manual_seed(0)
    part = Backbone(name, tap).eval()
    whole = timm.create_model(name, num_classes=0).eval()
    loaded = whole.load_state_dict(part.net.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    seen = []
    whole.get_submodule(tap).register_forward_hook(lambda *call: seen.append(call[2].clone()))
    images = random(1, 3, 64, 64, seed=1)
    whole(images)
    assert torch.equal(part(images), seen[0])
    assert part.width == seen[0].shape[1]


@pytest.mark.parametrize(
    ("name", "tap", "fault"),
    [
        ("resnet18", "layer9", "no module 'layer9'"),
        ("resnet50", "layer2.0.downsample", "no plain chain"),
        ("vit_tiny_patch16_224", "blocks.3", "no plain chain"),
    ],
)
def test_a_tap_that_is_not_there_or_cannot_be_cut_is_refused(name, tap, fault):
    with pytest.raises(RecipeError, match=fault):
        Backbone(name, tap)
