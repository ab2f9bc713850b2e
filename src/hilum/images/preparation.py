"""What is done to a film before a model sees it: data in a bundle, one implementation for training and analysis.

The chain is fixed: cut (the window of a focus), resize, denoise, normalise, CLAHE, quantise. Filters run after the
resize so that a kernel of 5 pixels means the same on a film of 448 and of 3,000 pixels. Quantising is part of the chain
because training reads 8- or 16-bit pixel stores: analysis sees exactly the values that training saw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from hilum.images import enhance
from hilum.images.crop import Window
from hilum.images.placement import Placement

if TYPE_CHECKING:
    import torch

Stored = NDArray[np.uint8] | NDArray[np.uint16]


class Step(BaseModel):
    """`later` names fields that came after the first bundles and pixel stores were written. At their default they are left
    out of what is written, so that a bundle or a store without them keeps its digest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        unset = {
            k for k in self.later if getattr(self, k) == fields[k].get_default(call_default_factory=True)
        }
        return {k: v for k, v in handler(self).items() if k not in unset}


class Median(Step):
    """Median filter; `size` in prepared pixels."""

    kind: Literal["median"] = "median"
    size: int = 3


class Gaussian(Step):
    """Gaussian blur; `size` and `sigma` in prepared pixels."""

    kind: Literal["gaussian"] = "gaussian"
    size: int = 5
    sigma: float = 0.0


class NonLocalMeans(Step):
    """Non-local means; `strength` as a share of full range."""

    kind: Literal["non_local_means"] = "non_local_means"
    strength: float = 0.02
    patch: int = 5
    search: int = 11


class Percentile(Step):
    """Percentiles `low` and `high` become 0 and 1."""

    kind: Literal["percentile"] = "percentile"
    low: float = 0.0
    high: float = 100.0


class UnitVariance(Step):
    """Zero mean, unit variance, `spread` deviations kept on each side."""

    kind: Literal["unit_variance"] = "unit_variance"
    spread: float = 3.0


class Clahe(Step):
    """Contrast-limited adaptive histogram equalisation."""

    clip: float = 2.0
    grid: int = 8


class Focus(Step):
    """The model sees the smallest square around the lungs in place of the whole film (`crop.lung_window`).

    `margin`: on each side, as a share of the longer side of the lungs' box. `segmenter`: the bundle that finds the lungs, by
    a built-in's name or a path. `digest`: of what decides that bundle's masks (`Info.behaviour`), noted when a run begins
    and held to afterwards: another bundle of that name would show the model other films.
    """

    later = frozenset({"digest"})

    kind: Literal["lungs"] = "lungs"
    margin: float = Field(0.05, ge=0, le=1)
    segmenter: str = Field("lungs", min_length=1)
    digest: str | None = None


