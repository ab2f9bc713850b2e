"""Phantoms on disk, a manifest of them, and small recipes that learn from them within seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from hilum.datasets import pixel_store, registry
from hilum.datasets.manifest import Manifest
from hilum.learning.recipe import Recipe
from tests.phantom import phantom

HEIGHT, WIDTH = 160, 140
SIDES = ("Right lung", "Left lung")
PATIENTS = 24
"""Two films each; 0 to 17 are for training, 18 to 23 for the test."""


def write_films(folder: Path, patients: int = PATIENTS) -> Path:
    """Films, lung masks and `films.csv`. Mass: lesions in the lungs, of the patient's second film."""
    (folder / "masks").mkdir(parents=True)
    lines = ["path,patient,view,sex,age,split,class,mask,Mass,Effusion"]
    for seed in range(2 * patients):
        patient, ill = seed // 2, seed % 2
        film = phantom(seed, HEIGHT, WIDTH, lesions=14 * ill)
        part = "test" if patient >= 18 else "train"
        cv2.imwrite(str(folder / f"{part}-{seed:02d}.png"), np.rint(film.pixels * 255).astype(np.uint8))
        cv2.imwrite(
            str(folder / "masks" / f"{seed:02d}.png"), np.where(film.lungs > 0, 255, 0).astype(np.uint8)
        )
        effusion = ("", "0", "1")[seed % 3]  # a third of them unknown
        lines.append(
            f"{part}-{seed:02d}.png,p{patient},{'PA' if seed % 3 else 'AP'},{'F' if patient % 2 else 'M'},"
            f"{20 + patient},{part},{'ill' if ill else 'well'},masks/{seed:02d}.png,{ill},{effusion}"
        )
    (folder / "films.csv").write_text("\n".join(lines) + "\n")
    return folder / "films.csv"


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films, masks, `films.csv` and `films.parquet`."""
    folder = tmp_path_factory.mktemp("films") / "data"
    registry.load("csv", write_films(folder)).save(folder / "films.parquet")
    return folder


@pytest.fixture(scope="session")
def manifest(films: Path) -> Manifest:
    return Manifest.load(films / "films.parquet")


@pytest.fixture(scope="session")
def boxed(films: Path) -> Path:
    """A manifest of the phantoms with a box around either lung, by halves of the mask; every third film has none."""
    manifest = Manifest.load(films / "films.parquet")
    found = []
    for number, (image_id, mask) in enumerate(manifest.table.select("image_id", "mask").rows()):
        lungs = cv2.imread(str(manifest.absolute(mask)), cv2.IMREAD_GRAYSCALE) > 0
        for side, name in enumerate(SIDES if number % 3 else ()):
            half = np.zeros_like(lungs)
            middle = lungs.shape[1] // 2
            half[:, side * middle : (side + 1) * middle] = lungs[:, side * middle : (side + 1) * middle]
            ys, xs = np.nonzero(half)
            found.append((image_id, name, xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    columns = {"x1": pl.Float64, "y1": pl.Float64, "x2": pl.Float64, "y2": pl.Float64}
    boxes = pl.DataFrame(found, schema=["image_id", "finding", *columns], orient="row").cast(columns)
    table = manifest.table.with_columns(pl.lit(160).alias("height"), pl.lit(140).alias("width"))
    place = films / "boxed.parquet"
    Manifest(table, boxes, root=manifest.root).save(place)
    return place


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stores are built without worker processes, and torch has one thread, as the processes that get killed."""
    build = pixel_store.build

    def alone(*given: Any, **options: Any) -> pixel_store.PixelStore:
        return build(*given, **{**options, "workers": 0, "progress": False})

    monkeypatch.setattr(pixel_store, "build", functools.wraps(build)(alone))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


SMALL = {"name": "mobilenetv3_small_050", "dropout": 0.2}
UNET = {"encoder": "mobilenetv3_small_050", "widths": [16, 16, 8, 8, 8]}


@pytest.fixture
def recipe(films: Path) -> Callable[..., Recipe]:
    """`recipe(task, **changes)`: one short phase at 32 pixels; a change replaces a section, `data` its fields."""

    def make(task: str = "multilabel", data: dict[str, Any] | None = None, **changes: Any) -> Recipe:
        return Recipe.model_validate(content(films, task, **(data or {})) | changes)

    return make


def content(films: Path, task: str, **data: Any) -> dict[str, Any]:
    """A recipe as YAML would give it."""
    labels = {"multilabel": ["Mass", "Effusion"], "multiclass": ["well", "ill"], "segment": []}[task]
    return {
        "name": f"toy-{task}",
        "task": task,
        "data": {
            "root": str(films),
            "sources": [{"source": "csv", "root": "films.csv"}],
            "labels": labels,
            "split": {"kind": "official", "validation": 0.3, "seed": 1},
            "store": str(films.parent / "stores"),
            **data,
        },
        "preparation": {"size": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]},
        "model": {"name": "unet", "options": UNET}
        if task == "segment"
        else {"name": "timm", "options": SMALL},
        "loss": {"kind": {"multilabel": "bce", "multiclass": "cross_entropy", "segment": "bce_dice"}[task]},
        "augmentation": {"rotation": 5},
        "phases": [{"name": "only", "epochs": 2, "batch": 8, "rate": 2e-3}],
        "bundle": {"title": "Toy", "licence": "Apache-2.0"},
        "seed": 3,
    }


def trained_weights(run: Path) -> dict[str, torch.Tensor]:
    """What the run's bundle holds."""
    from safetensors.torch import load_file

    return load_file(run / "bundle" / "weights.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
