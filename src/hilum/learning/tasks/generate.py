"""Generation: films from noise and findings, learnt against a discriminator (`suh-ssganvit`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hilum.bundles.generating import as_pixels
from hilum.errors import HilumError
from hilum.evaluation.sliced import sliced_wasserstein
from hilum.images.grey_png import film_grid, grey_png
from hilum.learning.tasks.task import Task, decay_groups, rate_at
from hilum.learning.writing import whole
from hilum.models.contract import Generative

logger = logging.getLogger(__name__)

SHOWN, COLUMNS = 32, 8
PICTURES = 100  # of a phase at most
SEEN = 32  # pixels a side at which synthetic and real films are compared for the score
FLAT = 0.01
"""A generator whose films differ by less than this share of how real films differ, while their findings are the same, has
collapsed. `docs/generate.md` has the figure."""
WAIT = 5  # epochs in a row


class CollapseError(HilumError):
    """A generator and its discriminator can learn nothing more: a loss is no number, or all films are one."""


class Generate(Task):
    """Targets (n, labels) in [0, 1], NaN where unknown: the films' findings, for which the generator makes films too.

    A batch is a step of the discriminator; every `loss.critic_steps`-th is one of the generator beside. A finding that is
    unknown is 0 in what the generator is given, and takes no part in either's loss.

    Score: minus the sliced Wasserstein distance between the validation films and as many synthetic ones of the same
    findings, at 32 pixels a side. Each epoch draws `samples/epoch-0001.png`, of the same noise and findings every time.

    Raises CollapseError where a loss is NaN or infinite, and where the generator has given the same film for any noise for
    five epochs in a row.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.automatic_optimization = False
        self.flat_epochs = 0
        self._shown: Tensor | None = None

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.draw(images, generator).images(images), targets

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # type: ignore[override]
        stored, targets = batch
        if len(stored) < 2:
            raise CollapseError(
                "a batch of one film: batch norm takes away what sets it apart",
                mend="Train on two films or more",
            )
        images = stored.float() / (255 if self.preparation.bits == 8 else 65535)
        images, targets = self.augment(images, targets, self._generator)
        real, conditions = self._to_input(images), known(targets)
        optimisers: Any = self.optimizers()
        schedules: Any = self.lr_schedulers()
        (of_generator, of_discriminator), (slow, fast) = optimisers, schedules
        loss = self._against(real, conditions, targets)
        self._step(of_discriminator, fast, loss, "discriminator")
        self.log("training/loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(stored))
        if (self._batches_before() + index + 1) % self.loss.critic_steps == 0:
            loss = self._for(conditions, targets)
            self._step(of_generator, slow, loss, "generator")
            self.log(
                "training/generator", loss.detach(), on_step=False, on_epoch=True, batch_size=len(stored)
            )
            if self.average is not None:
                self.average.update_parameters(self.model)

    def on_train_batch_end(self, *_: Any) -> None:
        """`training_step` averages, after steps of the generator alone."""

    def on_validation_epoch_start(self) -> None:
        """Only the generator is averaged: a mean of spectral norms is none, and the discriminator is wanted as it is."""
        if self.average is not None:
            averaged, model = _generative(self.average.module), _generative(self.model)
            averaged.discriminator.load_state_dict(model.discriminator.state_dict())

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        stored, targets = batch
        model, conditions = _generative(self.best_model), known(targets)
        if index == 0:
            self._shown = conditions
        chance = torch.Generator().manual_seed(self.seed * 100_003 + index)
        with torch.autocast(stored.device.type, enabled=False):
            real = self.preparation.tensor(stored)
            synthetic = model.generator(self._noise(len(real), chance).to(real), conditions).float()
            loss = self.loss.of_discriminator(model, real, synthetic, targets, None)
        self.log("validation/loss", loss, batch_size=len(stored))
        self.note(_shrunk(synthetic), _shrunk(real))

    def score(self, logits: Tensor, targets: Tensor) -> float:
        return -sliced_wasserstein(logits.flatten(1).numpy(), targets.flatten(1).numpy())

    def on_validation_epoch_end(self) -> None:
        spread = float(torch.cat([real for _, real in self._seen]).std(0).mean())
        super().on_validation_epoch_end()
        self._look_for_collapse(spread)
        if self.current_epoch % (self.phase.epochs // PICTURES + 1) == 0 or self._is_last:
            self._draw()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["flat_epochs"] = self.flat_epochs

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.flat_epochs = int(checkpoint.get("flat_epochs", 0))

    def configure_optimizers(self) -> Any:
        model, phase = _generative(self.model), self.phase
        kind = torch.optim.AdamW if phase.optimiser == "adamw" else torch.optim.Adam
        networks = (model.generator, phase.rate), (model.discriminator, phase.encoder_rate or phase.rate)
        optimisers = [
            kind(decay_groups(list(network.parameters()), rate, phase.weight_decay), betas=phase.betas)
            for network, rate in networks
        ]
        batches = int(self.trainer.estimated_stepping_batches)
        steps = batches // self.loss.critic_steps, batches
        return optimisers, [
            torch.optim.lr_scheduler.LambdaLR(each, self._rates(total))
            for each, total in zip(optimisers, steps, strict=True)
        ]

    def _rates(self, total: int) -> Callable[[int], float]:
        """The share of the phase's rate at each of `total` steps."""
        return lambda step: rate_at(step, total, self.phase) * self.plateau.share

    def _against(self, real: Tensor, conditions: Tensor, targets: Tensor) -> Tensor:
        """The discriminator's loss beside films that the generator makes for the same findings."""
        model = _generative(self.model)
        with torch.no_grad():
            synthetic = model.generator(self._noise(len(real), self._generator).to(real), conditions)
        share = torch.rand(len(real), generator=self._generator).to(real)
        loss: Tensor = self.loss.of_discriminator(model, real, synthetic, targets, share)
        return loss

    def _for(self, conditions: Tensor, targets: Tensor) -> Tensor:
        """The generator's loss; the discriminator is passed through and learns nothing."""
        model = _generative(self.model)
        model.discriminator.requires_grad_(False)
        noise = self._noise(len(conditions), self._generator).to(conditions)
        loss: Tensor = self.loss.of_generator(model, model.generator(noise, conditions), targets)
        return loss

    def _step(self, optimiser: Any, schedule: Any, loss: Tensor, network: str) -> None:
        if not bool(torch.isfinite(loss)):
            raise CollapseError(
                f"the {network}'s loss, penalty and all, is {float(loss.detach())} in epoch {self.current_epoch + 1}",
                mend="Lower phases.N.rate and phases.N.encoder_rate, or loss.penalty; the last whole epoch is kept",
            )
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        schedule.step()
        _generative(self.model).discriminator.requires_grad_(True)

    def _batches_before(self) -> int:
        return self.current_epoch * int(self.trainer.num_training_batches)

    def _noise(self, films: int, chance: torch.Generator) -> Tensor:
        return torch.randn(films, _generative(self.model).latent, generator=chance)

    @property
    def _is_last(self) -> bool:
        return self.current_epoch + 1 == self.phase.epochs

    def _look_for_collapse(self, spread: float) -> None:
        """How the films of one set of findings differ by their noise, as it is now, not averaged."""
        found = diversity(_generative(self.model), self._conditions()[:COLUMNS], self.seed)
        self.log("validation/diversity", found / spread if spread else 0.0)
        self.flat_epochs = self.flat_epochs + 1 if found < FLAT * spread else 0
        if self.flat_epochs:
            logger.warning(
                "the generator gives nearly the same film whatever the noise (films differ by %.2g of what real ones do),"
                " %d epochs in a row",
                found / spread, self.flat_epochs,
            )  # fmt: skip
        if self.flat_epochs >= WAIT:
            raise CollapseError(
                f"the generator has collapsed: for {WAIT} epochs it has given nearly the same film whatever the noise",
                mend="Lower phases.N.rate, raise loss.critic_steps, or take loss.adversarial wgan_gp",
            )

    def _conditions(self) -> Tensor:
        """The findings of the first validation films, over again where there are few: (SHOWN, labels)."""
        assert self._shown is not None  # validation has run
        return self._shown.repeat(-(-SHOWN // len(self._shown)), 1)[:SHOWN]

    def _draw(self) -> None:
        conditions = self._conditions()
        noise = self._noise(SHOWN, torch.Generator().manual_seed(self.seed)).to(conditions)
        with torch.no_grad(), torch.autocast(conditions.device.type, enabled=False):
            films = _generative(self.best_model).generator(noise, conditions)
        path = Path(self.trainer.default_root_dir) / "samples" / f"epoch-{self.current_epoch + 1:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as work:
            work.write_bytes(grey_png(film_grid(as_pixels(films), COLUMNS)))


def known(targets: Tensor) -> Tensor:
    """What a generator is given: 1 where a finding is there, 0 where it is not or unknown."""
    return (targets > 0.5).float()


@torch.no_grad()
def diversity(model: Generative, conditions: Tensor, seed: int, draws: int = 16) -> float:
    """The standard deviation of a pixel over `draws` of noise, in [-1, 1], the mean over pixels and `conditions`.

    The model in eval mode: batch norm would not tell a film alone from one among others.
    """
    was = model.training
    model.eval()
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(draws, model.latent, generator=chance).to(conditions)
    found = [
        float(_shrunk(model.generator(noise, condition.expand(draws, -1)).float()).std(0).mean())
        for condition in conditions
    ]
    model.train(was)
    return float(np.mean(found))


def _generative(model: nn.Module) -> Generative:
    assert isinstance(model, Generative)  # what `build_model` has refused otherwise
    return model


def _shrunk(films: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(films, min(SEEN, films.shape[-1]))
