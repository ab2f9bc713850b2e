"""What a paper asks of Monte Carlo dropout: deviations over films, its flag, and one example's histogram."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from hilum.analysis.uncertainty import film_seed, sample_head
from hilum.bundles import Bundle, load
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError, ReadError
from hilum.evaluation.confusion import call
from hilum.evaluation.flags import compare_flags
from hilum.evaluation.selective import chance_of_error, wrong_calls
from hilum.images.read import read
from hilum.learning.material import patient_keys
from hilum.models import Classifier
from hilum.progress import tracked
from hilum.studies.jobs import Job
from hilum.studies.results import HELD_OUT
from hilum.studies.study import Uncertainty

logger = logging.getLogger(__name__)

DOUBT = 0.2
"""A call is flagged by its calibrated chance of error above this."""

NOTES = (
    "A call is one finding on one film, at the threshold chosen on validation; `flagged` are calls whose deviation is above"
    " the paper's limit. The calibrated flag takes as many calls, those whose calibrated chance of being wrong is highest.",
    "The example is the first held-out film with the finding; the paper does not say which film its own was.",
)


@dataclass(frozen=True)
class Sampled:
    """Monte Carlo dropout over the films that a run held out.

    Attributes
    ----------
    truth, probability, mean, deviation: (n, labels); `probability` is the deterministic one. patients: (n,).
    example: the samples (k,) of one film's probability of `label`, a film that has it; `film` names it.
    """

    labels: tuple[str, ...]
    patients: NDArray[np.str_]
    truth: NDArray[np.float64]
    probability: NDArray[np.float64]
    threshold: NDArray[np.float64]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    label: str
    film: str
    example: NDArray[np.float64]
    example_probability: float


def row(title: str, sampled: Sampled, wish: Uncertainty) -> dict[str, Any]:
    """A row of the table: the paper's flag beside a calibrated one, over all calls of the films held out."""
    called = call(sampled.probability, sampled.threshold)
    wrong = wrong_calls(sampled.truth, called)
    doubt = chance_of_error(sampled.probability, called)
    patients = np.repeat(sampled.patients, len(sampled.labels))
    flags = compare_flags(
        wrong.ravel(), sampled.deviation.ravel(), wish.flag, doubt.ravel(), DOUBT, patients, replicates=500
    )
    return {
        "arm": title,
        f"{sampled.label}, published": f"{wish.published_mean:.3f} ± {wish.published_deviation:.4f}",
        f"{sampled.label}, here": f"{sampled.example.mean():.3f} ± {sampled.example.std(ddof=1):.4f}",
        "mean deviation": f"{sampled.deviation.mean():.4f}",
        "flagged": flags.first.rate.as_dict(),
        "errors caught": flags.first.caught.as_dict(),
        "errors caught by chance of error, as many flagged": flags.second_at_equal_rate.caught.as_dict(),
        "more caught": flags.more_caught.as_dict(),
    }


def sample(job: Job, wish: Uncertainty) -> Sampled | None:
    """None where the arm's head has no dropout, so that there is nothing to sample. Films that cannot be read are left out;
    ReadError where none can.
    """
    bundle = load(job.folder / "bundle")
    model = bundle.model
    if not isinstance(model, Classifier) or not any(
        isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.head.modules()
    ):
        return None
    films = Manifest.load(job.folder / "manifest.parquet").filter(split=HELD_OUT)
    films, embeddings = _embeddings(bundle, films)
    names, truth = films.labels()
    truth = truth[:, [names.index(label) for label in bundle.labels]]
    drawn = np.stack(
        [_draw(bundle, e, wish.passes, film) for e, film in zip(embeddings, films.image_ids, strict=True)]
    )
    with torch.inference_mode():
        plain = bundle.probabilities(model.head(torch.cat(embeddings))).double().numpy()
    column = bundle.labels.index(wish.example)
    holders = np.flatnonzero(truth[:, column] == 1)
    row = int(holders[0]) if len(holders) else 0
    cuts = [label.threshold.value if label.threshold else np.nan for label in bundle.info.labels]
    return Sampled(
        labels=tuple(bundle.labels),
        patients=np.array(patient_keys(films)),
        truth=truth.astype(np.float64),
        probability=plain,
        threshold=np.array(cuts),
        mean=drawn.mean(1),
        deviation=drawn.std(1, ddof=1),
        label=wish.example,
        film=films.image_ids[row],
        example=_draw(bundle, embeddings[row], wish.example_passes, films.image_ids[row])[:, column],
        example_probability=float(plain[row, column]),
    )


def _embeddings(bundle: Bundle, films: Manifest) -> tuple[Manifest, list[torch.Tensor]]:
    """The films that can be read, and (1, features) of each."""
    assert isinstance(bundle.model, Classifier)
    found, good = [], []
    for path in tracked(films.paths(), "sampling"):
        try:
            film = bundle.prepare(read(path))
        except HilumError as error:
            logger.warning("left out: %s", error)
            good.append(False)
            continue
        with torch.inference_mode():
            found.append(bundle.model.encode(film))
        good.append(True)
    if not found:
        raise ReadError(f"none of the {len(films)} films that the run held out could be read")
    return films.filter(pl.Series(good)), found


def _draw(bundle: Bundle, embedding: torch.Tensor, passes: int, film: str) -> NDArray[np.float64]:
    """(passes, labels) probabilities."""
    assert isinstance(bundle.model, Classifier)
    with torch.inference_mode():
        logits = sample_head(bundle.model.head, embedding, passes, film_seed(0, film))
        return bundle.probabilities(logits).double().numpy()
