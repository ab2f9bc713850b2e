"""Fourteen heatmaps of one film: ours from one forward pass, beside fourteen calls of pytorch-grad-cam, with the same maps.

    python -m benchmarks.heatmaps [--method grad_cam_plus_plus] [--name densenet121] [--size 224] [--threads 2]

Both start from the prepared film and end with fourteen maps on its pixels; theirs is GradCAM or GradCAMPlusPlus over the
backbone, one target a call. The maps are held to each other within 1e-4 before anything is timed. Rounds are taken in turn;
the goal is 10 times as fast. Needs the package grad-cam.

`--method grad_cam_plus_plus`: theirs adds 1e-6 where it divides by squared gradients, which at the size of a network's own
gradients changes the maps; so for both the head's weights are taken 65,536 times as large.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from benchmarks.figures import Figure, tell
from numpy.typing import NDArray
from torch import Tensor

from hilum.analysis.heatmaps import heatmaps
from hilum.bundles.speed import latencies
from hilum.images.preparation import Preparation
from hilum.models import Classifier, build

LABELS = 14
LARGER = 65536.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--method", default="cam", choices=("cam", "grad_cam_plus_plus"))
    parser.add_argument("--name", default="densenet121")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = build("timm", outputs=LABELS, name=options.name).eval()
    assert isinstance(model, Classifier)
    if options.method == "grad_cam_plus_plus":
        with torch.no_grad():
            model.class_weights(torch.zeros(1, 1)).mul_(LARGER)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    film = torch.randn(1, 3, options.size, options.size).to(memory_format=torch.channels_last)
    work: dict[str, Callable[[], list[NDArray[np.float32]]]] = {
        "ours": lambda: ours(model, film, options.method),
        "pytorch-grad-cam": theirs(model, film, options.method),
    }
    apart = distance(*(run() for run in work.values()))
    assert apart < 1e-4, f"the maps differ by {apart:.1e}"
    mine, other = latencies(work, options.rounds).values()
    print(
        f"{options.method}, {LABELS} maps, {options.name} at {options.size} px, {options.threads} threads, median of"
        f" {options.rounds} rounds, ms; largest difference {apart:.1e}"
    )
    print(f"ours, one pass                {mine:9.1f}")
    print(f"pytorch-grad-cam, {LABELS} calls   {other:9.1f}")
    tell(Figure(f"{LABELS} heatmaps of a film, {options.name}", "pytorch-grad-cam", other / mine, goal=10))


@torch.inference_mode()
def ours(model: Classifier, film: Tensor, method: str) -> list[NDArray[np.float32]]:
    size = film.shape[-2], film.shape[-1]
    place = Preparation(size=size, aspect="squash").place(size)
    features = model.feature_map(film)
    return heatmaps(features, model.class_weights(model.pool(features)), place, method)  # type: ignore[arg-type]


def theirs(model: Classifier, film: Tensor, method: str) -> Callable[[], list[NDArray[np.float32]]]:
    """Their fourteen calls, made ready: hooks stand before the clock starts."""
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kind = GradCAM if method == "cam" else GradCAMPlusPlus
    judge = kind(model=Whole(model), target_layers=[Map.of(model)])
    return lambda: [judge(film, [ClassifierOutputTarget(label)])[0] for label in range(LABELS)]


class Map(torch.nn.Module):
    """A module whose output is the last feature map, for their hooks."""

    @classmethod
    def of(cls, model: Classifier) -> Map:
        if not hasattr(model, "noted_map"):
            model.noted_map = cls()
        return model.noted_map  # type: ignore[return-value]

    def forward(self, features: Tensor) -> Tensor:
        return features * 1  # a tensor of its own, whose gradient their hook takes


class Whole(torch.nn.Module):
    """The model with its feature map passed through `Map`."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model, self.map = model, Map.of(model)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model.head(self.model.pool(self.map(self.model.feature_map(images))))
        return logits


def distance(ours: list[NDArray[np.float32]], theirs: list[NDArray[np.float32]]) -> float:
    """The largest difference of two maps of a label; theirs are stretched so that the coldest point is 0."""
    assert sum(bool(heat.any()) for heat in ours) > LABELS // 2
    stretched = [(heat - heat.min()) / max(float(np.ptp(heat)), 1e-7) for heat in ours]
    return max(float(np.abs(a - b).max()) for a, b in zip(stretched, theirs, strict=True))


if __name__ == "__main__":
    main()
