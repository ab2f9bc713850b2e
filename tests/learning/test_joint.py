"""The composite loss of the joined model against its formula written out, and a run that learns by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from hilum.errors import RecipeError
from hilum.learning.building import build_model
from hilum.learning.losses import binary_cross_entropy
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_losses import Joint
from hilum.learning.run import train
from hilum.learning.tasks.join import generator_of
from hilum.models.gan import Discriminator, Gan

OPTIONS = {
    "backbone": None,
    "main": "resnet10t",
    "film": 16,
    "film_width": 4,
    "size": [32, 32],
    "dropout": 0.2,
}


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gan") / "weights.safetensors"
    save_file(Gan(2, size=16, width=4).state_dict(), path)
    return path


def joined(recipe: Callable[..., Recipe], gan: Path, **changes) -> Recipe:
    model = {"name": "ssgan_vit", "options": OPTIONS, "pretrained": [None, str(gan), None]}
    return recipe("multilabel", **{"model": model, "loss": {"kind": "joint"}, **changes})


@pytest.mark.parametrize("form", ["wgan_gp", "sigmoid"])
def test_the_discriminators_part_is_the_formula(form: str):
    torch.manual_seed(1)
    net = Discriminator(2, size=16, width=4).double().eval()
    real, synthetic = torch.rand(2, 3, 1, 16, 16, dtype=torch.float64) * 2 - 1
    targets = torch.tensor([[1.0, 0.0], [torch.nan, 1.0], [0.0, torch.nan]], dtype=torch.float64)
    share = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    loss = Joint(adversarial=0.3, discriminator_labels=0.7, form=form, penalty=5)
    found = loss.of_discriminator(net, real, targets, synthetic, share)
    apart, steep = 0.0, 0.0
    for film in range(3):
        r, s = net(real[film : film + 1])[0].item(), net(synthetic[film : film + 1])[0].item()
        if form == "sigmoid":
            apart += -(np.log(1 / (1 + np.exp(-r))) + np.log(1 - 1 / (1 + np.exp(-s)))) / 2 / 3
        else:
            apart += (s - r) / 3
        x = (share[film] * real[film] + (1 - share[film]) * synthetic[film])[None].requires_grad_()
        slope = torch.autograd.grad(net(x)[0].sum(), x)[0]
        steep += (float(slope.square().sum().sqrt()) - 1) ** 2 / 3
    named = float(binary_cross_entropy(net(real)[1], targets).detach())
    expected = 0.3 * (apart + (5 * steep if form == "wgan_gp" else 0)) + 0.7 * named
    assert float(found.detach()) == pytest.approx(expected)


def test_without_the_other_parts_it_is_the_labels_loss():
    logits, targets = torch.randn(4, 2), torch.randint(2, (4, 2)).float()
    assert torch.equal(Joint()(logits, targets), binary_cross_entropy(logits, targets))
    net = Discriminator(2, size=16, width=4)
    nothing = Joint(adversarial=0, discriminator_labels=0)
    assert (
        float(nothing.of_discriminator(net, torch.zeros(2, 1, 16, 16), targets[:2], None, torch.rand(2))) == 0
    )


def test_a_run_teaches_the_discriminator_and_keeps_no_generator(
    recipe: Callable[..., Recipe], gan: Path, tmp_path: Path
):
    bundle = train(joined(recipe, gan), tmp_path / "joint")
    kept = load_file(bundle / "weights.safetensors")
    assert not [name for name in kept if "generator" in name]
    before = load_file(gan)
    name = "discriminator.realness.weight"
    assert not torch.allclose(kept[name].float(), before[name], atol=1e-4)
    last = tmp_path / "joint" / "phases" / "0-only" / "last.safetensors"
    assert not [key for key in load_file(last) if "generator" in key]
    history = pl.read_csv(tmp_path / "joint" / "history.csv")
    assert history["training_score"].is_between(0, 1).all()


def test_plain_multilabel_training_leaves_what_tells_synthetic_films_alone(
    recipe: Callable[..., Recipe], gan: Path, tmp_path: Path
):
    plain = {"kind": "joint", "adversarial": 0, "discriminator_labels": 0}
    phases = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3, "weight_decay": 0}]
    runs = [
        train(joined(recipe, gan, loss=loss, phases=phases), tmp_path / name)
        for name, loss in (("zero", plain), ("bce", {"kind": "bce"}))
    ]
    zero, bce = (load_file(run / "weights.safetensors") for run in runs)
    assert all(torch.equal(zero[name], bce[name]) for name in bce)
    name = "discriminator.realness.weight"
    torch.testing.assert_close(zero[name].float(), load_file(gan)[name], atol=1e-3, rtol=1e-2)


def test_a_head_learns_how_the_frozen_discriminators_features_vary(
    recipe: Callable[..., Recipe], gan: Path, tmp_path: Path
):
    phases = [{"name": "only", "train": "head", "epochs": 2, "batch": 8, "rate": 2e-3}]
    bundle = train(joined(recipe, gan, loss={"kind": "bce"}, phases=phases), tmp_path / "head")
    kept, before = load_file(bundle / "weights.safetensors"), load_file(gan)
    name = "discriminator.realness.weight"
    torch.testing.assert_close(kept[name].float(), before[name], atol=1e-3, rtol=1e-2)
    assert (kept["standard.norm.running_var"] < 1).all()
    assert int(kept["standard.norm.num_batches_tracked"]) > 0


def test_what_cannot_be_learnt_jointly_is_refused(recipe: Callable[..., Recipe], gan: Path):
    for model, words in (
        ({"name": "timm", "options": {"name": "resnet10t"}}, "no discriminator"),
        ({"name": "ssgan_vit", "options": {**OPTIONS, "findings": 5}}, "names 5 findings"),
        ({"name": "ssgan_vit", "options": OPTIONS}, "no generator"),
    ):
        wrong = joined(recipe, gan, model=model)
        with pytest.raises(RecipeError, match=words):
            generator_of(wrong, build_model(wrong), None)
    with pytest.raises(ValueError, match="does not go with loss 'joint'"):
        recipe("multiclass", loss={"kind": "joint"})
