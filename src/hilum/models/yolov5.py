"""YOLOv5 (Jocher et al. 2020, release 6): CSPDarknet with SPPF, a path aggregation neck, and three scales of anchors.

The modules stand in the published order under the published names (`model.0` to `model.24`), so that a published state
dict fits by name. Sizes n, s, m, l and x differ in width and depth alone. Each scale gives, a cell and an anchor, the four
numbers of a box, an objectness and a number a class; `YOLOv5.decode` makes boxes of them:

    centre = (2 sigmoid(t) - 0.5 + cell) * stride,   size = (2 sigmoid(t))^2 * anchor
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hilum.errors import BundleError, RecipeError
from hilum.models.contract import Detector
from hilum.models.pretrained import read_weights
from hilum.models.registry import register

SIZES: dict[str, tuple[float, float]] = {
    "n": (0.25, 1 / 3),
    "s": (0.5, 1 / 3),
    "m": (0.75, 2 / 3),
    "l": (1.0, 1.0),
    "x": (1.25, 4 / 3),
}
"""Width and depth, as multiples of size l."""

Anchors = tuple[tuple[tuple[float, float], ...], ...]
COCO_ANCHORS: Anchors = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)
"""Width and height in pixels of 640-pixel images, for each stride; fitted to COCO."""
STRIDES = (8, 16, 32)


class Conv(nn.Module):
    """Convolution without bias, batch norm, SiLU."""

    def __init__(
        self, below: int, width: int, kernel: int = 1, stride: int = 1, pad: int | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(below, width, kernel, stride, kernel // 2 if pad is None else pad, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3, and what came in added where `shortcut`."""

    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(width, width), Conv(width, width, 3)
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv2(self.cv1(x))
        return x + out if self.add else out


