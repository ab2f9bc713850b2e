"""What `bundle.json` holds: everything that turns pixels into named, calibrated, thresholded probabilities."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from hilum.bundles.reference import Reference
from hilum.images.preparation import Preparation, Step

Task = Literal["multilabel", "multiclass", "segment", "detect", "generate", "encode"]
Form = Literal["onnx", "openvino", "int8"]


WEIGHTS = "weights.safetensors"

Share = Annotated[float, Field(gt=0, lt=1)]


class Architecture(Step):
    """A registered model and its options (weights come from the bundle, so never `pretrained`)."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Code(Step):
    """A code of a standard vocabulary."""

    scheme: str
    value: str
    meaning: str


class Cut(Step):
    """A decision threshold on the calibrated probability, named for what it optimises."""

    value: float = Field(ge=0, le=1)
    rule: str
    note: str | None = None


class Label(Step):
    """One output of the model, in its order."""

    name: str
    code: Code | None = None
    threshold: Cut | None = None
    outside_lungs: bool = False


class Scaling(Step):
    """Calibration: probability = sigmoid or softmax of slope * logit + intercept (Platt 1999; Guo 2017).

    `half_at`, an output: the probability p so found is then stretched by two straight lines, 0 to `half_at`
    becoming 0 to 0.5 and `half_at` to 1 becoming 0.5 to 1, as torchxrayvision does with its operating
    points. None leaves it as it is.
    """

    later = frozenset({"half_at"})

    kind: str
    slope: tuple[float, ...]
    intercept: tuple[float, ...]
    half_at: tuple[Share, ...] | None = None


class Applies(Step):
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


class Provenance(Step):
    """Where the weights come from. `imported`: the checkpoint of another program that they were taken from; Hilum then knows
    nothing of films, patients and split.
    """

    later = frozenset({"imported"})

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
    imported: str | None = None


class Export(Step):
    """The model in a form that a runtime other than torch takes.

    `weights`: SHA-256 of the weights file it was made from. `opset`: of the ONNX graph. `made_with`:
    packages and versions. `calibrated_on`: films that an INT8 form took its ranges from. `drift`: the
    largest change of a probability against torch, on `tried_on` films (or on noise where it is 0).
    """

    files: tuple[str, ...]
    weights: str
    opset: int
    made_with: dict[str, str]
    calibrated_on: int = 0
    drift: float
    tried_on: int = 0


class Ran(Step):
    """What a runtime did on one machine, beside torch on the same films.

    `milliseconds`: of the model for one prepared film, median. `change`: the largest change of a reported number on a film:
    a probability, a box's score, or the share of the film that lungs cover. `auc`, `dice`, `calibration_error`: of the films
    whose truth is known, macro over labels; None where there is none. `refused`: why it may not be chosen.
    """

    milliseconds: float | None = None
    change: float | None = None
    auc: float | None = None
    dice: float | None = None
    calibration_error: float | None = None
    refused: str | None = None


class Tuning(Step):
    """Which runtime was chosen for one machine, and what was measured to choose it (`hilum bundle tune`).

    `weights`: SHA-256 of the weights file. `films`: how many were measured on. `tolerance`: the largest `Ran.change` that
    was allowed. `versions`: of the packages that ran it; with others the choice does not hold.
    """

    chosen: str
    weights: str
    films: int
    threads: int
    tolerance: float
    versions: dict[str, str]
    runtimes: dict[str, Ran]


class Condition(Step):
    """Findings that stand together, and how many training films have exactly these (an unknown one counts as none): what a
    generator's films are drawn by. Nothing else of any film is kept.
    """

    findings: tuple[str, ...] = ()
    films: int = Field(ge=1)


class Info(Step):
    """The content of `bundle.json`.

    `labels`: empty where the task is to encode. `group`: the name of the set of mutually exclusive classes (multiclass),
    else None. `metrics`: evaluations by name, as `evaluation.summary` writes them. `precision`: of the floats in the weights
    file. `exports`: other forms of the model, by runtime. `tuned`: the choice of a runtime, by machine (`machine.machine`).
    `conditions`: of a generator. `reference`: what a drift of films and scores is measured against. `files`: SHA-256 of each
    other file. `digest`: SHA-256 of this content without itself.
    """

    later = frozenset({"precision", "exports", "tuned", "conditions", "reference"})

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    version: str
    title: str
    task: Task
    model: Architecture
    preparation: Preparation
    labels: tuple[Label, ...]
    group: str | None = None
    calibration: Scaling | None = None
    applies: Applies = Applies()
    provenance: Provenance
    limits: tuple[str, ...] = ()
    metrics: dict[str, dict[str, Any]] = Field(default_factory=dict)
    precision: Literal["float16", "float32"] = "float16"
    exports: dict[Form, Export] = Field(default_factory=dict)
    tuned: dict[str, Tuning] = Field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    reference: Reference | None = None
    files: dict[str, str] = Field(default_factory=dict)
    digest: str = ""

    @model_validator(mode="after")
    def _agrees(self) -> Info:
        names = [label.name for label in self.labels]
        if len(set(names)) != len(names):
            raise ValueError("two labels have the same name")
        wide = len(self.labels)
        if (self.task == "encode") != (wide == 0):
            raise ValueError("a bundle that encodes has no labels, and every other has at least one")
        if self.task == "encode" and self.calibration is not None:
            raise ValueError("a bundle that encodes gives embeddings, which have no calibration")
        if self.calibration and {len(self.calibration.slope), len(self.calibration.intercept)} - {1, wide}:
            raise ValueError(f"calibration must have 1 or {wide} slopes and intercepts")
        half_at = self.calibration.half_at if self.calibration else None
        if half_at is not None and (len(half_at) != wide or self.task != "multilabel"):
            raise ValueError(f"half_at must have {wide} values, and the task be multilabel")
        if self.preparation.by_lungs is not None and self.task == "segment":
            raise ValueError(
                "a bundle that segments sees the whole film: its masks are what a focus, or masking, goes by"
            )
        if self.reference is not None and set(self.reference.scores) != set(names):
            raise ValueError("the reference must have a distribution of each label's scores")
        strange = {name for condition in self.conditions for name in condition.findings} - set(names)
        if strange:
            raise ValueError(f"conditions name {min(strange)!r}, which is no label")
        if (self.task == "multiclass") != (self.group is not None):
            raise ValueError("a multiclass bundle names its group, and no other does")
        return self

    @property
    def behaviour(self) -> str:
        """SHA-256 of what decides the model's answers: model, weights, preparation, labels with thresholds, calibration.

        Unlike `digest` it stays as it is where an evaluation is recorded or a form added. Of a bundle as it was saved.
        """
        parts = {"task", "model", "preparation", "labels", "calibration"}
        content = {**self.model_dump(mode="json", include=parts), "weights": self.files.get(WEIGHTS)}
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
