"""What `bundle.json` holds: everything that turns pixels into named, calibrated, thresholded probabilities."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hilum.images.preparation import Preparation

Task = Literal["multilabel", "multiclass", "segment"]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(Part):
    """A registered model and its options (weights come from the bundle, so never `pretrained`)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Code(Part):
    """A code of a standard vocabulary."""

    scheme: str
    value: str
    meaning: str


class Cut(Part):
    """A decision threshold on the calibrated probability, named for what it optimises."""

    value: float = Field(ge=0, le=1)
    rule: str
    note: str | None = None


class Label(Part):
    """One output of the model, in its order."""

    name: str
    code: Code | None = None
    threshold: Cut | None = None
    outside_lungs: bool = False


class Scaling(Part):
    """Calibration: probability = sigmoid or softmax of slope * logit + intercept (Platt 1999; Guo 2017)."""

    kind: str
    slope: tuple[float, ...]
    intercept: tuple[float, ...]


class Applies(Part):
    """Which films the bundle is for. `by_default`: false means only when asked for by name.

    `ages`: (lowest, highest) in years; with it the bundle runs by default only on films whose header gives an age inside.
    """

    ages: tuple[float, float] | None = None
    by_default: bool = True
    note: str | None = None

    def suits(self, age: float | None) -> bool:
        """Should the bundle run, unasked, on a film of a person of `age` years (None: unknown)?"""
        if not self.by_default:
            return False
        return self.ages is None or (age is not None and self.ages[0] <= age <= self.ages[1])


class Provenance(Part):
    """Where the weights come from."""

    data: tuple[str, ...]
    films: dict[str, int]
    patients: dict[str, int]
    split: str
    split_digest: str
    recipe_digest: str
    hilum: str
    created: str
    licence: str
    start: str | None = None


class Info(Part):
    """The content of `bundle.json`.

    `group`: the name of the set of mutually exclusive classes (multiclass), else None. `metrics`: evaluations by name,
    as `evaluation.summary` writes them. `files`: SHA-256 of every other file. `digest`: SHA-256 of this content
    without itself.
    """

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str
    title: str
    task: Task
    model: Architecture
    preparation: Preparation
    labels: tuple[Label, ...] = Field(min_length=1)
    group: str | None = None
    calibration: Scaling | None = None
    applies: Applies = Applies()
    provenance: Provenance
    limits: tuple[str, ...] = ()
    metrics: dict[str, dict[str, Any]] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    digest: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Info:
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError("two labels have the same name")
        wide = len(self.labels)
        if self.calibration and {len(self.calibration.slope), len(self.calibration.intercept)} - {1, wide}:
            raise ValueError(f"calibration must have 1 or {wide} slopes and intercepts")
        if (self.task == "multiclass") != (self.group is not None):
            raise ValueError("a multiclass bundle names its group, and no other does")
        return self
