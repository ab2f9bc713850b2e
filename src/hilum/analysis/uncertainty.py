"""How sure a bundle is of its probabilities: Monte Carlo dropout by resampling the head.

By the model contract every dropout layer sits in the head, so T samples (Gal and Ghahramani 2016, equation 6) cost one pass
of the encoder and one batch of T rows through the head, instead of T passes of the network.

The probability that a report states is the deterministic one, not the mean of the samples. Calibration and thresholds were
fitted on deterministic logits and the card's metrics describe them; averaging sigmoids of noisy logits pulls every
probability towards 0.5 and would undo that calibration. For a linear head nothing is lost: inverted dropout is unbiased, so
the deterministic logit is the exact mean of the sampled ones, and it lies inside the interval of the samples.
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


def mc_dropout(bundle: Bundle, embedding: Tensor, samples: int, seed: int) -> Uncertain:
    """The spread of `bundle`'s probabilities for one film's `embedding` (1, features) over `samples` dropout masks.

    The same `seed` gives the same numbers, whatever else draws random numbers. A head without dropout, or fewer than two
    samples, gives the method `none`.
    """
    assert isinstance(bundle.model, Classifier)
    head = bundle.model.head
    if samples < 2 or not _droppers(head):
        return Uncertain(_array(bundle.probabilities(head(embedding)))[0], None, None, "none")
    drawn = _array(bundle.probabilities(sample_head(head, embedding, samples, seed)))
    interval = np.percentile(drawn, PERCENTILES, axis=0).T
    return Uncertain(drawn.mean(0), drawn.std(0, ddof=1), interval, "mc_dropout")


def sample_head(head: nn.Module, embedding: Tensor, samples: int, seed: int) -> Tensor:
    """Logits (samples, labels) of one embedding (1, features), each row under its own dropout mask.

    Only dropout layers are switched on: a batch norm in the head keeps its running statistics.
    """
    with torch.random.fork_rng(devices=[]), _dropping(head):
        torch.default_generator.manual_seed(seed)
        logits: Tensor = head(embedding.expand(samples, *embedding.shape[1:]))
    return logits


def film_seed(seed: int, *parts: str) -> int:
    """A seed (63 bit) for one film under one bundle, so that no film's numbers depend on the films before it."""
    text = "|".join((str(seed), *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _droppers(head: nn.Module) -> list[_DropoutNd]:
    return [m for m in head.modules() if isinstance(m, _DropoutNd) and m.p > 0]


@contextmanager
def _dropping(head: nn.Module) -> Iterator[None]:
    """Dropout layers of `head` active inside, everything as it was after."""
    before = [(m, m.training) for m in _droppers(head)]
    try:
        for module, _ in before:
            module.training = True
        yield
    finally:
        for module, training in before:
            module.training = training


def _array(probabilities: Tensor) -> NDArray[np.float64]:
    return probabilities.detach().to(torch.float64).cpu().numpy()
