"""What other programs take from DICOM files to scores; a process for each, started by `benchmarks.film_to_scores`.

    python -m benchmarks.film_to_scores_peers NAME WEIGHTS FILM...

Prints one line of JSON: films a second, the share of the cores in use, and milliseconds of a film alone (uncompressed, JPEG
2000). Each is written as its own documentation or examples have it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import numpy as np
import torch

import hilum.models  # noqa: F401  before torchxrayvision, which imports torchvision

BATCH = 16
ALONE = 4  # films timed one at a time

Run = Callable[[list[str]], Iterable[torch.Tensor]]
"""Scores of films, in their order."""


def network(weights: str) -> torch.nn.Module:
    import torchxrayvision as xrv

    model = xrv.models.DenseNet(num_classes=18)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model.eval()


def torchxrayvision(model: torch.nn.Module, engine: str) -> Run:
    """As its `scripts/process_image.py`: read, crop, resize, one film at a time."""
    import torchvision.transforms as transforms
    import torchxrayvision as xrv
    from torchxrayvision.utils import read_xray_dcm

    steps = transforms.Compose([xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(224, engine=engine)])

    def run(paths: list[str]) -> Iterable[torch.Tensor]:
        for path in paths:
            image = steps(read_xray_dcm(path, voi_lut=True)[None])
            yield model(torch.from_numpy(image)[None])

    return run


def plain_loop(model: torch.nn.Module) -> Run:
    """A dataset of pydicom's pixels and OpenCV's resize, a loader with a worker a core, batches."""

    def run(paths: list[str]) -> Iterable[torch.Tensor]:
        loader = torch.utils.data.DataLoader(
            PlainFilms(paths), BATCH, num_workers=(len(paths) > 1 and CORES) or 0
        )
        for images in loader:
            yield from model(images)

    return run


class PlainFilms(torch.utils.data.Dataset):
    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        import cv2
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut

        ds = pydicom.dcmread(self.paths[number])
        values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(np.float32)
        if ds.PhotometricInterpretation == "MONOCHROME1":
            values = values.max() - values
        values = (values - values.min()) / max(values.max() - values.min(), 1e-6) * 2048 - 1024
        return torch.from_numpy(cv2.resize(values, (224, 224), interpolation=cv2.INTER_AREA)[None])


def monai(model: torch.nn.Module) -> Run:
    """Its transforms and dataset, with its loader of a worker a core."""
    from monai.data import DataLoader, Dataset, PydicomReader
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Resize, ScaleIntensity

    steps = Compose(
        [
            LoadImage(reader=PydicomReader(), image_only=True),
            EnsureChannelFirst(),
            ScaleIntensity(-1024, 1024),
            SqueezeDepth(),
            Resize((224, 224)),
        ]
    )

    def run(paths: list[str]) -> Iterable[torch.Tensor]:
        workers = CORES if len(paths) > 1 else 0
        for images in DataLoader(Dataset(paths, steps), batch_size=BATCH, num_workers=workers):
            yield from model(images.as_tensor())

    return run


class SqueezeDepth:
    """MONAI reads a film as a volume of one slice where its reader gives three axes."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image[..., 0] if image.ndim == 4 else image


CORES = len(os.sched_getaffinity(0))


@torch.inference_mode()
def main() -> None:
    warnings.simplefilter("ignore")
    name, weights, *paths = sys.argv[1:]
    model = network(weights)
    torch.set_num_threads(CORES)
    makers: dict[str, Callable[[], Run]] = {
        "torchxrayvision": lambda: torchxrayvision(model, "skimage"),
        "torchxrayvision, OpenCV": lambda: torchxrayvision(model, "cv2"),
        "plain loop": lambda: plain_loop(model),
        "MONAI": lambda: monai(model),
    }
    run = makers[name]()
    alone: list[list[float]] = [[], []]
    for number, path in enumerate(paths[:ALONE]):
        started = time.perf_counter()
        list(run([path]))
        alone[number % 2].append(1000 * (time.perf_counter() - started))
    started, before = time.perf_counter(), cpu_seconds()
    scores = list(run(paths))
    wall, used = time.perf_counter() - started, cpu_seconds() - before
    assert len(scores) == len(paths)
    found = {
        "films": len(paths) / wall,
        "ms": 1000 * used / len(paths),
        "use": used / wall / CORES,
        "alone": [median(times[1:]) for times in alone],
    }
    print(json.dumps(found), file=sys.stdout)


def cpu_seconds() -> float:
    return sum(
        u.ru_utime + u.ru_stime
        for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
