"""YOLOv5s beside PyPI's `yolov5`: one film through the network, and a training step, as ratios of time.

    pip install --target PEER --no-deps yolov5
    python -m benchmarks.yolov5 PEER [--size 640] [--rounds 20] [--scale s] [--threads 2]

The peer (GPL) is a benchmark's guest, never a dependency. Of what it imports only torch, numpy and the like are asked for;
the rest (downloads, plots) is stood in for. Both get the same weights, drawn at random, and the same three-channel input;
their outputs, loss and weights after one step must agree within 1e-4 before a clock starts. They take turns; medians. The
peer predicts as its users have it, with batch norm folded into convolutions. Ours runs in torch, and in the exported forms
that the extra `export` gives (INT8 takes its ranges from noise here: it is timed, not judged). A training step is forward,
loss, backward and SGD with a batch of 8.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hilum.bundles.export import onnx_graph, openvino_graph
from hilum.bundles.files import EXPORTED
from hilum.bundles.runtimes import opened
from hilum.learning.yolo_loss import Gains, yolo_loss
from hilum.models.yolov5 import YOLOv5

CLASSES, BATCH, CHANNELS = 14, 8, 3
TOLERANCE = 1e-4
STOOD_IN = (
    "requests", "seaborn", "thop", "ultralytics", "ultralytics.utils", "ultralytics.utils.checks",
    "ultralytics.utils.patches", "ultralytics.utils.plotting", "huggingface_hub", "huggingface_hub.utils",
    "huggingface_hub.utils._errors", "tqdm.auto", "git", "boto3", "roboflow", "fire", "sahi", "pandas",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", type=Path)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--scale", default="s")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    theirs, compute_loss = peer(given.peer, given.scale)
    ours = YOLOv5(CLASSES, given.scale, channels=CHANNELS, size=(given.size, given.size))
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(1, CHANNELS, given.size, given.size)
    agree(theirs, ours, images)
    learn_alike(theirs, ours, compute_loss, given.size)
    told("one film", inference(theirs, ours, images, given.rounds, given.threads))
    told(
        f"a training step of {BATCH} films",
        training(theirs, ours, compute_loss, given.size, given.rounds // 4),
    )


def peer(folder: Path, scale: str) -> tuple[Any, Any]:
    """The package's model with random weights, and its loss."""
    sys.path.insert(0, str(folder))
    for name in STOOD_IN:
        try:
            __import__(name)
        except ImportError:
            sys.modules[name] = MagicMock()
    import packaging.version

    sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=packaging.version.parse)  # type: ignore[assignment]
    from yolov5.models.yolo import Model
    from yolov5.utils.loss import ComputeLoss

    model = Model(str(folder / "yolov5" / "models" / f"yolov5{scale}.yaml"), ch=CHANNELS, nc=CLASSES)
    return model, ComputeLoss


@torch.inference_mode()
def agree(theirs: Any, ours: YOLOv5, images: Tensor) -> None:
    wanted = theirs.eval()(images)[0]
    apart = float((ours.eval().decode(ours(images)) - wanted).abs().max())
    if not apart < TOLERANCE:
        raise SystemExit(f"outputs differ by {apart:.2g}: nothing is timed")
    print(f"outputs agree within {apart:.1g}")


