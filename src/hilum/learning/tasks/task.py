"""What all tasks share: one phase of training with augmentation, an averaged model, rates and a validation score."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hilum.datasets.augment import Augmentation, Change
from hilum.images.preparation import Preparation
from hilum.learning import group
from hilum.learning.feed import Feed
from hilum.learning.material import Material
from hilum.learning.recipe import Phase
from hilum.models import Classifier, Encoder, Model, Segmenter
from hilum.models.contract import Detector

AUGMENTATION = "augmentation"
"""What the profile (`learning.profile`) calls the opening and augmenting of a batch."""


class Task(L.LightningModule):
    """One phase. Batches are (stored images uint8 or uint16 (n, h, w), targets), on the device.

    Random numbers are drawn afresh from (seed, epoch) at each epoch's start, so that a run that was killed and resumed
    draws what it would have drawn. Of several processes (`learning.group`) each draws a batch's augmentation as a whole and
    takes its own films' part; dropout differs. `kept_outputs`: how many of the outputs the score is of; 0: all.
    """

    kept_outputs = 0
    scores_training = False
    """Whether training batches are scored too, as the model was while it learnt: augmented, with dropout."""

    def __init__(
        self,
        model: Model,
        preparation: Preparation,
        phase: Phase,
        loss: Any,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.preparation, self.phase, self.loss = preparation, phase, loss
        self.augmentation, self.seed = augmentation, seed
        self.average = _averaged(model, phase.average)
        self.plateau = Plateau(phase)
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._learnt: list[tuple[Tensor, Tensor]] = []

    def draw(self, images: Tensor, generator: torch.Generator) -> Change:
        """A chance augmentation for each image of a batch (n, h, w)."""
        size = images.shape[-2], images.shape[-1]
        change = self.augmentation.draw(len(images) * group.size(), size, generator)
        return change if group.size() == 1 else change.of(group.part(len(images)))

    def shrunk(self, images: Tensor, targets: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Float images (n, h, w) at `size` x `size` pixels, and the targets that go with them."""
        return F.interpolate(images[:, None], (size, size), mode="area")[:, 0], targets

    @abstractmethod
    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented float images (n, h, w) in [0, 1] and targets."""

    @abstractmethod
    def score(self, logits: Tensor, targets: Tensor) -> float:
        """The validation score of a whole epoch; higher is better."""

    def known(self, targets: Tensor) -> Tensor:
        """Over how many things of these targets the loss is a mean: films, or labels that are known."""
        return targets.new_tensor(len(targets), dtype=torch.float32)

    @property
    def best_model(self) -> nn.Module:
        """What is validated and kept: the average where there is one, else the model."""
        return self.average.module if self.average is not None else self.model

    def forward(self, images: Tensor) -> Tensor:
        return self.best_model(images)

    def setup(self, stage: str) -> None:
        for parameter in _encoder_parameters(self.model):  # both ways: the phase before may have frozen them
            parameter.requires_grad_(self.phase.train == "all")

    def on_train_epoch_start(self) -> None:
        chance = self.seed * 100_003 + self.current_epoch
        torch.manual_seed(chance + group.rank() * 10_000_019)
        self._learnt.clear()  # of an epoch that was cut off
        self._generator = torch.Generator().manual_seed(chance)
        feed = self.trainer.train_dataloader
        if isinstance(feed, Feed):
            feed.set_epoch(self.current_epoch)
        self._set_modes()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        profiler: Any = self.trainer.profiler  # type: ignore[attr-defined]
        with profiler.profile(AUGMENTATION):
            images, targets = self.opened(batch)
            images, targets = self.augment(images, targets, self._generator)
            images = self._to_input(images)
        outputs = self.taught(images, targets)
        loss = self.held(outputs, targets)
        if group.size() > 1:
            loss = loss * group.balance(self.known(targets))
        if self.scores_training:  # kept on the device: nothing waits for them
            self._learnt.append((self.logits_of(outputs).detach(), targets))
        self.log("training/loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def opened(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Stored images as floats (n, h, w) in [0, 1] at the phase's size, and the targets that go with them."""
        stored, targets = batch
        images = stored.float() / (255 if self.preparation.bits == 8 else 65535)
        return (images, targets) if self.phase.size is None else self.shrunk(images, targets, self.phase.size)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        if self.average is not None and (number + 1) % self.phase.accumulate == 0:
            self.average.update_parameters(self.model)

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        stored, targets = batch
        with torch.autocast(stored.device.type, enabled=False):  # what is chosen here is used in float32
            images = self.preparation.tensor(stored).contiguous(memory_format=torch.channels_last)
            logits = self.outputs(self.best_model, images)
        self.log("validation/loss", self.held(logits, targets), batch_size=len(stored), sync_dist=True)
        self.note(logits, targets)

    def taught(self, images: Tensor, targets: Tensor) -> Any:
        """What `held` takes of a training batch, float32."""
        return self.outputs(self.model, images)

    def outputs(self, model: nn.Module, images: Tensor) -> Any:
        """What `held` and `note` take, float32."""
        logits: Tensor = model(images)
        return logits.float()

    def held(self, outputs: Any, targets: Tensor) -> Tensor:
        """The loss of a batch, a mean over its films."""
        return self.loss(outputs, targets)

    def logits_of(self, outputs: Any) -> Tensor:
        """Of what `taught` gave, what `score` takes."""
        logits: Tensor = outputs
        return logits

    def note(self, outputs: Any, targets: Tensor) -> None:
        """Keep a validation batch for the epoch's score."""
        self._seen.append((outputs.cpu(), targets.cpu()))

    def on_validation_epoch_end(self) -> None:
        self.log("validation/score", self.score(*self.all_of(self._seen)), prog_bar=True)
        if self._learnt:  # validation ends the epoch
            self.log("training/score", self.score(*self.all_of(self._learnt)))

    def all_of(self, noted: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """What was noted batch by batch, of every process, as one pair of tensors on the CPU; the list is emptied."""
        if group.size() > 1:
            noted[:] = [(first.cpu(), second.cpu()) for first, second in noted]
        first, second = (torch.cat(parts).cpu() for parts in zip(*group.interleaved(noted), strict=True))
        noted.clear()
        return first, second

    def on_train_epoch_end(self) -> None:
        """After validation, and before the checkpoints, which callbacks write later in the same hook."""
        if self.phase.schedule == "plateau":
            self.plateau.see(float(self.trainer.callback_metrics[f"validation/{self.phase.monitor}"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plateau"] = self.plateau.state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.plateau.state = checkpoint.get("plateau", self.plateau.state)

    def configure_optimizers(self) -> Any:
        encoder = list(_encoder_parameters(self.model))
        known = {id(p) for p in encoder}
        rest = [p for p in self.taught_parameters() if id(p) not in known]
        groups = decay_groups(rest, self.phase.rate, self.phase.weight_decay)
        whole = self.phase.train == "all"
        if whole:
            groups += decay_groups(
                encoder, self.phase.encoder_rate or self.phase.rate, self.phase.weight_decay
            )
        kind = torch.optim.AdamW if self.phase.optimiser == "adamw" else torch.optim.Adam
        optimiser = kind(groups, betas=self.phase.betas)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_at(step, total, self.phase) * self.plateau.share
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def taught_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter that a phase may train."""
        return self.model.parameters()

    def ready(self, material: Material, folder: Path) -> None:
        """What a task takes from training films before its first step, and may keep in the run's folder."""

    def _to_input(self, images: Tensor) -> Tensor:
        return self.preparation.normalised(images).contiguous(memory_format=torch.channels_last)

    def _set_modes(self) -> None:
        self.model.train()
        if self.average is not None:
            self.average.eval()
        if self.phase.train == "head":  # a frozen encoder keeps its batch-norm statistics too
            self.model.eval()
            for part in ("head", "decoder", "detect_layer", "standard"):
                if hasattr(self.model, part):
                    getattr(self.model, part).train()


def rate_at(step: int, total: int, phase: Phase) -> float:
    """The rate at `step` of `total` as a share of the phase's: linear warm-up, then by its schedule a cosine down to
    `phase.floor`, or 1 (what a plateau takes off comes on top).
    """
    warm = max(1, round(phase.warmup * total))
    if step < warm:
        return (step + 1) / warm
    if phase.schedule != "cosine":
        return 1.0
    along = min(1.0, (step - warm) / max(1, total - warm))
    return phase.floor + (1 - phase.floor) * 0.5 * (1 + math.cos(math.pi * along))


class Plateau:
    """The share of the rate that is left after epochs that were not better (`schedule: plateau`)."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.share, self.best, self.waited = 1.0, -math.inf, 0

    def see(self, value: float) -> None:
        """One more epoch's validation score or loss."""
        value = value if self.phase.monitor == "score" else -value
        if value > self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.phase.plateau_patience:
            self.share, self.waited = max(self.phase.floor, self.share * self.phase.plateau_factor), 0

    @property
    def state(self) -> list[float]:
        """For a checkpoint, which holds no infinity."""
        return [self.share, self.waited] + ([self.best] if math.isfinite(self.best) else [])

    @state.setter
    def state(self, state: list[float]) -> None:
        self.share, self.waited = float(state[0]), int(state[1])
        self.best = float(state[2]) if len(state) > 2 else -math.inf


def _averaged(model: Model, decay: float) -> AveragedModel | None:
    """An exponential moving average over parameters and batch-norm statistics."""
    if not decay:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    return average.requires_grad_(False)


def _encoder_parameters(model: Model) -> Any:
    return (
        model.encoder_parameters()
        if isinstance(model, Classifier | Segmenter | Detector | Encoder)
        else iter(())
    )


def decay_groups(parameters: list[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """Weights decay; biases and normalisation do not."""
    weights = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return [
        {"params": weights, "lr": rate, "weight_decay": decay},
        {"params": others, "lr": rate, "weight_decay": 0.0},
    ]
