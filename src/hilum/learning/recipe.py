"""The recipe: a typed YAML file that says everything a training run does, and nothing else.

Paths in a recipe may hold `${NAME}` or `${NAME:-fallback}` from the environment. `hilum train RECIPE key=value ...`
changes single values by their dotted path: `seed=1`, `phases.0.epochs=5`, `model.dropout=0.5`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from hilum.bundles.info import Applies
from hilum.datasets.augment import Augmentation
from hilum.errors import EvaluationError
from hilum.evaluation.thresholds import choose_thresholds
from hilum.findings import has_side
from hilum.images.preparation import Preparation
from hilum.learning.pretexts.options import PretextLoss
from hilum.learning.recipe_data import Data, Section
from hilum.learning.recipe_losses import DETECTION, WEIGHTS, AnyLoss, BinaryCrossEntropy, Joint

Decay = Annotated[float, Field(ge=0, lt=1)]


class ModelChoice(Section):
    """A registered model. `options` go to it; `pretrained`: None, `imagenet`, or the path of a .safetensors file; a model of
    two backbones takes `imagenet` for both, or one of these for each.
    """

    name: str = "timm"
    pretrained: str | tuple[str | None, ...] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Phase(Section):
    """A stretch of training with one set of rates.

    `train`: `all`, or `head` with the encoder frozen (its batch-norm statistics too). `rate`: of the head (or decoder);
    `encoder_rate`: of the encoder. Both warm up over `warmup` (a share of all steps); then, by `schedule`, they fall by a
    cosine to `floor` times themselves, stay (`constant`), or are multiplied by `plateau_factor`, down to `floor` times
    themselves, each time `plateau_patience` epochs have not been better (`plateau`).
    `monitor`: what better means, a higher validation `score` (mean AUC or Dice; of an encoder that of its linear probe) or a
    lower validation `loss`; the best epoch is kept by it. `patience`: epochs without a better one before the phase ends;
    None: never.
    `sampler`: `none` takes every film once an epoch; `balanced` draws as many, with replacement, so that classes (or
    findings, by a film's rarest one) come equally often; `repeats` draws as many, each film as often as the manifest's
    column of that name says of it beside the others.
    `size`: pixels a side that films are shrunk to on the device, to train fast first; None: as prepared. `where`: a
    condition in SQL on the manifest's columns for the training films of this phase alone.
    `multi_scale`: share of the size by which each batch of a detector is made larger or smaller at most, drawn anew, in
    steps of the model's stride (0.5 as YOLOv5 publishes it); 0: none.
    `average`: decay of the exponential moving average of the weights that is validated and kept; 0: none.
    `accumulate`: in how many parts a batch is taken, one after another, before the one step that it comes to: as many films
    learn together as `batch` says, in so many times less memory (batch norm and `contrast` look at one part at a time).
    `checkpointing`: keep only what lies between the backbone's stages and compute the rest again on the way back: less
    memory for more time, for large inputs.
    `betas`: decays of the optimiser's two averages (Kingma 2015). Where the task is to generate, `rate` is of the
    generator and `encoder_rate` of the discriminator, and `average` is of the generator.
    The best weights of a phase begin the next.
    """

    name: str
    train: Literal["all", "head"] = "all"
    epochs: int = Field(ge=1)
    size: int | None = Field(None, ge=32)
    where: str | None = None
    batch: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    checkpointing: bool = False
    rate: float = Field(1e-3, gt=0)
    encoder_rate: float | None = Field(None, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    floor: float = Field(0.0, ge=0, le=1)
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    plateau_factor: float = Field(0.1, gt=0, lt=1)
    plateau_patience: int = Field(3, ge=1)
    weight_decay: float = Field(0.05, ge=0)
    optimiser: Literal["adamw", "adam"] = "adamw"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    monitor: Literal["score", "loss"] = "score"
    patience: int | None = Field(None, ge=1)
    sampler: Literal["none", "balanced", "repeats"] = "none"
    average: float = Field(0.0, ge=0, lt=1)
    multi_scale: float = Field(0.0, ge=0, lt=1)
    mixup: float = Field(0.0, ge=0, description="alpha of mixup's beta distribution (Zhang 2018); 0: none")


class Choices(Section):
    """What is chosen on validation data once training has ended."""

    threshold: str = "youden"
    calibration: Literal["none", "temperature", "platt"] = "platt"

    @field_validator("threshold")
    @classmethod
    def _is_a_rule(cls, rule: str) -> str:
        """Found out now, not when training has ended."""
        try:
            choose_thresholds([[0.0], [1.0]], [[0.0], [1.0]], rule)
        except EvaluationError as error:
            raise ValueError(str(error)) from error
        return rule


LATER = ("multi_scale", "betas", "accumulate", "checkpointing")
"""Fields of a phase that came after the first recipes; one that asks for nothing is no part of a digest."""

PLACES: Any = {"data": {"root": True, "store": True, "workers": True}}
"""Fields of a recipe that say where things lie on one machine."""


class Result(Section):
    """What the bundle says of itself. `{...}` in `licence` and `limits` is not expanded."""

    version: str = "1"
    title: str
    licence: str
    limits: tuple[str, ...] = ()
    applies: Applies = Applies()


class Recipe(Section):
    """A whole training run.

    `precision` is that of the convolutions and matrix products while training; weights, losses, averages and validation
    scores are float32 in either case. `bfloat16` halves the time on processors and GPUs that have it.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    task: Literal["multilabel", "multiclass", "segment", "detect", "generate", "pretrain"]
    data: Data
    preparation: Preparation
    model: ModelChoice = ModelChoice()
    loss: AnyLoss = BinaryCrossEntropy()
    augmentation: Augmentation = Augmentation()
    phases: tuple[Phase, ...] = Field(min_length=1)
    choices: Choices = Choices()
    bundle: Result
    seed: int = 0
    deterministic: bool = True
    precision: Literal["float32", "bfloat16"] = "float32"

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        if (self.task == "multiclass") != (self.loss.kind == "cross_entropy"):
            raise ValueError(f"task {self.task!r} does not go with loss {self.loss.kind!r}")
        if (self.task == "detect") != (self.loss.kind in DETECTION):
            raise ValueError(f"task {self.task!r} does not go with loss {self.loss.kind!r}")
        if isinstance(self.loss, Joint) and self.task != "multilabel":
            raise ValueError(f"task {self.task!r} does not go with loss 'joint'")
        if isinstance(self.loss, Joint) and self.data.auxiliary:
            raise ValueError("data.auxiliary does not go with loss 'joint'")
        if (self.task == "generate") != (self.loss.kind == "gan"):
            raise ValueError(f"task {self.task!r} does not go with loss {self.loss.kind!r}")
        if (self.task == "pretrain") != (self.loss.kind == "pretext"):
            raise ValueError(f"task {self.task!r} does not go with loss {self.loss.kind!r}")
        if self.preparation.by_lungs is not None and self.task == "segment":
            step = "focus" if self.preparation.focus is not None else "masking"
            raise ValueError(
                f"preparation.{step} goes with tasks that look inside the lungs: a segmentation finds them on the whole film"
            )
        if self.augmentation.mosaic and self.task != "detect":
            raise ValueError("augmentation.mosaic goes with task 'detect' only")
        sided = [label for label in self.data.labels if has_side(label)]
        if self.augmentation.flip and sided:
            raise ValueError(f"augmentation.flip would turn {sided[0]!r} into the other side: set it to 0")
        if self.task == "segment" and self.data.labels:
            raise ValueError("a segmentation learns the manifest's masks: `data.labels` must be empty")
        if self.task not in ("segment", "pretrain") and not self.data.labels:
            raise ValueError("`data.labels` must name what to learn")
        if (self.data.teacher or self.data.auxiliary) and self.task != "multilabel":
            raise ValueError("a teacher and auxiliary labels go with task 'multilabel' only")
        if len({phase.name for phase in self.phases}) != len(self.phases):
            raise ValueError("two phases have the same name")
        for number, phase in enumerate(self.phases):
            if phase.size is not None and phase.size > min(self.preparation.size):
                raise ValueError(f"phases.{number}.size: {phase.size} is more than `preparation.size`")
            if phase.mixup and self.task != "multilabel":
                raise ValueError(f"phases.{number}.mixup goes with task 'multilabel' only")
            if phase.multi_scale and self.task != "detect":
                raise ValueError(f"phases.{number}.multi_scale goes with task 'detect' only")
            if phase.batch % phase.accumulate:
                raise ValueError(
                    f"phases.{number}.accumulate: a batch of {phase.batch} films has no {phase.accumulate} even parts"
                )
            if self.task == "generate":
                _refuse_ungenerative(number, phase)
            if phase.sampler != "none" and self.task in ("segment", "detect"):
                raise ValueError(
                    f"phases.{number}.sampler: films with masks or boxes have nothing to be balanced by"
                )
        self._weights_fit()
        self._pretexts_fit()
        return self

    def _weights_fit(self) -> None:
        loss = self.loss.labels if isinstance(self.loss, Joint) else self.loss
        option = WEIGHTS.get(loss.kind)
        given = getattr(loss, option) if option else "none"
        if given == "none":
            return
        if self.task == "segment":
            raise ValueError(f"loss.{option} goes with classification only")
        outputs = len(self.data.labels) + len(self.data.auxiliary)
        if not isinstance(given, str) and len(given) != outputs:
            raise ValueError(f"loss.{option}: {len(given)} weights for {outputs} outputs")

    def _pretexts_fit(self) -> None:
        if not isinstance(self.loss, PretextLoss):
            return
        pairs = self.loss.contrast or self.loss.triplet
        for number, phase in enumerate(self.phases):
            size = self.preparation.size if phase.size is None else (phase.size, phase.size)
            misfit = self.loss.misfit(size)
            if misfit:
                raise ValueError(f"loss.patch, in phases.{number}: {misfit}")
            if phase.train == "head":
                raise ValueError(f"phases.{number}.train: an encoder has no head to train alone")
            if phase.sampler == "balanced":
                raise ValueError(
                    f"phases.{number}.sampler: films without labels have nothing to be balanced by"
                )
            if pairs and phase.batch < 2:
                raise ValueError(
                    f"phases.{number}.batch: contrast and triplet compare films, of which a batch of one has no two"
                )

    @property
    def digest(self) -> str:
        """SHA-256 of what the recipe asks for (places on disk left out, and a later field where it asks for nothing).

        A segmenter is asked for by its name; what it was then, a run's `split.json` holds to.
        """
        unasked: Any = {} if self.data.readers else {"readers": True}
        unasked |= {"labelled": True} if self.data.labelled == 1 else {}
        kept: Any = {
            "data": {**PLACES["data"], **unasked},
            "preparation": {"focus": {"digest"}, "masking": {"digest"}},
            **({} if self.augmentation.mosaic else {"augmentation": {"mosaic"}}),
            "phases": {"__all__": {name for name in LATER if not any(_asks(p, name) for p in self.phases)}},
        }
        content = self._placeless().model_dump_json(exclude=kept)
        return hashlib.sha256(content.encode()).hexdigest()

    def portable(self) -> Recipe:
        """The recipe without this machine's places on disk: what a bundle carries. Its digest is the same."""
        return Recipe.model_validate(self._placeless().model_dump(exclude=PLACES))

    def _placeless(self) -> Recipe:
        """With the weights that it starts from named by no absolute path."""
        given = self.model.pretrained
        named = tuple(map(_named, given)) if isinstance(given, tuple) else _named(given)
        model, steps = self.model.model_copy(update={"pretrained": named}), self.preparation
        if steps.by_lungs is not None:
            steps = steps.with_segmenter(segmenter=_shelved(steps.by_lungs.segmenter))
        return self.model_copy(update={"model": model, "preparation": steps})

    def as_yaml(self) -> str:
        """The whole recipe, defaults too: what `load_recipe` reads back as it was, whatever later defaults are."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _asks(phase: Phase, field: str) -> bool:
    return bool(getattr(phase, field) != Phase.model_fields[field].default)


def _refuse_ungenerative(number: int, phase: Phase) -> None:
    """What means nothing to a generator, or stops it from learning."""
    if phase.batch < 2:
        raise ValueError(
            f"phases.{number}.batch: batch norm over one film takes away what sets it apart; give 2 or more"
        )
    if phase.train != "all":
        raise ValueError(f"phases.{number}.train: a generator has no head to train alone")
    if phase.accumulate > 1 or phase.checkpointing:
        raise ValueError(
            f"phases.{number}: accumulate and checkpointing go with models of one network, a generator is two"
        )
    if phase.size is not None:
        raise ValueError(f"phases.{number}.size: a generator makes films of `preparation.size` only")


def _named(weights: str | None) -> str | None:
    """An absolute path by its last parts: the file's name, and of a run's bundle the run's name too."""
    if weights is None or not Path(weights).is_absolute():
        return weights
    parts = Path(weights).parts
    return "/".join(parts[-4:] if parts[-2] == "bundle" else parts[-1:])


def _shelved(bundle: str) -> str:
    """A bundle's absolute path as it is on a shelf of bundles: its name, and of a run's bundle the run's name before it."""
    if not Path(bundle).is_absolute():
        return bundle
    parts = Path(bundle).parts
    return "/".join(parts[-2:] if parts[-1] == "bundle" else parts[-1:])
