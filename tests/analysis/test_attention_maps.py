"""Attention rollout and gradient-weighted attention, held to transformers that form their attention in full."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn

from hilum.analysis.attention_maps import check_attention, gradient_weighted, rollout
from hilum.errors import HilumError
from hilum.models import build

FUSION = {
    "first": "resnet10t",
    "second": "mobilenetv2_050",
    "first_tap": None,
    "second_tap": None,
    "width": 16,
    "size": (64, 96),
}
VITS = [
    "vit_tiny_patch16_224",  # a class token
    "deit_tiny_distilled_patch16_224",  # two of them
    "vit_medium_patch16_gap_240",  # none, pooled by average
    "vit_wee_patch16_reg1_gap_256",  # a register, a norm after the average
]
NORMALISED = "vit_wee_patch16_reg1_gap_256"  # whose queries and keys these tests normalise


def made(name: str, size: tuple[int, int] = (64, 96), outputs: int = 3):
    """Three layers of a transformer whose attention is uneven: at the start all tokens are looked at alike."""
    torch.manual_seed(0)
    model = build("timm", outputs=outputs, name=name, size=size).eval()
    model.backbone.blocks = model.backbone.blocks[:3]
    with torch.no_grad():
        for block in model.backbone.blocks:
            block.attn.qkv.weight.mul_(4)
            if name == NORMALISED:
                block.attn.q_norm = block.attn.k_norm = nn.LayerNorm(block.attn.head_dim)
        for key, parameter in model.named_parameters():
            if key.endswith(("ls1.gamma", "ls2.gamma")):  # some start layers at a millionth
                parameter.fill_(0.5)
    return model


def film(model, seed: int = 0):
    return torch.randn(1, 3, *model.input_size, generator=torch.Generator().manual_seed(seed))


@contextmanager
def formed(net):
    """timm's other form of attention, in which the weights are formed and go through a dropout layer; they are kept."""
    kept: list[torch.Tensor] = []
    layers = [block.attn for block in net.blocks]
    handles = [a.attn_drop.register_forward_hook(lambda *call: kept.append(call[2])) for a in layers]
    for layer in layers:
        layer.fused_attn = False
    yield kept
    for layer, handle in zip(layers, handles, strict=True):
        layer.fused_attn = True
        handle.remove()


@pytest.mark.parametrize("name", VITS)
def test_gradient_weighted_attention_is_that_of_autograd_through_formed_attention(name):
    """Equations 5 and 6 of Chefer 2021 with whole matrices."""
    model = made(name)
    images = film(model)
    found = gradient_weighted(model, images)
    prefix = model.backbone.num_prefix_tokens
    with formed(model.backbone) as kept:
        logits = model(images.clone().requires_grad_())[0]
        assert len(kept) == len(model.backbone.blocks)
        for label in range(3):
            gradients = torch.autograd.grad(logits[label], kept, retain_graph=True)
            identity = torch.eye(kept[0].shape[-1])
            relevance = identity
            for weights, gradient in zip(kept, gradients, strict=True):
                relevance = relevance + (gradient * weights)[0].clamp_min(0).mean(0) @ relevance
            wanted = (relevance - identity)[prefix:, prefix:].mean(0).reshape(4, 6).detach()
            assert wanted.max() > 0
            torch.testing.assert_close(found[label], wanted, rtol=1e-4, atol=1e-5 * float(wanted.max()))
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", VITS)
def test_rollout_is_the_product_of_formed_attention(name):
    model = made(name)
    images = film(model)
    prefix = model.backbone.num_prefix_tokens
    with formed(model.backbone) as kept, torch.no_grad():
        model(images)
    joined = torch.eye(kept[0].shape[-1])
    for weights in kept:
        layer = weights[0].mean(0) + torch.eye(len(joined))
        joined = layer / layer.sum(-1, keepdim=True) @ joined
    wanted = joined[prefix:, prefix:].mean(0).reshape(4, 6)
    torch.testing.assert_close(rollout(model, images), wanted, rtol=1e-4, atol=1e-7)


def test_the_rows_of_attention_sum_to_1_and_listening_changes_nothing():
    model = made(VITS[0])
    images = film(model)
    with torch.no_grad():
        before = model(images)
    assert rollout(model, images).sum() < 1  # what is missing went to the class token
    gradient_weighted(model, images)
    assert rollout(made(VITS[2], (80, 80)), torch.randn(1, 3, 80, 80)).sum() == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        assert torch.equal(model(images), before)
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert not hooks
    assert all(p.grad is None for p in model.parameters())


def test_it_works_in_inference_mode_and_of_frozen_weights():
    model = made(VITS[0])
    images = film(model)
    wanted = gradient_weighted(model, images)
    model.requires_grad_(False)
    with torch.inference_mode():
        torch.testing.assert_close(gradient_weighted(model, images.clone()), wanted)


def fusion(gamma: float):
    torch.manual_seed(0)
    model = build("attention_fusion", outputs=3, **FUSION).eval()
    with torch.no_grad():
        model.attention.gamma.fill_(gamma)
        model.attention.query.weight.mul_(8)
    return model


def test_the_attention_of_the_fusion():
    """Its one layer in closed form: the gradient of a logit by attention is gamma / positions times what the head makes of
    the value."""
    model = fusion(0.7)
    images = film(model)
    with torch.no_grad():
        weights = model.attention_map(images)[0]
        values = model.attention.value(model.joined(images))[0].flatten(1)
        by_value = model.linear_head().weight @ values * 0.7 / len(weights)  # (labels, positions)
        wanted = (by_value.clamp_min(0)[:, None] * weights).mean(1)
        grid = model.joined(images).shape[-2:]
    torch.testing.assert_close(gradient_weighted(model, images).flatten(1), wanted, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(rollout(model, images).flatten(), (weights.mean(0) + 1 / len(weights)) / 2)
    assert rollout(model, images).shape == grid


def test_a_fusion_that_does_not_attend_has_no_heat():
    assert not gradient_weighted(fusion(0.0), film(fusion(0.0))).any()


def test_an_ensemble_gives_the_mean_of_its_members_maps():
    options = {"name": VITS[0], "size": (64, 96)}
    model = build("ensemble", outputs=3, members=({}, {}), options=options).eval()
    images = film(model)
    alone = []
    for place in range(2):
        member = build("timm", outputs=3, **options).eval()
        encoder = model.members[place].state_dict()
        head = {f"head.{k}": v for k, v in model.head.heads[place].state_dict().items()}
        member.load_state_dict({**encoder, **head})
        alone.append(rollout(member, images))
    torch.testing.assert_close(rollout(model, images), torch.stack(alone).mean(0))
    maps = gradient_weighted(model, images)
    assert maps.shape == (3, 4, 6)
    assert (maps.amax((1, 2)) > 0).all()


def joined_model(backbone: str | None, main: str = VITS[0]):
    torch.manual_seed(0)
    model = build(
        "ssgan_vit", outputs=3, backbone=backbone, main=main, film=32, film_width=4, size=(64, 96)
    ).eval()
    for net in (block.net for block in (model.backbone, model.main) if block is not None):
        if hasattr(net, "blocks") and hasattr(net, "patch_embed"):
            net.blocks = net.blocks[:2]
            for block in net.blocks:
                nn.init.normal_(block.attn.qkv.weight, std=0.1)
    return model


def followed(net, model, images, label: int):
    """Equations 5 and 6 of Chefer 2021 with whole matrices, on the 4 x 6 patches behind one class token."""
    with formed(net) as kept:
        logits = model(images.clone().requires_grad_())[0]
        gradients = torch.autograd.grad(logits[label], kept)
        identity = torch.eye(kept[0].shape[-1])
        relevance = identity
        for weights, gradient in zip(kept, gradients, strict=True):
            relevance = relevance + (gradient * weights)[0].clamp_min(0).mean(0) @ relevance
    return (relevance - identity)[1:25, 1:25].mean(0).reshape(4, 6).detach()


@pytest.mark.parametrize("backbone", [None, "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_the_joined_model_is_followed_through_its_transformers_to_their_patches(backbone: str | None):
    """The tokens of the discriminator take part in the attention and have no place on the grid."""
    model = joined_model(backbone)
    images = film(model)
    nets = [model.main.net] + ([model.backbone.net] if backbone and backbone.startswith("vit") else [])
    found = gradient_weighted(model, images)
    assert found.shape == (3, 4, 6)
    for label in range(3):
        wanted = torch.stack([followed(net, model, images, label) for net in nets]).mean(0)
        assert wanted.max() > 0
        torch.testing.assert_close(found[label], wanted, rtol=1e-4, atol=1e-5 * float(wanted.max()))
    assert rollout(model, images).shape == (4, 6)
    assert 0 < float(rollout(model, images).sum()) < 1


def test_encoders_of_different_grids_meet_on_the_finest():
    model = joined_model("vit_tiny_patch16_224", main="vit_base_patch32_224")
    assert rollout(model, film(model)).shape == (4, 6)


def test_the_joined_model_around_a_convolutional_network_is_refused():
    with pytest.raises(HilumError, match="no attention"):
        check_attention(joined_model("vit_tiny_patch16_224", main="mobilenetv3_small_050"))


@pytest.mark.parametrize(
    "options", [{"name": "mobilenetv3_small_050"}, {"name": "swin_tiny_patch4_window7_224", "size": (64, 64)}]
)
def test_models_without_attention_that_can_be_followed_are_refused(options):
    model = build("timm", outputs=2, **options)
    for method in (check_attention, lambda m: rollout(m, film(m)), lambda m: gradient_weighted(m, film(m))):
        with pytest.raises(HilumError, match=r"no attention.*vit_\*.*attention_fusion.*ssgan_vit.*score_cam"):
            method(model)
