"""From a study to the runs that carry it out: one an arm and a fold."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.studies.study import Study, Variant

# An absolute path, of which its last part is kept.
_PLACE = re.compile(r"(?<=[=\[\s'\",:{])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\",\]}]*[/\\])?([^/\\\s'\",\]}]+)")


WEIGHTS = Path("bundle") / "weights.safetensors"
"""Where a run leaves its weights."""


@dataclass(frozen=True)
class Job:
    """One run: an arm on a fold, in `folder`. `fold` counts from 0, as recipes do; `number` from 1, as all else does."""

    arm: str
    fold: int
    recipe: Recipe
    folder: Path

    @property
    def number(self) -> int:
        """The fold, from 1."""
        return self.fold + 1

    @property
    def weights(self) -> Path:
        """Where the run leaves its weights."""
        return (self.folder / WEIGHTS).absolute()


@dataclass(frozen=True)
class Request:
    """What a user asks of a study.

    `arms`, `folds`: empty takes the variant's. `fraction`: share of the patients; None takes the variant's. `changes`:
    key=value for every arm's recipe, or NAME.key=value for that of a preliminary.
    """

    study: Study
    variant: str
    data: Path
    out: Path
    arms: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    fraction: float | None = None
    changes: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """The variant's own folder under `out`."""
        return self.out / self.variant

    @property
    def command(self) -> str:
        """What to type for the same, without this machine's places."""
        words = [
            "hilum",
            "reproduce",
            self.study.name,
            "--data",
            "DATA",
            "--out",
            "OUT",
            "--variant",
            self.variant,
        ]
        words += [word for arm in self.arms for word in ("--arms", arm)]
        words += [word for fold in self.folds for word in ("--folds", str(fold + 1))]
        words += [] if self.fraction is None else ["--fraction", f"{self.fraction:g}"]
        words += [word for change in self.changes for word in ("--set", _PLACE.sub(r"\1", change))]
        return shlex.join(words)

    def placeless(self, text: str) -> str:
        """A text without this machine's places of data and runs."""
        for place, name in ((self.out, "OUT"), (self.data, "DATA")):
            for each in {Path(place).absolute(), Path(place)} - {Path()}:
                text = re.sub(rf"(?<![\w./-]){re.escape(str(each))}(?=/|\b)", name, text)
        return text

    def jobs(self) -> list[Job]:
        """Every run, arm by arm. RecipeError where an arm, a fold or a change does not fit."""
        variant = self.study.variant(self.variant)
        arms = self.arms or tuple(variant.arms)
        twice = {name for name in arms if arms.count(name) > 1}
        if twice:
            raise RecipeError(f"arm {', '.join(sorted(twice))} is asked for twice")
        shared = [] if self.fraction is None else [f"data.fraction={self.fraction}"]
        changes = [change for change in self.changes if _whose(change) not in variant.preliminaries]
        made = []
        for arm in arms:
            for fold in self.folds or variant.folds:
                given = (*self._places, *shared, *changes, *self._begin(variant, arm, fold))
                recipe = self.study.arm_recipe(self.variant, arm, fold, given)
                made.append(Job(arm, fold, recipe, self._folder(arm, fold)))
        return made

    def preliminaries(self) -> list[Job]:
        """The runs that the arms asked for begin with; of `changes` those that begin with such a run's name count."""
        variant = self.study.variant(self.variant)
        wanted = {name for arm in self.arms or variant.arms for name in variant.arms[arm].preliminaries}
        return [
            self._before(variant, name, fold)
            for name, before in variant.preliminaries.items()
            if name in wanted
            for fold in ((0,) if before.once else self.folds or variant.folds)
        ]

    def _before(self, variant: Variant, name: str, fold: int) -> Job:
        """The preliminary before `fold`. One that is trained once lies beside the variants: those whose recipe of it is the
        same share it."""
        once = variant.preliminaries[name].once
        own = [c.removeprefix(f"{name}.") for c in self.changes if _whose(c) == name]
        recipe = self.study.preliminary_recipe(self.variant, name, 0 if once else fold, (*self._places, *own))
        if not once:
            return Job(name, fold, recipe, self._folder(name, fold))
        return Job(name, 0, recipe, self.out / "once" / f"{name}-{recipe.digest[:8]}" / "1")

    def _begin(self, variant: Variant, arm: str, fold: int) -> list[str]:
        """The change that makes an arm begin with what was learnt before it."""
        after = variant.arms[arm].after if arm in variant.arms else None
        if after is None:
            return []
        names = variant.preliminaries

        def start(entry: str | None) -> str | None:
            if entry is None or entry not in names:
                return entry
            return str(self._before(variant, entry, fold).weights)

        starts = [start(entry) for entry in after] if isinstance(after, tuple) else start(after)
        return [f"model.pretrained={json.dumps(starts)}"]

    @property
    def _places(self) -> tuple[str, ...]:
        return f"data.root={self.data}", f"data.store={self.out / 'stores'}"

    def _folder(self, name: str, fold: int) -> Path:
        """Of a run; the parts that `Recipe.portable` keeps of its weights' path are enough to tell it."""
        return self.place / "runs" / name / str(fold + 1)


def _whose(change: str) -> str:
    """The first part of a change's key."""
    return change.partition("=")[0].partition(".")[0]


def by_arm(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs of each arm, in order."""
    out: dict[str, list[Job]] = {}
    for job in jobs:
        out.setdefault(job.arm, []).append(job)
    return out