def inference(theirs: Any, ours: YOLOv5, images: Tensor, rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each way to look at one film, in turns."""
    fused = copy.deepcopy(theirs).eval().fuse()
    last = images.contiguous(memory_format=torch.channels_last)
    own = copy.deepcopy(ours).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    ways: dict[str, Callable[[], Any]] = {
        "yolov5, torch": lambda: fused(images),
        "ours, torch": lambda: own.detect(last),
    }
    graph = onnx_graph(ours, CHANNELS, (images.shape[-2], images.shape[-1]))
    noise = [np.random.default_rng(i).random(images.shape, np.float32) for i in range(16)]
    made = {
        "onnx": {"onnx": graph},
        "openvino": openvino_graph(graph, None),
        "int8": openvino_graph(graph, noise),
    }
    given = images.numpy()
    with tempfile.TemporaryDirectory() as place:
        for form, parts in made.items():
            run = opened(form, dict(zip(EXPORTED[form], parts.values(), strict=True)), threads, place)
            ways[f"ours, {form}"] = lambda run=run: run(given)
        with torch.inference_mode():
            return timed(ways, rounds)


def learn_alike(theirs: Any, ours: YOLOv5, compute_loss: Any, size: int) -> None:
    """One step of both from the same weights must give the same loss and the same weights."""
    theirs, ours = copy.deepcopy(theirs), copy.deepcopy(ours)
    losses = [step() for step in steps(theirs, ours, compute_loss, size).values()]
    wanted = theirs.state_dict()
    apart = max(float((v - wanted[k]).abs().max()) for k, v in ours.state_dict().items())
    off = abs(losses[0] - losses[1]) / losses[0]
    if not max(off, apart) < TOLERANCE:
        raise SystemExit(f"losses differ by {off:.2g}, weights after a step by {apart:.2g}: nothing is timed")
    print(f"losses agree within {off:.1g} of them, weights after one step within {apart:.1g}")


def training(theirs: Any, ours: YOLOv5, compute_loss: Any, size: int, rounds: int) -> dict[str, list[float]]:
    return timed(steps(copy.deepcopy(theirs), copy.deepcopy(ours), compute_loss, size), rounds)


def steps(theirs: Any, ours: YOLOv5, compute_loss: Any, size: int) -> dict[str, Callable[[], float]]:
    """A training step of each on the same images and boxes; it gives the loss before it."""
    gains = Gains().scaled(CLASSES, size)
    theirs.train()
    ours.train()
    theirs.hyp = {
        "box": gains.box, "obj": gains.objectness, "cls": gains.classes, "cls_pw": 1.0, "obj_pw": 1.0,
        "anchor_t": 4.0, "fl_gamma": 0.0, "label_smoothing": 0.0,
    }  # fmt: skip
    images = torch.rand(BATCH, CHANNELS, size, size, generator=torch.Generator().manual_seed(0))
    chance = np.random.default_rng(0)
    boxes = np.column_stack(
        [
            np.repeat(np.arange(BATCH), 4),
            chance.integers(0, CLASSES, 4 * BATCH),
            chance.uniform(0.3, 0.7, (4 * BATCH, 2)) * size,
            chance.uniform(0.05, 0.4, (4 * BATCH, 2)) * size,
        ]
    )
    truth = torch.tensor(boxes, dtype=torch.float32)
    shares = truth.clone()
    shares[:, 2:] /= size
    criterion = compute_loss(theirs)
    own = ours.detect_layer.anchors

    def of_ours(maps: Any) -> Tensor:
        return yolo_loss(maps, truth, own, ours.strides, gains)[0]

    def step(model: Any, loss: Callable[[Any], Tensor]) -> Callable[[], float]:
        optimiser = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9, nesterov=True)

        def once() -> float:
            value = loss(model(images))
            value.backward()
            optimiser.step()
            optimiser.zero_grad()
            return float(value)

        return once

    return {
        "yolov5, torch": step(theirs, lambda maps: criterion(maps, shares)[0]),
        "ours, torch": step(ours, of_ours),
    }


def timed(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:  # the first warms up
                taken[name].append(time.perf_counter() - started)
    return taken


def told(what: str, taken: dict[str, list[float]]) -> None:
    table = Table("way", "ms", "times as fast", title=f"{what}, median of {len(next(iter(taken.values())))}")
    first = median(next(iter(taken.values())))
    for name, seconds in taken.items():
        table.add_row(name, f"{1000 * median(seconds):.0f}", f"{first / median(seconds):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