class C3(nn.Module):
    """A cross-stage partial block with three convolutions and `repeats` bottlenecks."""

    def __init__(self, below: int, width: int, repeats: int, shortcut: bool = True) -> None:
        super().__init__()
        half = width // 2
        self.cv1, self.cv2, self.cv3 = Conv(below, half), Conv(below, half), Conv(2 * half, width)
        self.m = nn.Sequential(*(Bottleneck(half, shortcut) for _ in range(repeats)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return out


class SPPF(nn.Module):
    """Spatial pyramid pooling by one 5x5 maximum taken three times."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(below, below // 2), Conv(2 * below, width)
        self.m = nn.MaxPool2d(5, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.cv1(x)]
        for _ in range(3):
            steps.append(self.m(steps[-1]))
        out: Tensor = self.cv2(torch.cat(steps, 1))
        return out


class Concat(nn.Module):
    """Beside each other, along the channels."""

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts, 1)


class Detect(nn.Module):
    """A 1x1 convolution a scale; `anchors` (scales, anchors, 2) are kept in cells, as published weights do."""

    anchors: Tensor

    def __init__(self, classes: int, anchors: Anchors, widths: tuple[int, ...]) -> None:
        super().__init__()
        pixels = torch.tensor(anchors, dtype=torch.float32)
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES).view(-1, 1, 1))
        self.numbers = 5 + classes
        self.m = nn.ModuleList(nn.Conv2d(width, self.numbers * len(anchors[0]), 1) for width in widths)
        # Objects are rare: some 8 in an image of 640 pixels; classes begin alike, at 0.6 over their number.
        for conv, stride in zip(self.m, STRIDES, strict=True):
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            with torch.no_grad():
                bias = conv.bias.view(len(anchors[0]), -1)
                bias[:, 4] += math.log(8 / (640 / stride) ** 2)
                bias[:, 5:] += math.log(0.6 / (classes - 0.99999))

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        maps = []
        for conv, x in zip(self.m, features, strict=True):
            n, _, height, width = x.shape
            maps.append(conv(x).view(n, -1, self.numbers, height, width).permute(0, 1, 3, 4, 2).contiguous())
        return maps


# (what each module reads, module): -1 the one before, numbers those kept for later.
Plan = list[tuple[int | list[int], nn.Module]]


@register("yolov5")
class YOLOv5(Detector):
    """YOLOv5 of `scale` n, s, m, l or x: boxes at three strides, by anchors.

    `outputs`: classes. `anchors`: width and height in pixels, as many for each stride of 8, 16 and 32. `pretrained`: None or
    the path of a .safetensors file with a state dict of the published names; of other classes all but the last convolutions
    are taken, and for one channel the first convolution's weights are summed over its channels.
    """

    strides = STRIDES
    loss = "yolo"

    def __init__(
        self,
        outputs: int = 14,
        scale: str = "s",
        anchors: Anchors = COCO_ANCHORS,
        pretrained: str | Path | None = None,
        channels: int = 1,
        size: tuple[int, int] = (640, 640),
    ) -> None:
        super().__init__()
        if scale not in SIZES:
            raise RecipeError(f"there is no YOLOv5 of scale {scale!r}", mend=f"Choose of {', '.join(SIZES)}")
        if len(anchors) != len(STRIDES) or len({len(each) for each in anchors}) != 1:
            raise RecipeError(f"`anchors` wants as many pairs for each of {len(STRIDES)} strides")
        self.channels, self.input_size = channels, tuple(size)
        self.mean, self.std = (0.0,) * channels, (1.0,) * channels
        plan = _plan(outputs, *SIZES[scale], anchors, channels)
        self.model = nn.ModuleList(module for _, module in plan)
        self.reads = [reads for reads, _ in plan]
        if pretrained is not None:
            self._load(pretrained)

    @property
    def detect_layer(self) -> Detect:
        last = self.model[-1]
        assert isinstance(last, Detect)
        return last

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images (n, channels, h, w), sides divisible by 32, to a map a stride: (n, anchors, h', w', 5 + classes) logits."""
        kept: list[Any] = []
        x: Any = images
        for reads, module in zip(self.reads, self.model, strict=True):
            given = x if reads == -1 else [x if r == -1 else kept[r] for r in reads]  # type: ignore[union-attr]
            x = module(given)
            kept.append(x)
        maps: list[Tensor] = x
        return maps

    def decode(self, maps: list[Tensor]) -> Tensor:
        """Maps to candidates (n, k, 5 + classes): x, y of the centre, width, height in input pixels, then probabilities."""
        out = []
        for values, anchors, stride in zip(maps, self.detect_layer.anchors, STRIDES, strict=True):
            n, count, height, width, numbers = values.shape
            y, x = torch.meshgrid(
                torch.arange(height, device=values.device),
                torch.arange(width, device=values.device),
                indexing="ij",
            )
            cells = torch.stack((x, y), -1).to(values.dtype)
            p = values.sigmoid()
            centre = (2 * p[..., :2] - 0.5 + cells) * stride
            size = (2 * p[..., 2:4]) ** 2 * (anchors * stride).view(1, count, 1, 1, 2)
            out.append(torch.cat((centre, size, p[..., 4:]), -1).view(n, -1, numbers))
        return torch.cat(out, 1)

    def boxes(self, maps: list[Tensor]) -> tuple[Tensor, Tensor]:
        """By their corners; the score is objectness times class."""
        found = self.decode(maps)
        centre, half = found[..., :2], found[..., 2:4] / 2
        return torch.cat((centre - half, centre + half), -1), found[..., 4:5] * found[..., 5:]

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """All but the last convolutions."""
        last = {id(p) for p in self.detect_layer.parameters()}
        return (p for p in self.parameters() if id(p) not in last)

    def _load(self, path: str | Path) -> None:
        tensors, own = read_weights(path), self.state_dict()
        first = "model.0.conv.weight"
        if first in tensors and self.channels == 1 and tensors[first].shape[1] == 3:
            tensors[first] = tensors[first].sum(1, keepdim=True)
        last = f"model.{len(self.model) - 1}."
        body = {k: v for k, v in own.items() if not k.startswith(last)}
        wrong = [k for k, v in body.items() if k not in tensors or tensors[k].shape != v.shape]
        wrong = [k for k in wrong if not k.endswith("num_batches_tracked")]
        if wrong:
            raise BundleError(
                f"these weights do not fit ({len(wrong)} tensors are missing or of another shape, such as {wrong[0]})",
                path=path,
                mend="Give weights of the same size, with the published names",
            )
        fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
        whole = all(k in fitting for k in own if k.startswith(last) and not k.endswith("anchors"))
        self.load_state_dict(
            fitting if whole else {k: v for k, v in fitting.items() if k in body}, strict=False
        )


def _plan(classes: int, width: float, depth: float, anchors: Anchors, channels: int) -> Plan:
    """The published modules in their order, each with what it reads."""

    def w(full: int) -> int:
        return math.ceil(full * width / 8) * 8

    def d(full: int) -> int:
        return max(round(full * depth), 1)

    def up() -> nn.Module:
        return nn.Upsample(scale_factor=2, mode="nearest")

    c1, c2, c3, c4, c5 = (w(full) for full in (64, 128, 256, 512, 1024))
    return [
        (-1, Conv(channels, c1, 6, 2, 2)),
        (-1, Conv(c1, c2, 3, 2)),
        (-1, C3(c2, c2, d(3))),
        (-1, Conv(c2, c3, 3, 2)),
        (-1, C3(c3, c3, d(6))),
        (-1, Conv(c3, c4, 3, 2)),
        (-1, C3(c4, c4, d(9))),
        (-1, Conv(c4, c5, 3, 2)),
        (-1, C3(c5, c5, d(3))),
        (-1, SPPF(c5, c5)),
        (-1, Conv(c5, c4)),
        (-1, up()),
        ([-1, 6], Concat()),
        (-1, C3(2 * c4, c4, d(3), shortcut=False)),
        (-1, Conv(c4, c3)),
        (-1, up()),
        ([-1, 4], Concat()),
        (-1, C3(2 * c3, c3, d(3), shortcut=False)),
        (-1, Conv(c3, c3, 3, 2)),
        ([-1, 14], Concat()),
        (-1, C3(2 * c3, c4, d(3), shortcut=False)),
        (-1, Conv(c4, c4, 3, 2)),
        ([-1, 10], Concat()),
        (-1, C3(2 * c4, c5, d(3), shortcut=False)),
        ([17, 20, 23], Detect(classes, anchors, (c3, c4, c5))),
    ]
