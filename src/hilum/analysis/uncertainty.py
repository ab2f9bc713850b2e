"""How sure a bundle is of its probabilities: Monte Carlo dropout, deep ensembles, or both, by resampling heads alone.

By the model contract every dropout layer sits in the head, so T samples (Gal and Ghahramani 2016, equation 6) cost one pass
of the encoder and one batch of T rows through the head, instead of T passes of the network. The members of an ensemble
(Lakshminarayanan 2017) have an encoder each, run once.

The probability that a report states is the deterministic one, not the mean of the samples: the model's, or the mean of the
members' of an ensemble. Calibration and thresholds were fitted on deterministic logits and the card's metrics describe them;
averaging sigmoids of noisy logits pulls every probability towards 0.5 and would undo that calibration. For a linear head
nothing is lost: inverted dropout is unbiased, so the deterministic logit is the exact mean of the sampled ones, and it lies
inside the interval of the samples.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from hilum.bundles import Bundle
from hilum.models import Classifier

PERCENTILES = (2.5, 97.5)


@dataclass(frozen=True)
class Uncertain:
    """The spread of calibrated probabilities, the one shape of every method.

    `mean` (labels,), `std` (labels,) and `interval` (labels, 2: low, high of 95 %), float64. `std` and `interval` are None
    where `method` is `none`; the other methods are `mc_dropout`, `ensemble` and `mc_dropout+ensemble`.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64] | None
    interval: NDArray[np.float64] | None
    method: str


def uncertainty(bundle: Bundle, embedding: Tensor, samples: int, seed: int) -> Uncertain:
    """The spread of `bundle`'s probabilities for one film's `embedding` (1, features).

    Over `samples` dropout masks where the head drops (2 or more), over the members of an ensemble, or over all masks of all
    members; `std` is that of everything drawn, so an ensemble's holds both how its members differ and what dropout adds.

    The same `seed` gives the same numbers, whatever else draws random numbers. A model alone whose head has no dropout, or
    fewer than two samples, gives the method `none`.
    """
    model = bundle.model
    assert isinstance(model, Classifier)
    drops = samples >= 2 and bool(_droppers(model.head))
    rows = embedding.expand(samples, *embedding.shape[1:]) if drops else embedding
    with _masks(model.head, seed, drops):
        logits = model.member_logits(rows)
    drawn = _array(bundle.probabilities(logits.flatten(0, 1)))
    if len(drawn) < 2:
        return Uncertain(drawn.mean(0), None, None, "none")
    used = {"mc_dropout": drops, "ensemble": len(logits) > 1}
    interval = np.percentile(drawn, PERCENTILES, axis=0).T
    method = "+".join(name for name, is_used in used.items() if is_used)
    return Uncertain(drawn.mean(0), drawn.std(0, ddof=1), interval, method)


def sample_head(head: nn.Module, embedding: Tensor, samples: int, seed: int) -> Tensor:
    """Logits (samples, labels) of one embedding (1, features), each row under its own dropout mask.

    Only dropout layers are switched on: a batch norm in the head keeps its running statistics.
    """
    with _masks(head, seed, drops=True):
        logits: Tensor = head(embedding.expand(samples, *embedding.shape[1:]))
    return logits


def film_seed(seed: int, *parts: str) -> int:
    """A seed (63 bit) for one film under one bundle, so that no film's numbers depend on the films before it."""
    text = "|".join((str(seed), *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _droppers(head: nn.Module) -> list[_DropoutNd]:
    return [m for m in head.modules() if isinstance(m, _DropoutNd) and m.p > 0]


@contextmanager
def _masks(head: nn.Module, seed: int, drops: bool) -> Iterator[None]:
    """Dropout layers of `head` active inside (where it `drops`) and seeded, everything as it was after."""
    before = [(m, m.training) for m in _droppers(head)] if drops else []
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            for module, _ in before:
                module.training = True
            yield
        finally:
            for module, training in before:
                module.training = training


def _array(probabilities: Tensor) -> NDArray[np.float64]:
    return probabilities.detach().to(torch.float64).cpu().numpy()
