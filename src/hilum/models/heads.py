"""The head that several architectures of the studies share."""

from __future__ import annotations

from torch import nn


def hidden_head(features: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Dropout, dense `hidden` with ReLU, dropout, dense `outputs`: embeddings (n, features) to logits (n, outputs).

    A `dropout` of 0 drops nothing; its layers stay, so that a parameter has the same name with and without.
    """
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(features, hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )
