"""An ensemble's logits, held to the members' calibrated probabilities averaged by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

from hilum.errors import RecipeError
from hilum.models import build

OPTIONS = {"name": "resnet10t", "dropout": 0.5, "size": (64, 64)}
CALIBRATED = (
    {"slope": (0.5, 1.5, 2.0), "intercept": (-1.0, 0.0, 1.0)},
    {"slope": (1.1,), "intercept": (-0.3,)},
    {},
)


def ensemble(exclusive: bool = False, architecture: str = "timm", **changes):
    torch.manual_seed(0)
    options = {**OPTIONS, **changes}
    return build(
        "ensemble",
        outputs=3,
        members=CALIBRATED,
        architecture=architecture,
        options=options,
        exclusive=exclusive,
    ).eval()


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def by_hand(model, images: torch.Tensor, exclusive: bool) -> np.ndarray:
    probabilities = []
    for member, head, given in zip(model.members, model.head.heads, CALIBRATED, strict=True):
        logits = head(member.pool(member.feature_map(images))).double().numpy()
        calibrated = logits * np.array(given.get("slope", 1.0)) + np.array(given.get("intercept", 0.0))
        probabilities.append(softmax(calibrated, 1) if exclusive else expit(calibrated))
    return np.mean(probabilities, 0)


@torch.no_grad()
@pytest.mark.parametrize("exclusive", [False, True])
def test_its_logits_give_the_mean_of_the_members_calibrated_probabilities(exclusive):
    model = ensemble(exclusive)
    logits = model(images())
    ours = (logits.softmax(1) if exclusive else logits.sigmoid()).numpy()
    np.testing.assert_allclose(ours, by_hand(model, images(), exclusive), atol=1e-6)


@torch.no_grad()
def test_nothing_is_lost_near_0_and_1():
    """Members that agree on a logit of 40 or -80 give it back, where a mean of probabilities in float32 would be 1 or 0."""
    model = ensemble()
    for head in model.head.heads:
        head[1].weight.zero_()
        head[1].bias.copy_(torch.tensor([40.0, -80.0, 0.0]))
    model.head.slope.fill_(1)
    model.head.intercept.zero_()
    assert torch.allclose(model(images())[0], torch.tensor([40.0, -80.0, 0.0]), atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("architecture", ["timm", "backbone_head"])
def test_heatmap_weights_are_the_mean_of_the_members_in_units_of_their_calibrated_logits(architecture):
    model = ensemble(architecture=architecture)
    embedding = model.encode(images()[:1])
    expected = []
    for part, head, given in zip(embedding.chunk(3, 1), model.head.heads, CALIBRATED, strict=True):
        jacobian = torch.autograd.functional.jacobian(head, part)[0, :, 0]
        slope = torch.tensor(given.get("slope", (1.0,)))
        expected.append(jacobian * slope.expand(3)[:, None] / 3)
    assert torch.allclose(model.class_weights(embedding), torch.cat(expected, 1), atol=1e-6)


def test_the_members_differ_and_each_weight_is_kept_once():
    model = ensemble()
    state = model.state_dict()
    stored = [value.data_ptr() for value in state.values()]
    assert len(stored) == len(set(stored))
    assert not any("slope" in name or "intercept" in name for name in state), "these are options"
    first, second, _ = (head[1].weight for head in model.head.heads)
    assert not torch.equal(first, second)


def test_a_member_takes_a_models_state_whole():
    model, alone = ensemble(), build("timm", outputs=3, **OPTIONS).eval()
    model.load_member(1, alone.state_dict())
    with torch.no_grad():
        expected = alone(images()) * 1.1 - 0.3
        assert torch.allclose(model.member_logits(model.encode(images()))[1], expected, atol=1e-6)
    with pytest.raises(RuntimeError):
        model.load_member(0, build("timm", outputs=4, **OPTIONS).state_dict())


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"members": ()}, "at least one member"),
        ({"architecture": "unet"}, "is of classifiers"),
        ({"architecture": "ensemble"}, "is of classifiers"),
        ({"architecture": "perceptron"}, "no model 'perceptron'"),
        ({"members": ({"colour": 1},)}, "does not take"),
    ],
)
def test_what_is_no_ensemble_is_refused(options, fault):
    small = {} if options.get("architecture") in ("unet", "ensemble") else {"options": OPTIONS}
    with pytest.raises(RecipeError, match=fault):
        build("ensemble", outputs=3, **({"members": ({},)} | small | options))
