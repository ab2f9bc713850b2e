"""Pretraining films a second: Hilum's loop with NT-Xent against lightly's, same backbone, loss and batch, as a ratio.

    pip install --target PLACE --no-deps lightly lightly-utils
    PYTHONPATH=PLACE python -m benchmarks.pretraining
    python -m benchmarks.pretraining --augmentation    # only a batch of 256 films: needs no lightly

lightly (MIT) is a peer, not a dependency: whoever runs this brings it. Its loop is the one of its SimCLR example: a dataset
of images with `SimCLRTransform`, set to the changes that Hilum's recipe here makes (crops, small turns, brightness and
contrast; no flip, no hue, no blur), torch's DataLoader, a backbone and a projection head of two layers of the same widths,
`NTXentLoss`, and AdamW. Its images lie decoded in memory, as Hilum's films lie in their store. Both train channels last.
They take turns, epoch by epoch, in one process; the first epoch of each is for warming up, and a loop counts with the median
of the others.

Augmentation: 256 films at once by `hilum.datasets.augment` against torchvision's transforms, film by film, on one thread:
one affine resampling, brightness and contrast, and (Hilum's) gamma.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.figures import Figure, tell
from benchmarks.training_loop import write
from rich.console import Console
from rich.table import Table

import hilum.models.torchvision_operators as operators
from hilum.datasets.augment import Augmentation
from hilum.learning import material, phases
from hilum.learning.building import build_model
from hilum.learning.history import History
from hilum.learning.recipe import Recipe

GOALS = {"pretraining": 1.0, "augmentation": 5.0}
TEMPERATURE, PROJECTION = 0.2, 128
CHANGES = {
    "rotation": 10.0,
    "zoom": 0.2,
    "translation": 0.1,
    "brightness": 0.1,
    "contrast": 0.3,
    "gamma": 0.2,
}
FILMS = 256  # of the batch that is augmented


def recipe(work: Path, args: argparse.Namespace) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "loop",
            "task": "pretrain",
            "data": {
                "root": str(work),
                "sources": [
                    {"source": "class_folders", "root": "films", "options": {"patient": r"/(p\d+)-"}}
                ],
                "split": {"kind": "holdout", "validation": 0.1, "test": 0.0},
                "store": str(work / "stores"),
            },
            "preparation": {"size": [args.size, args.size]},
            "model": {"name": "encoder", "options": {"name": args.backbone}},
            "loss": {"kind": "pretext", "contrast": 1, "temperature": TEMPERATURE, "projection": PROJECTION},
            "augmentation": CHANGES,
            "phases": [{"name": "a", "epochs": args.epochs, "batch": args.batch}],
            "bundle": {"title": "loop", "licence": "none"},
            "deterministic": False,
        }
    )


class Theirs:
    """lightly's loop over the same films."""

    def __init__(
        self, wish: Recipe, stuff: material.Material, backbone: Any, workers: int, device: torch.device
    ) -> None:
        try:
            from lightly.loss import NTXentLoss
            from lightly.models.modules.heads import SimCLRProjectionHead
            from lightly.transforms import SimCLRTransform
        except ModuleNotFoundError as error:
            raise SystemExit(
                f"this needs lightly ({error}): pip install --target PLACE --no-deps lightly lightly-utils, and PLACE on"
                " PYTHONPATH"
            ) from error
        from PIL import Image

        batch, size = wish.phases[0].batch, wish.preparation.size[0]
        transform = SimCLRTransform(
            input_size=size, cj_prob=1.0, cj_strength=1.0, cj_bright=CHANGES["brightness"],
            cj_contrast=CHANGES["contrast"], cj_sat=0.0, cj_hue=0.0, min_scale=(1 - CHANGES["zoom"]) ** 2,
            random_gray_scale=0.0, gaussian_blur=0.0, hf_prob=0.0, rr_prob=1.0, rr_degrees=CHANGES["rotation"],
        )  # fmt: skip
        images = [Image.fromarray(film).convert("RGB") for film in stuff.store.images[stuff.train.rows]]

        class Films(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return len(images)

            def __getitem__(self, index: int) -> Any:
                return transform(images[index])

        self.loader = torch.utils.data.DataLoader(
            Films(), batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
        )
        self.device = device
        features = backbone.num_features
        self.backbone = backbone.to(device, memory_format=torch.channels_last)
        self.head = SimCLRProjectionHead(features, features, PROJECTION, batch_norm=False).to(device)
        self.loss = NTXentLoss(temperature=TEMPERATURE)
        parameters = [*self.backbone.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05)

    def epoch(self) -> None:
        self.backbone.train()
        for views in self.loader:
            first, second = (
                self.head(self.backbone(v.to(self.device).contiguous(memory_format=torch.channels_last)))
                for v in views
            )
            loss = self.loss(first, second)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def timed(
    wish: Recipe, stuff: material.Material, work: Path, workers: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each epoch's training steps, in turn."""
    seconds: dict[str, list[float]] = {"hilum": [], "lightly": []}
    model: Any = build_model(wish)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    theirs = Theirs(wish, stuff, copy.deepcopy(model.backbone), workers, device)

    class Clock(phases._Diary):
        def on_train_epoch_start(self, trainer: Any, task: Any) -> None:
            self.began = clock()

        def on_validation_start(self, trainer: Any, task: Any) -> None:
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds["hilum"].append(clock() - self.began)

        def on_train_epoch_end(self, trainer: Any, task: Any) -> None:
            super().on_train_epoch_end(trainer, task)
            start = clock()
            theirs.epoch()
            seconds["lightly"].append(clock() - start)

    diary: Any = phases._Diary
    phases._Diary = Clock  # type: ignore[misc]
    try:
        phases.run_phase(model, wish, 0, stuff, work / "phases", History(work))
    finally:
        phases._Diary = diary  # type: ignore[misc]
    return seconds


def augmented(size: int, turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds for a batch of films, in turn."""
    operators.define_missing()
    from torchvision.transforms import v2

    films = torch.rand(FILMS, size, size, generator=torch.Generator().manual_seed(0))
    ours = Augmentation(**CHANGES)
    low, high = 1 - CHANGES["zoom"], 1 + CHANGES["zoom"]
    shift, turn = CHANGES["translation"], CHANGES["rotation"]
    theirs = v2.Compose(
        [
            v2.RandomAffine(turn, (shift, shift), (low, high), interpolation=v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=CHANGES["brightness"], contrast=CHANGES["contrast"]),
        ]
    )
    seconds: dict[str, list[float]] = {"hilum": [], "torchvision": []}
    for seed in range(turns + 1):
        start = clock()
        ours.draw(FILMS, (size, size), torch.Generator().manual_seed(seed)).images(films)
        seconds["hilum"].append(clock() - start)
        start = clock()
        torch.stack([theirs(film[None]) for film in films])
        seconds["torchvision"].append(clock() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--augmentation", action="store_true", help="only the augmentation of a batch")
    parser.add_argument("--backbone", default="resnet18", help="any timm backbone")
    parser.add_argument("--films", type=int, default=640)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--turns", type=int, default=5, help="batches augmented by each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="processes of lightly's loader")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: with no workers and no GPU"
    )
    args = parser.parse_args()
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    torch.set_num_threads(1)
    show(
        "augmentation",
        FILMS,
        augmented(args.size, args.turns, clock),
        f"{FILMS} films at {args.size} px, one thread",
    )
    if args.augmentation:
        return
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        write(work / "films", args.films)
        wish = recipe(work, args)
        stuff = material.gather(wish)
        films = len(stuff.train.rows) // args.batch * args.batch
        seconds = timed(wish, stuff, work, args.workers, clock)
    where = "CUDA" if torch.cuda.is_available() else f"{args.threads} threads"
    show(
        "pretraining", films, seconds,
        f"{args.backbone}, NT-Xent, batches of {args.batch} at {args.size} px, {where}, {args.workers} workers for lightly",
    )  # fmt: skip


def show(what: str, films: int, seconds: dict[str, list[float]], how: str) -> None:
    rates = {name: [films / s for s in each[1:]] for name, each in seconds.items()}  # the first warms up
    mine, (peer, others) = next(iter(rates.values())), list(rates.items())[1]
    table = Table(what, "films/s", "from - to", box=None, pad_edge=False)
    for name, each in rates.items():
        table.add_row(name, f"{np.median(each):.1f}", f"{min(each):.1f} - {max(each):.1f}")
    console = Console()
    console.print(how)
    console.print(table)
    tell(Figure(f"{what}, {how}", peer, float(np.median(mine) / np.median(others)), goal=GOALS[what]))


if __name__ == "__main__":
    main()
