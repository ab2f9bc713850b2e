"""What a study will take: films, steps, a measured step, hours and disk, before anything is trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hilum.datasets.manifest import Manifest
from hilum.learning.building import build_model
from hilum.learning.material import manifest_of, parted
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.recipe import Phase, Recipe
from hilum.learning.recipe_losses import Gan, Joint, SetPrediction, Yolo
from hilum.learning.tasks import Pretrain
from hilum.models.contract import Detector, Encoder, Generative
from hilum.models.ssgan_vit import SsganVit
from hilum.studies.jobs import Job, by_arm
from hilum.studies.machine import device_of

STEPS = 3
"""Steps that are timed, after one to warm up."""

HALF = 0.5
"""A bundle's size over that of its weights as float32."""


@dataclass(frozen=True)
class Cost:
    """Of one arm.

    Attributes
    ----------
    runs: folds. films: all that are at hand. train, held_out: of them in the first fold. missing: films that the tables
        name and the folder lacks.
    epochs: at most, over all phases. step: measured milliseconds a film. seconds: of training steps in all its runs, at
        most; validation after each epoch is not in them.
    megabytes: of checkpoints and bundles, and of the first run's forms for small devices.
    """

    arm: str
    runs: int
    films: int
    train: int
    held_out: int
    missing: int
    epochs: int
    step: float
    seconds: float
    megabytes: float


def estimate(jobs: Sequence[Job], device: str = "cpu") -> list[Cost]:
    """Per arm; a few training steps of each are run on random pixels to measure them, on the device that would train."""
    manifests: dict[str, Manifest] = {}
    where = device_of(device)
    return [_of_arm(arm, own, manifests, where) for arm, own in by_arm(jobs).items()]


def with_missing(costs: Sequence[Cost]) -> float:
    """Hours of training steps if no film were missing: of as many more films as there are."""
    return sum(each.seconds * (each.films + each.missing) / each.films for each in costs) / 3600


def store_megabytes(jobs: Sequence[Job], missing: bool = False) -> float:
    """Of the prepared films, which the folds of all arms with one preparation share; with those that are missing too."""
    sizes = {}
    for job in jobs:
        steps = job.recipe.preparation
        whole = manifest_of(job.recipe.data)
        films = len(whole) + whole.missing.height * missing
        sizes[steps.stored_digest] = films * steps.size[0] * steps.size[1] * steps.bits / 8 / 1e6
    return sum(sizes.values())


def rows(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """For a table."""
    return [
        {
            "arm": cost.arm,
            "runs": cost.runs,
            "films to train on": cost.train,
            "held out": cost.held_out,
            "missing": cost.missing,
            "epochs at most": cost.epochs,
            "ms a film": f"{cost.step:.1f}",
            "hours at most": f"{cost.seconds / 3600:.2f}",
            "MB": f"{cost.megabytes:.0f}",
        }
        for cost in costs
    ]


def _of_arm(arm: str, jobs: list[Job], manifests: dict[str, Manifest], device: str) -> Cost:
    recipe = jobs[0].recipe
    key = recipe.data.model_dump_json()
    if key not in manifests:
        manifests[key] = manifest_of(recipe.data)
    manifest = manifests[key]
    counts = parted(recipe.data, manifest).counts
    train = counts["train"]
    model = build_model(
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"pretrained": None})})
    )
    steps = [(phase, _milliseconds(model, recipe, phase, device)) for phase in recipe.phases]
    seconds = sum(phase.epochs * train * ms / 1000 for phase, ms in steps) * len(jobs)
    weights = sum(p.numel() for p in model.parameters()) * 4 / 1e6
    # Two checkpoints a phase, each of weights and two moments of Adam, and a bundle at 16 bit.
    megabytes = len(jobs) * weights * (2 * 3 * len(recipe.phases) + HALF)
    # Of the first run a copy of the bundle with ONNX at 32 bit and INT8.
    megabytes += weights * (HALF + 1 + HALF / 2)
    epochs = sum(phase.epochs for phase in recipe.phases)
    slowest = max(ms for _, ms in steps)
    return Cost(
        arm,
        len(jobs),
        len(manifest),
        train,
        counts.get("test", 0),
        manifest.missing.height,
        epochs,
        slowest,
        seconds,
        megabytes,
    )


def _milliseconds(model: torch.nn.Module, recipe: Recipe, phase: Phase, device: str) -> float:
    """A training step's time a film: forward, loss, backward and optimiser, on random pixels."""
    where = torch.device(device)
    size = (phase.size, phase.size) if phase.size else recipe.preparation.size
    outputs = len(recipe.data.labels) + len(recipe.data.auxiliary)
    images = torch.randn(phase.batch, recipe.preparation.channels, *size, device=where)
    targets = _targets(recipe, phase.batch, outputs, size).to(where)
    model.to(where, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if phase.train == "head":
        for parameter in model.encoder_parameters():  # type: ignore[operator]
            parameter.requires_grad_(False)
    optimiser = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
    times = []
    for _ in range(1 + STEPS):
        started = time.perf_counter()
        with torch.autocast(where.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            loss = _loss(model, recipe, phase, images.contiguous(memory_format=torch.channels_last), targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return 1000 * sorted(times[1:])[STEPS // 2] / phase.batch


def _targets(recipe: Recipe, films: int, outputs: int, size: tuple[int, int]) -> torch.Tensor:
    """Something to be held to: classes, a mask, labels, or a box a film."""
    if recipe.task == "multiclass":
        return torch.randint(outputs, (films,))
    if recipe.task == "detect":
        height, width = size
        box = torch.tensor((width / 2, height / 2, width / 3, height / 3))
        return torch.column_stack((torch.arange(films), torch.zeros(films), box.expand(films, 4)))
    shape = (1, *size) if recipe.task == "segment" else (outputs,)
    return torch.randint(2, (films, *shape)).float()


def _loss(
    model: torch.nn.Module, recipe: Recipe, phase: Phase, images: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    loss = recipe.loss
    if isinstance(loss, Yolo | SetPrediction):
        assert isinstance(model, Detector)
        return loss(model, model.taught(images, targets), targets)
    share = torch.rand(len(images), device=images.device)
    if isinstance(loss, Gan):
        assert isinstance(model, Generative)
        synthetic = model.generator(torch.randn(len(images), model.latent, device=images.device), targets)
        against = loss.of_discriminator(model, images, synthetic.detach(), targets, share)
        return against + loss.of_generator(model, synthetic, targets)
    if isinstance(loss, PretextLoss):
        assert isinstance(model, Encoder)
        task = Pretrain(model, recipe.preparation, phase, loss, recipe.augmentation, recipe.seed)
        chance = torch.Generator().manual_seed(0)
        return task.whole(task.to(images.device).each_loss(model, images[:, 0].sigmoid(), chance))
    if isinstance(loss, Joint) and isinstance(model, SsganVit) and model.discriminator is not None:
        films = model.films(images)
        other = films.flip(0) if loss.adversarial else None  # films of the same size as synthetic ones
        beside = loss.of_discriminator(model.discriminator, films, targets, other, share)
        return loss(model(images).float(), targets) + beside
    return loss(model(images).float(), targets)