class Preparation(Step):
    """How a film becomes a model's input.

    `focus`: where it looks; None: at the whole film. With a focus, `place`, `pixels` and `mask` want the film's window.
    `size`: (height, width) in pixels. `aspect`: `squash` ignores the film's shape, `pad` keeps it and fills with
    black, `crop` keeps it and cuts the middle. `mean` and `std` are per channel, on the [0, 1] scale.
    """

    later = frozenset({"focus"})

    size: tuple[int, int]
    focus: Focus | None = None
    aspect: Literal["squash", "pad", "crop"] = "squash"
    denoise: Annotated[Median | Gaussian | NonLocalMeans, Field(discriminator="kind")] | None = None
    normalise: Annotated[Percentile | UnitVariance, Field(discriminator="kind")] | None = None
    clahe: Clahe | None = None
    bits: Literal[8, 16] = 8
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _channels_agree(self) -> Preparation:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std must have {self.channels} values, one a channel")
        if min(self.size) < 8:
            raise ValueError(f"size must be at least 8 x 8 pixels, got {self.size}")
        return self

    @property
    def stored_digest(self) -> str:
        """SHA-256 of everything that decides the stored pixels; names a pixel store."""
        # Where the segmenter lies is not what it is: its digest stands for it.
        left_out: Any = {"channels": True, "mean": True, "std": True, "focus": {"segmenter"}}
        text = self.model_dump_json(exclude=left_out)
        return hashlib.sha256(text.encode()).hexdigest()

    def place(self, source: tuple[int, int], window: Window | None = None) -> Placement:
        """Where a film of (height, width), of which the model sees `window` (None: all), comes to lie in the prepared image.

        Raises ValueError where there is a focus and no window, or the window of a film of another size.
        """
        self._look(source, window)
        if window is None:
            return self._place(source)
        return window.within(self._place((window.height, window.width)))

    def _place(self, source: tuple[int, int]) -> Placement:
        height, width = self.size
        if self.aspect == "squash":
            return Placement(source, self.size, width / source[1], height / source[0], 0.0, 0.0)
        choose = min if self.aspect == "pad" else max
        scale = choose(width / source[1], height / source[0])
        inner_h, inner_w = max(1, round(source[0] * scale)), max(1, round(source[1] * scale))
        left, top = (width - inner_w) // 2, (height - inner_h) // 2
        return Placement(source, self.size, inner_w / source[1], inner_h / source[0], float(left), float(top))

    def pixels(self, film: enhance.Pixels, window: Window | None = None) -> Stored:
        """Film float32 (h, w) in [0, 1], or its `window`, to the stored image, uint8 or uint16 of `size`.

        Raises ValueError as `place` does.
        """
        self._look((film.shape[0], film.shape[1]), window)
        out = self._resized(film if window is None else window.cut(film))
        match self.denoise:
            case Median(size=size):
                out = enhance.median(out, size)
            case Gaussian(size=size, sigma=sigma):
                out = enhance.gaussian(out, size, sigma)
            case NonLocalMeans(strength=strength, patch=patch, search=search):
                out = enhance.non_local_means(out, strength, patch, search)
        match self.normalise:
            case Percentile(low=low, high=high):
                out = enhance.stretch(out, low, high)
            case UnitVariance(spread=spread):
                out = enhance.unit_variance(out, spread)
        if self.clahe is not None:
            out = enhance.clahe(out, self.clahe.clip, self.clahe.grid)
        return quantise(out, self.bits)

    def mask(self, mask: NDArray[np.uint8], window: Window | None = None) -> NDArray[np.uint8]:
        """A mask (h, w) of small integers, or its `window`, laid on the prepared grid by nearest neighbour; padding is 0.

        Raises ValueError as `place` does.
        """
        import cv2

        self._look((mask.shape[0], mask.shape[1]), window)
        mask = mask if window is None else window.cut(mask)
        place = self._place((mask.shape[0], mask.shape[1]))
        inner_h, inner_w = round(place.scale_y * mask.shape[0]), round(place.scale_x * mask.shape[1])
        inner = cv2.resize(mask, (inner_w, inner_h), interpolation=cv2.INTER_NEAREST_EXACT)
        return _fit(inner, self.size, int(place.top), int(place.left))

    def tensor(self, stored: Stored | torch.Tensor) -> torch.Tensor:
        """Stored images (n, h, w) to float32 (n, channels, h, w), normalised by mean and std."""
        import torch

        batch = stored if isinstance(stored, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(stored))
        return self.normalised(batch.to(torch.float32) / (255 if self.bits == 8 else 65535))

    def normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """Images (n, h, w) float in [0, 1] to (n, channels, h, w), normalised by mean and std."""
        mean = batch.new_tensor(self.mean).view(1, -1, 1, 1)
        std = batch.new_tensor(self.std).view(1, -1, 1, 1)
        return (batch[:, None].expand(-1, self.channels, -1, -1) - mean) / std

    def _look(self, source: tuple[int, int], window: Window | None) -> None:
        """That what is asked of is the part of the film that the model sees: a whole film in its place would go unseen."""
        if window is None and self.focus is not None:
            raise ValueError("the preparation has a focus: give the window of the film")
        if window is not None and window.film != source:
            raise ValueError(f"the window is of a film of {window.film} pixels, this one has {source}")

    def _resized(self, film: enhance.Pixels) -> enhance.Pixels:
        place = self._place((film.shape[0], film.shape[1]))
        inner_h, inner_w = round(place.scale_y * film.shape[0]), round(place.scale_x * film.shape[1])
        return _fit(enhance.resize(film, inner_h, inner_w), self.size, int(place.top), int(place.left))


def quantise(pixels: enhance.Pixels, bits: Literal[8, 16]) -> Stored:
    """[0, 1] to the whole range of uint8 or uint16, rounded to nearest."""
    if bits == 8:
        return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)


def _fit(inner: NDArray, size: tuple[int, int], top: int, left: int) -> NDArray:
    """`inner` laid at (top, left) of a black image of `size`; what falls outside is cut."""
    if inner.shape == size:
        return inner
    out = np.zeros(size, inner.dtype)
    height, width = inner.shape
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, size[0]), min(left + width, size[1])
    out[y0:y1, x0:x1] = inner[y0 - top : y1 - top, x0 - left : x1 - left]
    return out
