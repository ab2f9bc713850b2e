"""Training images a second: Hilum's loop against a plain PyTorch loop, same backbone, batch and films, as a ratio.

    python -m benchmarks.training_loop
    python -m benchmarks.training_loop --backbone densenet121 --size 128 --batch 16

Both loops take their films from memory (the plain one from an array, Hilum's from its store's map in the page cache), make
them floats, normalise, go forward and back channels last, and step AdamW. The plain loop does nothing else; Hilum's has
Lightning, its rates and its records about it, and with `--augment` its augmentation too. They take turns, epoch by epoch,
in one process; the first epoch of each is for warming up, and a loop counts with the median of the others. Validation and
checkpoints, which the plain loop has not, are left out of the first ratio and counted in the second. `--clock cpu` counts
processor time instead of the wall's, for a machine that does other work too (one thread, no GPU).
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tests.phantom import phantom
from torch.nn import functional as F

from hilum.datasets.augment import Augmentation
from hilum.learning import material, phases
from hilum.learning.building import build_model
from hilum.learning.history import History
from hilum.learning.recipe import Recipe

GOAL = 0.95


def write(folder: Path, films: int) -> None:
    """Two classes of phantoms, a patient each."""
    for number in range(films):
        kind = folder / ("ill" if number % 2 else "well")
        kind.mkdir(parents=True, exist_ok=True)
        pixels = phantom(number % 32, 256, 224, lesions=6 * (number % 2)).pixels
        cv2.imwrite(str(kind / f"p{number}-a.png"), np.rint(pixels * 255).astype(np.uint8))


def recipe(work: Path, args: argparse.Namespace) -> Recipe:
    still = dict.fromkeys(Augmentation.model_fields, 0.0)
    return Recipe.model_validate(
        {
            "name": "loop",
            "task": "multiclass",
            "data": {
                "root": str(work),
                "sources": [
                    {"source": "class_folders", "root": "films", "options": {"patient": r"/(p\d+)-"}}
                ],
                "labels": ["well", "ill"],
                "split": {"kind": "holdout", "validation": 0.1, "test": 0.0},
                "store": str(work / "stores"),
            },
            "preparation": {"size": [args.size, args.size]},
            "model": {"options": {"name": args.backbone, "dropout": 0.0}},
            "loss": {"kind": "cross_entropy"},
            "augmentation": {} if args.augment else still,
            "phases": [{"name": "a", "epochs": args.epochs, "batch": args.batch}],
            "bundle": {"title": "loop", "licence": "none"},
            "deterministic": False,
        }
    )


class Plain:
    """The loop that anyone would write."""

    def __init__(self, wish: Recipe, stuff: material.Material, model: torch.nn.Module, device: torch.device):
        self.images = torch.from_numpy(np.asarray(stuff.store.images[stuff.train.rows]))
        self.classes = torch.from_numpy(np.asarray(stuff.train.targets))
        self.batch, self.device = wish.phases[0].batch, device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = wish.preparation
        self.mean, self.std = (torch.tensor(v, device=device)[:, None, None] for v in (steps.mean, steps.std))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05)

    def epoch(self) -> None:
        self.model.train()
        order = torch.randperm(len(self.images))
        for start in range(0, len(order) - self.batch + 1, self.batch):
            index = order[start : start + self.batch]
            images = self.images[index].to(self.device).float()[:, None] / 255
            images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self.model(images), self.classes[index].to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def timed(
    wish: Recipe, stuff: material.Material, work: Path, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each epoch: `hilum`, its training steps alone; `whole`, to the checkpoint; `plain`."""
    seconds: dict[str, list[float]] = {"hilum": [], "whole": [], "plain": []}
    model = build_model(wish)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = Plain(wish, stuff, copy.deepcopy(model), device)

    class Clock(phases._Diary):
        def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
            now = clock()
            if seconds[
                "hilum"
            ]:  # what lies between two epochs: validation, checkpoint, records; and the plain loop's turn
                between = now - self.ended - seconds["plain"][-1]
                seconds["whole"].append(seconds["hilum"][-1] + between)
            self.began = now

        def on_validation_start(self, trainer: Any, task: Any) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            self.ended = clock()
            seconds["hilum"].append(self.ended - self.began)

        def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
            super().on_train_epoch_end(trainer, task)
            start = clock()
            plain.epoch()
            seconds["plain"].append(clock() - start)

    diary: Any = phases._Diary
    phases._Diary = Clock  # type: ignore[misc]
    try:
        phases.run_phase(model, wish, 0, stuff, work / "phases", History(work))
    finally:
        phases._Diary = diary  # type: ignore[misc]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="mobilenetv2_100", help="any timm backbone")
    parser.add_argument("--films", type=int, default=320)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--augment", action="store_true", help="with Hilum's default augmentation")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    args = parser.parse_args()
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write(work / "films", args.films)
        wish = recipe(work, args)
        stuff = material.gather(wish)
        films = len(stuff.train.rows) // args.batch * args.batch
        show(
            {name: [films / s for s in all_[1:]] for name, all_ in timed(wish, stuff, work, clock).items()},
            args,
        )


def show(rates: dict[str, list[float]], args: argparse.Namespace) -> None:
    names = {
        "plain": "plain PyTorch",
        "hilum": "Hilum, training steps",
        "whole": "Hilum, with validation and checkpoints",
    }
    plain = float(np.median(rates["plain"]))
    table = Table("loop", "images/s", "from - to", "of plain", box=None, pad_edge=False)
    for name, title in names.items():
        median = float(np.median(rates[name]))
        spread = f"{min(rates[name]):.1f} - {max(rates[name]):.1f}"
        table.add_row(title, f"{median:.1f}", spread, f"{median / plain:.3f}")
    console = Console()
    where = "CUDA" if torch.cuda.is_available() else f"{args.threads} threads"
    console.print(
        f"{args.backbone}, batches of {args.batch} at {args.size} px, {args.epochs - 1} epochs a loop, {where},"
        f" {args.clock} time, {'default' if args.augment else 'no'} augmentation"
    )
    console.print(table)
    ratio = float(np.median(rates["hilum"])) / plain
    console.print(f"ratio {ratio:.3f} (goal {GOAL}: {'reached' if ratio >= GOAL else 'not reached'})")


if __name__ == "__main__":
    main()
