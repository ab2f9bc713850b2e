"""Pretraining: an encoder learns from films without labels, by any of the pretexts at once."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.datasets.batches import Batches
from hilum.errors import RecipeError
from hilum.evaluation.embedding_probe import probe_embeddings, spread
from hilum.learning import group
from hilum.learning.embeddings import COLLAPSED, embeddings, probed
from hilum.learning.material import Material
from hilum.learning.pretexts import PRETEXTS, Encoded, Surroundings, Views, codebook
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.tasks.task import Task
from hilum.models import Encoder

logger = logging.getLogger(__name__)


class Pretrain(Task):
    """Targets (n, labels) float, NaN where unknown, which the probes see and no loss does; (n, 0) where none are given.

    One pass of the encoder serves all pretexts of a step: what they show it lies side by side in one batch. Score: the
    linear probe's mean AUC on validation films, or minus the pretexts' loss there where there are no labels.
    """

    def __init__(self, model: Any, preparation: Any, phase: Any, loss: PretextLoss, *rest: Any) -> None:
        super().__init__(model, preparation, phase, loss, *rest)
        size = preparation.size if phase.size is None else (phase.size, phase.size)
        around = Surroundings(model.features, _map_size(model, size), size)
        self.pretexts = nn.ModuleDict({name: PRETEXTS[name](loss, around) for name in loss.weights})
        self.pairs = any(getattr(pretext, "pairs", False) for pretext in self.pretexts.values())
        self.last_score = -math.inf
        self._told: set[str] = set()
        self._losses: list[tuple[int, float]] = []
        self._probe_films: Batches | None = None

    def ready(self, material: Material, folder: Path) -> None:
        train = material.train.only(self.phase.where)
        if self.pairs and len(train.rows) < 2:
            raise RecipeError("contrast and triplet compare films, and there is one to train on")
        known = probed(material.train)  # of all phases alike, so that their scores compare
        if len(known.rows):
            size = 2 * self.phase.batch
            self._probe_films = Batches(material.store, known.rows, known.truth, size, shuffle=False)
        if "patches" in self.pretexts:
            words: Any = self.pretexts["patches"]
            count = max(1, codebook.MOST * self.loss.patch**2 // math.prod(self.preparation.size))
            rows = material.train.rows[:: max(1, len(material.train.rows) // count)]
            stored = torch.from_numpy(np.asarray(material.store.images[rows]))
            films, _ = self.opened((stored, stored))
            with group.first_before_others():
                found = codebook.fitted(films, self.loss.patch, self.loss.vocabulary, self.seed, folder)
            words.codebook.copy_(found)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, _targets = self.opened(batch)
        each = self.each_loss(_encoder(self.model), images, self._own_chance)
        total = self.whole(each)
        self._note_losses("training", total, each, len(images))
        return total

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._own_chance = self._generator
        if not group.is_first():  # other views of other films
            chance = self.seed * 100_003 + self.current_epoch + group.rank() * 10_000_019
            self._own_chance = torch.Generator().manual_seed(chance)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        stored, targets = batch
        encoder = _encoder(self.best_model)
        number = index * group.size() + group.rank()  # of all processes' batches
        with torch.autocast(stored.device.type, enabled=False), group.apart():
            films = self.preparation.tensor(stored).contiguous(memory_format=torch.channels_last)
            self._seen.append((encoder(films).float().cpu(), targets.cpu()))
            images, _ = self.opened(batch)
            if self.pairs and len(images) < 2:
                self._tell_once("the last validation batch is one film, and left out of the pretexts' loss")
                return
            # The same chance in every epoch, so that epochs compare.
            chance = torch.Generator().manual_seed(self.seed * 100_003 + number)
            each = self.each_loss(encoder, images, chance)
        total = self.whole(each)
        self._note_losses("validation", total, each, len(images))
        self._losses.append((len(images), float(total)))

    def each_loss(self, encoder: Encoder, images: Tensor, chance: torch.Generator) -> dict[str, Tensor]:
        """Each pretext's loss on films (n, h, w) in [0, 1], by one pass of the encoder over all that they show it."""
        views = Views(images, self.augmentation, chance)
        questions = {name: _pretext(part).ask(views) for name, part in self.pretexts.items()}
        shown = {name: images for each in questions.values() for name, images in each.images.items()}
        features = encoder.feature_map(self._to_input(torch.cat(list(shown.values()))))
        embedding = encoder.pool(features)
        parts = zip(shown, features.chunk(len(shown)), embedding.chunk(len(shown)), strict=True)
        seen = {name: Encoded(map_, vector) for name, map_, vector in parts}
        answers = {name: _pretext(part).answer(seen) for name, part in self.pretexts.items()}
        with torch.autocast(images.device.type, enabled=False):  # temperatures and squares want float32
            return {
                name: _pretext(part).loss(answers[name].float(), questions[name].answer)
                for name, part in self.pretexts.items()
            }

    def whole(self, each: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum. RecipeError where a pretext's loss is not a number, which no later step would mend."""
        total = torch.stack([self.loss.weights[name] * value for name, value in each.items()]).sum()
        if not bool(torch.isfinite(total)):
            faulty = [name for name, value in each.items() if not bool(torch.isfinite(value))]
            raise RecipeError(
                f"phase '{self.phase.name}', epoch {self.current_epoch + 1}: the loss of {', '.join(faulty)} is no finite"
                " number, and the run stops",
                mend="Lower the phase's rate, raise its warmup, or use precision: float32",
            )
        return total

    def on_validation_epoch_end(self) -> None:
        embedding, truth = (each.double().numpy() for each in self.all_of(self._seen))
        self._watch(spread(embedding))
        losses = group.interleaved(self._losses)
        films = sum(count for count, _ in losses)
        loss = sum(count * value for count, value in losses) / films if films else math.nan
        self._losses.clear()
        if self._probe_films is None:
            self.last_score = -loss
        elif is_probed(self.current_epoch, self.phase.epochs, self.loss.probe_every):
            self.last_score = self._probe(embedding, truth)
        else:  # said, for Lightning would repeat what it knew last
            self.log_dict({"probe/knn": math.nan, "probe/linear": math.nan})
        self.log("validation/score", self.last_score, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["last_score"] = self.last_score

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.last_score = float(checkpoint["last_score"])

    def taught_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.model.parameters()
        yield from self.pretexts.parameters()

    def augment(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return Views(images, self.augmentation, generator).first, targets

    def score(self, logits: Tensor, targets: Tensor) -> float:
        return self._probe(logits.double().numpy(), targets.double().numpy())

    def _probe(self, embedding: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
        assert self._probe_films is not None
        encoder = _encoder(self.best_model)
        known = embeddings(encoder, self._probe_films, self.preparation, self.device)
        labels = np.asarray(self._probe_films.targets)
        knn, linear = probe_embeddings(known, labels, embedding, truth, self.loss.neighbours).macro
        self.log("probe/knn", knn)
        self.log("probe/linear", linear)
        return linear

    def _watch(self, value: float) -> None:
        self.log("embedding/spread", value)
        if value < COLLAPSED:
            logger.warning(
                "phase '%s', epoch %d: the embedding has collapsed, nearly the same for every film (spread %.2g); it can"
                " tell no films apart. Lower the rate, or give `contrast` or another pretext more weight",
                self.phase.name, self.current_epoch + 1, value,
            )  # fmt: skip

    def _note_losses(self, side: str, total: Tensor, each: Mapping[str, Tensor], films: int) -> None:
        """The whole, and where it is of several, each."""
        for name, value in {"loss": total, **(each if len(each) > 1 else {})}.items():
            self.log(
                f"{side}/{name}",
                value.detach(),
                on_step=False,
                on_epoch=True,
                batch_size=films,
                sync_dist=True,
            )

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            logger.info(text)


def is_probed(epoch: int, epochs: int, every: int) -> bool:
    """Whether an epoch, counted from 0, ends with a probe: the first, each `every` from there on, and the last."""
    return epoch % every == 0 or epoch == epochs - 1


@torch.no_grad()
def _map_size(model: Encoder, size: tuple[int, int]) -> tuple[int, int]:
    """(h', w') of the encoder's map of films of this size."""
    training = model.training
    features = model.eval().feature_map(torch.zeros(1, model.channels, *size))
    model.train(training)
    return features.shape[-2], features.shape[-1]


def _encoder(model: Any) -> Encoder:
    assert isinstance(model, Encoder)  # `build_model` saw to it
    return model


def _pretext(part: nn.Module) -> Any:
    return part
