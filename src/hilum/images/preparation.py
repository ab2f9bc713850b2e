"""What is done to a film before a model sees it: data in a bundle, one implementation for training and analysis.

The chain is fixed: hide (masking), cut (the window of a focus), resize, denoise, normalise, CLAHE, hide again, quantise.
Filters run after the resize so that a kernel of 5 pixels means the same on a film of 448 and of 3,000 pixels. What is masked
is hidden first, on the film's own grid, so that none of it reaches its neighbours by resize or filter; normalising asks only
what is left; and it is hidden again last, for CLAHE makes patterns of a flat area. Quantising is part of the chain because
training reads 8- or 16-bit pixel stores: analysis sees exactly the values that training saw.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hilum.images import enhance
from hilum.images.covers import cover
from hilum.images.crop import Kind, Window
from hilum.images.masking import lettering, outside_body
from hilum.images.placement import Placement
from hilum.images.steps import (
    Body,
    Clahe,
    Focus,
    Gaussian,
    Letters,
    Median,
    NearLungs,
    NonLocalMeans,
    Percentile,
    Step,
    UnitVariance,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "Body",
    "Clahe",
    "Focus",
    "Gaussian",
    "Letters",
    "Median",
    "NearLungs",
    "NonLocalMeans",
    "Percentile",
    "Preparation",
    "Step",
    "Stored",
    "UnitVariance",
    "quantise",
]

Stored = NDArray[np.uint8] | NDArray[np.uint16]

LEAST_LEFT = 0.05  # of what the model would see: masking that leaves less has gone wrong, and hides nothing


class Preparation(Step):
    """How a film becomes a model's input.

    `focus`: where it looks; None: at the whole film. `masking`: what is hidden of it; None: nothing. Hidden pixels take the
    mean of what is left, a value that the film has and that tells nothing of what was there; geometry does not change. With
    a focus, or where masking goes by the lungs, `place`, `pixels` and `mask` want the film's window.
    `size`: (height, width) in pixels. `aspect`: `squash` ignores the film's shape, `pad` keeps it and fills with
    black, `crop` keeps it and cuts the middle. `mean` and `std` are per channel, on the [0, 1] scale.
    """

    later = frozenset({"focus", "masking"})

    size: tuple[int, int]
    focus: Focus | None = None
    masking: Annotated[Body | NearLungs | Letters, Field(discriminator="kind")] | None = None
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
        wanting = {
            (s.segmenter, s.digest) for s in (self.focus, self.masking) if isinstance(s, Focus | NearLungs)
        }
        if len(wanting) > 1:
            raise ValueError("focus and masking must go by the lungs of one segmenter")
        return self

    @property
    def by_lungs(self) -> Focus | NearLungs | None:
        """The step that wants lungs, and names the segmenter that finds them; None where a film is enough."""
        return self.focus or (self.masking if isinstance(self.masking, NearLungs) else None)

    def with_segmenter(self, **changes: str | None) -> Preparation:
        """With another `segmenter` or `digest` in every step that wants lungs."""
        steps = {"focus": self.focus, "masking": self.masking}
        wanting = {k: v for k, v in steps.items() if isinstance(v, Focus | NearLungs)}
        return self.model_copy(update={k: v.model_copy(update=changes) for k, v in wanting.items()})

    @property
    def stored_digest(self) -> str:
        """SHA-256 of everything that decides the stored pixels; names a pixel store."""
        # Where the segmenter lies is not what it is: its digest stands for it.
        left_out: Any = {
            "channels": True,
            "mean": True,
            "std": True,
            "focus": {"segmenter"},
            "masking": {"segmenter"},
        }
        text = self.model_dump_json(exclude=left_out)
        return hashlib.sha256(text.encode()).hexdigest()

    def place(self, source: tuple[int, int], window: Window | None = None) -> Placement:
        """Where a film of (height, width), of which the model sees `window` (None: all), comes to lie in the prepared image.

        Raises ValueError where the lungs are asked for and there is no window, or the window of a film of another size.
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
        hidden = left = None
        away = self.hidden(film, window)
        if away is not None:
            film = cover(film, away)
            hidden = self._resized(_cut(away, window).astype(np.float32)) >= 0.5
            left = ~hidden & self._filled(_cut(away, window).shape)
        out = self._resized(_cut(film, window))
        match self.denoise:
            case Median(size=size):
                out = enhance.median(out, size)
            case Gaussian(size=size, sigma=sigma):
                out = enhance.gaussian(out, size, sigma)
            case NonLocalMeans(strength=strength, patch=patch, search=search):
                out = enhance.non_local_means(out, strength, patch, search)
        match self.normalise:
            case Percentile(low=low, high=high):
                out = enhance.stretch(out, low, high, left)
            case UnitVariance(spread=spread):
                out = enhance.unit_variance(out, spread, left)
        if self.clahe is not None:
            out = enhance.clahe(out, self.clahe.clip, self.clahe.grid)
        if hidden is not None:
            out = np.where(hidden, out[left].mean(dtype=np.float64), out).astype(np.float32)
        return quantise(out, self.bits)

    def hidden(self, film: enhance.Pixels, window: Window | None = None) -> NDArray[np.bool_] | None:
        """The pixels (h, w) of the film that masking hides; None for none, and where it would leave nothing to see."""
        match self.masking:
            case Body(letters=text):
                away = outside_body(film)
            case NearLungs():
                away, text = None if window is None or window.clear is None else ~window.clear, False
            case Letters():
                away, text = None, True
            case None:
                return None
        if text:
            written = lettering(film)
            away = written if away is None else away | written
        if away is None or not _cut(away, window).any():
            return None
        return away if _cut(away, window).mean() <= 1 - LEAST_LEFT else None

    def mask(self, mask: NDArray[np.uint8], window: Window | None = None) -> NDArray[np.uint8]:
        """A mask (h, w) of small integers, or its `window`, laid on the prepared grid by nearest neighbour; padding is 0.

        Raises ValueError as `place` does.
        """
        import cv2

        self._look((mask.shape[0], mask.shape[1]), window)
        mask = _cut(mask, window)
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
        if window is None and self.by_lungs is not None:
            step = "focus" if self.focus is not None else "masking by the lungs"
            raise ValueError(f"the preparation has a {step}: give the window of the film")
        if window is not None and window.film != source:
            raise ValueError(f"the window is of a film of {window.film} pixels, this one has {source}")

    def _filled(self, source: tuple[int, ...]) -> NDArray[np.bool_]:
        """Which prepared pixels a source of (height, width) fills: all but the padding."""
        place = self._place((source[0], source[1]))
        inner = np.ones((round(place.scale_y * source[0]), round(place.scale_x * source[1])), bool)
        return _fit(inner, self.size, int(place.top), int(place.left))

    def _resized(self, film: enhance.Pixels) -> enhance.Pixels:
        place = self._place((film.shape[0], film.shape[1]))
        inner_h, inner_w = round(place.scale_y * film.shape[0]), round(place.scale_x * film.shape[1])
        return _fit(enhance.resize(film, inner_h, inner_w), self.size, int(place.top), int(place.left))


def quantise(pixels: enhance.Pixels, bits: Literal[8, 16]) -> Stored:
    """[0, 1] to the whole range of uint8 or uint16, rounded to nearest."""
    if bits == 8:
        return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    return np.rint(np.clip(pixels, 0, 1) * 65535).astype(np.uint16)


def _cut(image: NDArray[Kind], window: Window | None) -> NDArray[Kind]:
    return image if window is None else window.cut(image)


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
