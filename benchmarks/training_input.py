"""Training input: shuffled batches from the pixel store against folders of JPEGs and PNGs, in one run, as ratios.

    python -m benchmarks.training_input                      # phantoms
    python -m benchmarks.training_input --real ../shared/data # films of ChestX-ray14

Every reader gives the same thing: uint8 batches of 32 at the prepared size, in a new order each epoch. The folder readers
are as fast as this is usually done: OpenCV decodes to grey and resizes by area, in the training process or in two workers
of torch's DataLoader. All files are in the page cache; the readers take turns, and a reader counts with its median
of films a second of wall time: work of the loader's processes is not seen by this one's processor time.
NIH films are 448 pixels here: both folders are resized from them, so that only the cost of decoding is real.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from benchmarks.figures import Figure, tell
from rich.console import Console
from rich.table import Table
from tests.phantom import phantom
from torch.utils.data import DataLoader, Dataset

from hilum.datasets import pixel_store, registry
from hilum.datasets.batches import Batches
from hilum.images.preparation import Preparation

BATCH = 32
GOAL = 20
FOLDERS = {"512 px JPEG": (512, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]), "1024 px PNG": (1024, ".png", [])}

Epoch = Callable[[int], Iterator[torch.Tensor]]


class Folder(Dataset):
    """Films of a folder, decoded and resized when they are asked for."""

    def __init__(self, folder: Path, size: int) -> None:
        self.paths, self.size = sorted(str(p) for p in folder.iterdir()), size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        film = cv2.imread(self.paths[index], cv2.IMREAD_GRAYSCALE)
        return torch.from_numpy(cv2.resize(film, (self.size, self.size), interpolation=cv2.INTER_AREA))


def write(work: Path, count: int, real: Path | None) -> dict[str, Path]:
    """The same films as JPEGs and as PNGs."""
    found = sorted((real / "nih14" / "images").glob("*.jpg"))[:count] if real else []
    if real and len(found) < count:
        raise SystemExit(f"{real} holds {len(found)} films of nih14, not {count}")
    folders = {name: work / name.replace(" ", "-") / "films" for name in FOLDERS}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for i in range(count):
        film = cv2.imread(str(found[i]), cv2.IMREAD_GRAYSCALE) if found else phantom_pixels(i)
        for name, (side, suffix, options) in FOLDERS.items():
            scale = side / max(film.shape)
            sized = cv2.resize(film, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folders[name] / f"{i:05d}{suffix}"), sized, options)
    return folders


def phantom_pixels(seed: int) -> np.ndarray:
    return np.rint(phantom(seed, 1024, 896, lesions=seed % 3).pixels * 255).astype(np.uint8)


def from_store(folder: Path, work: Path, size: int) -> Epoch:
    films = registry.load("class_folders", folder.parent)
    store = pixel_store.build(films, Preparation(size=(size, size)), work / "store")
    batches = Batches(store, store.rows(films.image_ids), size=BATCH, drop_last=True)
    return lambda epoch: (batch.images for batch in batches.epoch(epoch))


def from_folder(loader: DataLoader, epoch: int) -> Iterator[torch.Tensor]:
    torch.manual_seed(epoch)
    return iter(loader)


def rate(epoch: Epoch, first: int, size: int, seconds: float) -> float:
    """Films a second, over whole epochs for at least `seconds`. A batch of any reader is a copy in memory of its own."""
    start, films, number = time.perf_counter(), 0, first
    while time.perf_counter() - start < seconds or not films:
        for batch in epoch(number):
            assert batch.shape[1:] == (size, size)
            films += len(batch)
        number += 1
    return films / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, default=512)
    parser.add_argument("--size", type=int, default=224, help="height and width of the prepared films")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each reader in each turn")
    parser.add_argument("--real", type=Path, metavar="ROOT", help="the folder that holds nih14")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        folders = write(work, args.films, args.real)
        readers: dict[str, Epoch] = {"pixel store": from_store(folders["512 px JPEG"], work, args.size)}
        for workers in (0, 2):
            for name, folder in folders.items():
                loader = DataLoader(
                    Folder(folder, args.size), BATCH, shuffle=True, drop_last=True,
                    num_workers=workers, persistent_workers=workers > 0,
                )  # fmt: skip
                readers[f"{name}, {f'{workers} workers' if workers else 'no workers'}"] = partial(
                    from_folder, loader
                )
        for epoch in readers.values():
            rate(epoch, 0, args.size, 0)  # starts workers, fills the page cache
        rates: dict[str, list[float]] = {name: [] for name in readers}
        for turn in range(args.turns):
            for name, epoch in readers.items():
                rates[name].append(rate(epoch, 1_000 * (turn + 1), args.size, args.seconds))
        show(rates, args)


def show(rates: dict[str, list[float]], args: argparse.Namespace) -> None:
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    store = medians["pixel store"]
    table = Table("reader", "films/s", "from - to", "the store is faster by", box=None, pad_edge=False)
    for name, median in medians.items():
        spread = f"{min(rates[name]):.0f} - {max(rates[name]):.0f}"
        table.add_row(
            name, f"{median:.0f}", spread, "" if name == "pixel store" else f"{store / median:.1f} times"
        )
    console = Console()
    what = "films of ChestX-ray14" if args.real else "phantoms"
    console.print(
        f"{args.films} {what}, batches of {BATCH} at {args.size} px, {args.turns} turns of {args.seconds:g} s;"
        " films a second by the clock on the wall, for workers' time is no time of this process: on a busy machine trust"
        " the ratios, and the spread"
    )
    console.print(table)
    least = min(store / median for name, median in medians.items() if name != "pixel store")
    tell(
        Figure(
            f"training input at {args.size} px",
            "the fastest folder reader of OpenCV and DataLoader",
            least,
            goal=GOAL,
        )
    )


if __name__ == "__main__":
    main()
