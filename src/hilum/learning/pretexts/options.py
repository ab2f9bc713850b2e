"""The loss section of a recipe that learns from films without labels: which pretexts, and how much each counts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

NAMES = ("rotation", "colour", "patches", "pixels", "contrast", "triplet")
"""The pretexts, each a field of `PretextLoss` that holds its weight."""


class PretextLoss(BaseModel):
    """Pretext tasks, any of them at once: the loss is the sum of each one's, times its weight; 0: left out.

    Attributes
    ----------
    rotation: by how many quarters was the film turned? colour: the film's pseudo-colours. patches: which words of a
        vocabulary stand where a fifth of the film is masked? pixels: what is there where three quarters are masked?
        contrast: which two views are of one film (NT-Xent)? triplet: the same, by a margin.
    patch: side of a masked patch in pixels; it must divide the films' sides. masked: share of patches masked for `patches`.
    pixels_masked: the same for `pixels`. vocabulary: words for patches, fitted on training films.
    temperature: of NT-Xent. margin: of the triplets, in squared distances of embeddings of length 1 (from 0 to 4).
    projection: width of what `contrast` and `triplet` compare.
    probe_every: epochs from one probe of the embeddings to the next. neighbours: of the k-NN probe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pretext"] = "pretext"
    rotation: float = Field(0.0, ge=0, allow_inf_nan=False)
    colour: float = Field(0.0, ge=0, allow_inf_nan=False)
    patches: float = Field(0.0, ge=0, allow_inf_nan=False)
    pixels: float = Field(0.0, ge=0, allow_inf_nan=False)
    contrast: float = Field(0.0, ge=0, allow_inf_nan=False)
    triplet: float = Field(0.0, ge=0, allow_inf_nan=False)
    patch: int = Field(16, ge=2)
    masked: float = Field(0.2, gt=0, lt=1)
    pixels_masked: float = Field(0.75, gt=0, lt=1)
    vocabulary: int = Field(256, ge=2)
    temperature: float = Field(0.2, gt=0, allow_inf_nan=False)
    margin: float = Field(0.2, gt=0, le=4)
    projection: int = Field(128, ge=2)
    probe_every: int = Field(1, ge=1)
    neighbours: int = Field(20, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        unknown = sorted(set(given) - set(cls.model_fields)) if isinstance(given, dict) else []
        if unknown:
            raise ValueError(
                f"there is no pretext or option {unknown[0]!r}; the pretexts: {', '.join(NAMES)}"
            )
        return given

    @model_validator(mode="after")
    def _some(self) -> PretextLoss:
        if not self.weights:
            raise ValueError(f"give one of {', '.join(NAMES)} a weight above 0")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each pretext that takes part."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name)}

    @property
    def words(self) -> str:
        """For the card: `contrast 1, pixels 0.5`."""
        return ", ".join(f"{name} {weight:g}" for name, weight in self.weights.items())

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Why films of (height, width) cannot be parted into these patches; None where they can."""
        if not (self.patches or self.pixels):
            return None
        height, width = size
        if height % self.patch or width % self.patch:
            return f"patches of {self.patch} pixels do not divide films of {height} x {width}"
        if height * width < 4 * self.patch**2:
            return f"films of {height} x {width} have fewer than four patches of {self.patch} pixels"
        return None
