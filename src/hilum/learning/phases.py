"""Phases: stretches of training, each from the best weights of the one before; every epoch can be resumed."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)

from hilum.datasets.batches import Batches
from hilum.errors import RecipeError
from hilum.learning import batch_norm, checkpoints, distributing, group, weights, writing
from hilum.learning.building import discriminator_start
from hilum.learning.feed import Dealt, Feed
from hilum.learning.history import History
from hilum.learning.material import Material, Part
from hilum.learning.profile import StepProfiler
from hilum.learning.profile import write as write_profile
from hilum.learning.recipe import Phase, Recipe
from hilum.learning.tasks import TASKS, Joined
from hilum.learning.tasks.join import generator_of
from hilum.models import Model

DEVICES = ("auto", "cpu", "cuda")

logger = logging.getLogger(__name__)


def run_phase(
    model: Model,
    recipe: Recipe,
    number: int,
    material: Material,
    folder: Path,
    history: History,
    device: str = "auto",
    profile: bool = False,
) -> None:
    """Train phase `number` in `folder/<number>-<name>` and leave its best weights in `model`.

    `device`: `cpu`, `cuda`, or `auto` for what there is (see `checked_device`). A phase that was finished before only
    loads its weights; one that was killed goes on after its last whole epoch. `profile`: say in `profile.csv` of the
    history's folder where the steps' time went.
    """
    phase = recipe.phases[number]
    place = folder / f"{number}-{phase.name}"
    finished = place / "finished.json"
    if not finished.is_file():
        best = _fit(model, recipe, number, material, place, history, device, profile)
        with group.first_before_others():
            if group.is_first():
                writing.write_whole(finished, json.dumps({"best": best.name}))
    best = place / json.loads(finished.read_text())["best"]
    model.load_state_dict(_weights(best, averaged=phase.average > 0))


def checked_device(device: str) -> str:
    """The device as Lightning calls it; RecipeError where it is not there."""
    if device not in DEVICES:
        raise RecipeError(f"there is no device {device!r}", mend=f"Choose one of: {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise RecipeError("there is no CUDA device here", mend="Use --device cpu, or auto")
    return device


def _fit(
    model: Model,
    recipe: Recipe,
    number: int,
    material: Material,
    place: Path,
    history: History,
    device: str,
    profile: bool,
) -> Path:
    phase = recipe.phases[number]
    seed = recipe.seed + 1_009 * number
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its tips are not ours to give
    L.seed_everything(seed, verbose=False)
    outputs = len(recipe.data.labels) + len(recipe.data.auxiliary)
    loss = weights.resolved(recipe.loss, material.train, outputs)
    kind = Joined if recipe.loss.kind == "joint" else TASKS[recipe.task]
    task = kind(model, recipe.preparation, phase, loss, recipe.augmentation, seed)
    if isinstance(task, Joined):
        task.show(generator_of(recipe, model, discriminator_start(recipe)))
    task.kept_outputs = len(recipe.data.labels)
    task.ready(material, history.folder)
    recompute(model, phase)
    if group.size() > 1:
        batch_norm.share(model)
    task.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    best = _Keeper(place, "best", **_monitored(phase))
    last = _Keeper(place, "last")  # of every epoch; after `best`, whose state it holds
    profiler = StepProfiler() if profile else None
    trainer = L.Trainer(
        accelerator=device,
        **distributing.trainer_options(phase),
        precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
        max_epochs=phase.epochs,
        callbacks=[*_diary(history, phase), *_stopping(phase), *_progress(), best, last],
        plugins=[checkpoints.SafetensorsIO()],
        profiler=profiler,
        logger=history.loggers(phase.name),
        deterministic="warn" if recipe.deterministic else False,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        default_root_dir=place,
    )
    train = _feed(material, material.train, phase, seed, learn=True)
    validation = _feed(material, material.validation, phase, seed, learn=False)
    begun = place / "last.safetensors"
    with warnings.catch_warnings(), _interruptible(trainer):
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        warnings.filterwarnings("ignore", ".*broadcast_buffers.*deprecated.*")
        warnings.filterwarnings(
            "ignore", ".*sync_dist=True.*"
        )  # a score of all processes' films is the same everywhere
        warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # a frozen encoder
        trainer.fit(task, train, validation, ckpt_path=str(begun) if begun.is_file() else None)
    if profiler is not None and group.is_first():
        write_profile(history.folder, profiler.rows(phase.name))
    return Path(best.best_model_path)


def _feed(material: Material, part: Part, phase: Phase, seed: int, learn: bool) -> Feed:
    """Shuffled training batches of `phase.batch` films, or validation batches in order and twice that."""
    part = part.only(phase.where) if learn else part
    if not len(part.rows):
        raise RecipeError(f"phase '{phase.name}': `where` leaves no film to train on")
    size = _batch(phase, len(part.rows)) if learn else _look(phase, len(part.rows))
    masks = part.targets is None
    chances = weights.chances(part, phase) if learn else None
    batches = Batches(
        material.store, part.rows, part.targets, size, seed,
        shuffle=learn, drop_last=learn, masks=masks, weights=chances,
    )  # fmt: skip
    return Feed(batches, phase.accumulate) if learn else Dealt(batches)


def _batch(phase: Phase, films: int) -> int:
    """Fewer films than a batch are one batch: an unfilled last batch is left out. Every process and part has as many."""
    size = min(phase.batch, films)
    size -= size % (group.size() * phase.accumulate)
    if not size:
        raise RecipeError(
            f"phase '{phase.name}': {films} films are fewer than {group.size()} processes x {phase.accumulate} parts",
            mend="Use fewer of either",
        )
    return size


def _look(phase: Phase, films: int) -> int:
    """Films a validation batch: twice those of a training batch's part, and a batch for every process."""
    if films < group.size():
        raise RecipeError(
            f"{films} validation films are fewer than {group.size()} processes", mend="Use fewer"
        )
    return min(max(1, 2 * phase.batch // phase.accumulate), films // group.size())


def recompute(model: Model, phase: Phase) -> None:
    """Have the backbones of `model` compute activations again on the way back, or keep them, as the phase says.
    RecipeError where none can.
    """
    able: list[Any] = [part for part in model.modules() if hasattr(part, "set_grad_checkpointing")]
    if phase.checkpointing and not able:
        raise RecipeError(
            f"phase '{phase.name}': the model has no backbone that can compute its activations again",
            mend="Set phases.N.checkpointing to false; phases.N.accumulate saves memory too",
        )
    for part in able:
        part.set_grad_checkpointing(phase.checkpointing)


def _monitored(phase: Phase) -> dict[str, Any]:
    """What a better epoch is."""
    return {"monitor": f"validation/{phase.monitor}", "mode": "max" if phase.monitor == "score" else "min"}


def _stopping(phase: Phase) -> list[Callback]:
    if phase.patience is None:
        return []
    return [_Patience(**_monitored(phase), patience=phase.patience, check_on_train_epoch_end=True)]


class _Keeper(ModelCheckpoint):
    """Keeps one checkpoint, at each epoch's end: the best by `monitor`, or the latest."""

    FILE_EXTENSION = ".safetensors"

    def __init__(self, place: Path, name: str, **monitored: Any) -> None:
        super().__init__(place, name, save_on_train_epoch_end=True, enable_version_counter=False, **monitored)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best score where the run's folder was moved between a kill and the next call."""

        def here(path: str) -> str:
            return str(Path(self.dirpath or "") / Path(path).name) if path else path

        paths = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in paths}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": scores, "dirpath": self.dirpath})


class _Patience(EarlyStopping):
    """Does not train on where a run was killed after it had stopped, but before that was noted."""

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


@contextmanager
def _interruptible(trainer: L.Trainer) -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt: Lightning turns it into SystemExit and ignores every later one."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from stopped
    finally:
        if main:
            signal.signal(signal.SIGINT, before)


def _progress() -> list[Callback]:
    """A bar where a person looks on; a log file gets the lines of `_Diary`."""
    return [RichProgressBar(leave=False) if sys.stderr.isatty() and group.is_first() else _Silent()]


class _Silent(TQDMProgressBar):
    """No bar."""

    def __init__(self) -> None:
        super().__init__()
        self.disable()


def _diary(history: History, phase: Phase) -> list[Callback]:
    return [_Diary(history, phase.name)] if group.is_first() else []


class _Diary(Callback):
    """One line an epoch, in the history and the log."""

    def __init__(self, history: History, phase: str) -> None:
        self.history, self.phase = history, phase

    def on_train_start(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        self.history.forget(self.phase, from_epoch=trainer.current_epoch)

    def on_train_epoch_end(self, trainer: L.Trainer, task: L.LightningModule) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        self.history.add(self.phase, trainer.current_epoch, rate, values)


def _weights(path: Path, averaged: bool) -> dict[str, torch.Tensor]:
    prefix = "average.module." if averaged else "model."
    state = checkpoints.read(path)["state_dict"]
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
