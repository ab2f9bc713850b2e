"""Training images a second: Hilum's loop against a plain PyTorch loop, same backbone, batch and films, as a ratio.

    python -m benchmarks.training_loop
    python -m benchmarks.training_loop --backbone densenet121 --size 128 --batch 16
    python -m benchmarks.training_loop --dataset [--workers 2] --backbone mobilenetv2_100 --backbone mobilenetv3_small_050

Both loops take their films from memory (the plain one from an array, Hilum's from its store's map in the page cache), make
them floats, normalise, go forward and back channels last, and step AdamW. The plain loop does nothing else; Hilum's has
Lightning, its rates and its records about it, and with `--augment` its augmentation too. They take turns, epoch by epoch,
in one process, the first epoch of each for warming up; a ratio is that of two epochs one after the other, and the median of
all such pairs counts. Validation and checkpoints, which the plain loop has not, are left out of the first ratio and counted
in the second. `--clock cpu` counts processor time instead of the wall's, for a machine that does other work too (one thread,
no GPU).

With `--dataset` a third loop takes its turns: the plain one, fed by torchxrayvision's NIH_Dataset with its resizer (OpenCV,
the faster of its two) and torch's DataLoader, from the same PNGs, 1,024 pixels a side as NIH publishes them. Hilum reads
them once, into its store, which is timed apart. No loop augments then, so that the input is what differs. What a backbone
takes for a step bounds what the input can gain: the plain loop's films from memory are that limit.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import torch
from benchmarks.figures import of_rounds, tell
from rich.console import Console
from rich.table import Table
from tests.phantom import phantom
from torch.nn import functional as F

from hilum.datasets.augment import Augmentation
from hilum.learning import material, phases
from hilum.learning.building import build_model
from hilum.learning.history import History
from hilum.learning.recipe import Recipe

GOAL, FED = 0.95, 3.0


def write(folder: Path, films: int, size: tuple[int, int] = (256, 224)) -> None:
    """Two classes of phantoms, a patient each."""
    for number in range(films):
        kind = folder / ("ill" if number % 2 else "well")
        kind.mkdir(parents=True, exist_ok=True)
        pixels = phantom(number % 32, *size, lesions=6 * (number % 2)).pixels
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


Batches = Callable[[], Iterable[tuple[torch.Tensor, torch.Tensor]]]
"""An epoch of images (n, h, w) from 0 to 255 and classes (n,)."""


def from_memory(wish: Recipe, stuff: material.Material) -> Batches:
    images = torch.from_numpy(np.asarray(stuff.store.images[stuff.train.rows]))
    classes = torch.from_numpy(np.asarray(stuff.train.targets))

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for index in torch.randperm(len(images)).split(wish.phases[0].batch):
            if len(index) == wish.phases[0].batch:
                yield images[index], classes[index]

    return epoch


def from_dataset(wish: Recipe, stuff: material.Material, work: Path, workers: int) -> Batches:
    """torchxrayvision's dataset of the same films, resized to the recipe's size."""
    import torchxrayvision as xrv
    from torch.utils.data import DataLoader

    (work / "flat").mkdir()
    rows = stuff.train.rows[: len(stuff.train.rows) // wish.phases[0].batch * wish.phases[0].batch]
    paths = stuff.train.manifest.paths()[: len(rows)]
    for path in paths:
        (work / "flat" / path.name).symlink_to(path)
    pl.DataFrame(
        {
            "Image Index": [path.name for path in paths],
            "Finding Labels": ["Mass" if path.parent.name == "ill" else "No Finding" for path in paths],
            "Patient ID": list(range(len(paths))),
            "View Position": ["PA"] * len(paths),
            "Patient Age": [50] * len(paths),
            "Patient Sex": ["F"] * len(paths),
        }
    ).write_csv(work / "films.csv")
    dataset = xrv.datasets.NIH_Dataset(
        str(work / "flat"), csvpath=str(work / "films.csv"), unique_patients=False,
        transform=xrv.datasets.XRayResizer(wish.preparation.size[0], engine="cv2"),
    )  # fmt: skip
    mass = dataset.pathologies.index("Mass")
    loader = DataLoader(
        dataset, wish.phases[0].batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in loader:
            yield (batch["img"][:, 0] + 1024) * (255 / 2048), batch["lab"][:, mass].long()

    return epoch


class Plain:
    """The loop that anyone would write."""

    def __init__(self, wish: Recipe, batches: Batches, model: torch.nn.Module, device: torch.device):
        self.batches, self.device = batches, device
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        steps = wish.preparation
        self.mean, self.std = (torch.tensor(v, device=device)[:, None, None] for v in (steps.mean, steps.std))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05)

    def epoch(self) -> None:
        self.model.train()
        for films, classes in self.batches():
            images = films.to(self.device).float()[:, None] / 255
            images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(self.model(images), classes.to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def timed(
    wish: Recipe, stuff: material.Material, work: Path, clock: Callable[[], float], fed: dict[str, Batches]
) -> dict[str, list[float]]:
    """Seconds of each epoch: `hilum`, its training steps alone; `whole`, to the checkpoint; and of the plain loops `fed`."""
    seconds: dict[str, list[float]] = {"hilum": [], "whole": [], **{name: [] for name in fed}}
    model = build_model(wish)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loops = {name: Plain(wish, batches, copy.deepcopy(model), device) for name, batches in fed.items()}

    class Clock(phases._Diary):
        def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
            now = clock()
            if seconds["hilum"]:  # between two epochs: validation, checkpoint, records; and the others' turns
                between = now - self.ended - sum(seconds[name][-1] for name in loops)
                seconds["whole"].append(seconds["hilum"][-1] + between)
            self.began = now

        def on_validation_start(self, trainer: Any, task: Any) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            self.ended = clock()
            seconds["hilum"].append(self.ended - self.began)

        def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
            super().on_train_epoch_end(trainer, task)
            for name, loop in loops.items():
                start = clock()
                loop.epoch()
                seconds[name].append(clock() - start)

    diary: Any = phases._Diary
    phases._Diary = Clock  # type: ignore[misc]
    try:
        phases.run_phase(model, wish, 0, stuff, work / "phases", History(work))
    finally:
        phases._Diary = diary  # type: ignore[misc]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backbone", action="append", help="any timm backbone, mobilenetv2_100 by itself; repeat it"
    )
    parser.add_argument("--films", type=int, default=320)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=12, help="of each loop, 3 at the least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--augment", action="store_true", help="with Hilum's default augmentation")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--dataset", action="store_true", help="torchxrayvision's dataset beside the others")
    parser.add_argument("--workers", type=int, default=0, help="processes of its loader")
    args = parser.parse_args()
    if args.dataset and args.augment:
        parser.error("with --dataset no loop augments")
    if args.dataset and args.clock == "cpu" and args.workers:
        parser.error("processor time does not see what a loader's workers do: --workers 0, or --clock wall")
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    torch.set_num_threads(args.threads)
    for backbone in args.backbone or ["mobilenetv2_100"]:
        args.backbone = backbone
        measure(args, clock)


def measure(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write(work / "films", args.films, (1024, 1024) if args.dataset else (256, 224))
        wish = recipe(work, args)
        start = time.perf_counter()
        stuff = material.gather(wish)
        print(f"{args.films} films into the store, once: {time.perf_counter() - start:.1f} s", flush=True)
        fed = {"plain": from_memory(wish, stuff)}
        if args.dataset:
            fed["dataset"] = from_dataset(wish, stuff, work, args.workers)
        films = len(stuff.train.rows) // args.batch * args.batch
        show(
            {
                name: [films / s for s in all_[1:]]
                for name, all_ in timed(wish, stuff, work, clock, fed).items()
            },
            args,
        )


def show(rates: dict[str, list[float]], args: argparse.Namespace) -> None:
    names = {
        "plain": "plain PyTorch",
        "hilum": "Hilum, training steps",
        "whole": "Hilum, with validation and checkpoints",
        "dataset": f"plain PyTorch, torchxrayvision's dataset, {args.workers} workers",
    }
    table = Table("loop", "images/s", "from - to", "of plain, epoch by epoch", box=None, pad_edge=False)
    for name, title in ((n, t) for n, t in names.items() if n in rates):
        median = float(np.median(rates[name]))
        spread = f"{min(rates[name]):.1f} - {max(rates[name]):.1f}"
        table.add_row(title, f"{median:.1f}", spread, f"{np.median(times(rates, name, 'plain')):.3f}")
    console = Console()
    where = "CUDA" if torch.cuda.is_available() else f"{args.threads} threads"
    console.print(
        f"{args.backbone}, batches of {args.batch} at {args.size} px, {args.epochs - 1} epochs a loop, {where},"
        f" {args.clock} time, {'default' if args.augment else 'no'} augmentation"
    )
    console.print(table)
    what = f"training steps, {args.backbone} at {args.size} px"
    tell(of_rounds(what, "a plain PyTorch loop", times(rates, "hilum", "plain"), GOAL, "1"))
    if "dataset" in rates:
        beside = f"a plain loop over torchxrayvision's dataset, {args.workers} workers"
        limit = f"{np.median(times(rates, 'plain', 'dataset')):.3g}: the plain loop from memory"
        tell(of_rounds(what, beside, times(rates, "hilum", "dataset"), FED, limit))


def times(rates: dict[str, list[float]], one: str, other: str) -> list[float]:
    """How many times as fast one loop was as the other, epoch by epoch."""
    return [a / b for a, b in zip(rates[one], rates[other], strict=False)]


if __name__ == "__main__":
    main()
