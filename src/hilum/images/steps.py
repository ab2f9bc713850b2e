"""The steps of a preparation: what each is asked for, as a bundle or a recipe writes it. `preparation` carries them out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer


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


class Body(Step):
    """What lies outside the body is hidden (`masking.body`); with `letters` burnt-in text too (`masking.lettering`)."""

    kind: Literal["body"] = "body"
    letters: bool = False


class NearLungs(Step):
    """What lies far from the lungs is hidden (`masking.around_lungs`), with `letters` text near them too.

    `margin`: how far around the lungs films stay, as a share of the longer side of their box. `segmenter`, `digest`: as of
    `Focus`. A film on which no lungs are found stays whole.
    """

    later = frozenset({"digest"})

    kind: Literal["lungs"] = "lungs"
    margin: float = Field(0.1, ge=0, le=1)
    segmenter: str = Field("lungs", min_length=1)
    digest: str | None = None
    letters: bool = False


class Letters(Step):
    """Burnt-in text is hidden (`masking.lettering`)."""

    kind: Literal["letters"] = "letters"
