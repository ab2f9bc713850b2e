"""How long a bundle's model takes for one film, and how large it is on disk, under each runtime."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch

from hilum.bundles import files
from hilum.bundles.bundle import WEIGHTS, Bundle


def latencies(
    work: Mapping[str, Callable[[], object]], rounds: int = 30, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median milliseconds of each piece of work by `clock`, rounds taken in turn, so that what disturbs the machine for a
    while disturbs all alike. The first two rounds warm and are not counted.
    """
    taken: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 2):
        for name, run in work.items():
            started = clock()
            run()
            if turn > 1:
                taken[name].append(1000 * (clock() - started))
    return {name: median(times) for name, times in taken.items()}


def one_film(bundle: Bundle) -> Callable[[], object]:
    """The work of `bundle`'s model on one prepared film of noise, in the runtime it was loaded for: images to logits."""
    steps = bundle.info.preparation
    image = torch.randn(1, steps.channels, *steps.size, generator=torch.Generator().manual_seed(0))
    if bundle.runtime.name == "torch":
        bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as analysis does
        image = image.to(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode():
            return bundle(image)

    return run


def size_on_disk(path: str | Path, runtime: str = "torch") -> int:
    """Bytes of the files that a runtime needs of the bundle at `path`: its model, or the weights for torch."""
    content = files.read(files.locate(path))
    return sum(len(content[name]) for name in files.EXPORTED.get(runtime, (WEIGHTS,)))
