"""Groups dealt to sides so that every label is balanced: iterative stratification (Sechidis, Tsoumakas and Vlahavas, On
the Stratification of Multi-Label Data, ECML PKDD 2011), carried from examples to groups: a patient's films move together
and weigh what they hold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def stratify(
    counts: NDArray[np.float64], sizes: NDArray[np.float64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Side of each group, (groups,) in [0, sides): iterative stratification of Sechidis 2011, algorithm 1,
    on groups.

    `counts`: (groups, labels) positives of each label in each group; `sizes`: (groups,) examples; `shares`:
    (sides,) summing to 1. The rarest label left is dealt first, its fullest groups first, each to the side
    that wants most of that label, then most examples; ties fall by `seed`. Groups without any positive go
    where most examples are wanted.
    """
    rng = np.random.default_rng(seed)
    # Groups in an order that the seed decides; a stable sort by weight then keeps chance among equals.
    order = rng.permutation(len(sizes))
    side = np.full(len(sizes), -1, np.int64)
    want_label = np.outer(shares, counts.sum(0))
    want_size = shares * sizes.sum()
    left = counts.sum(0)

    def deal(group: int, wanted: NDArray[np.float64]) -> None:
        best = np.flatnonzero(wanted >= wanted.max() - 1e-9)
        if len(best) > 1:
            best = best[want_size[best] >= want_size[best].max() - 1e-9]
        chosen = int(best[0] if len(best) == 1 else rng.choice(best))
        side[group] = chosen
        want_label[chosen] -= counts[group]
        want_size[chosen] -= sizes[group]
        np.subtract(left, counts[group], out=left)

    while (left > 1e-9).any():
        label = int(np.argmin(np.where(left > 1e-9, left, np.inf)))
        holders = order[(side[order] < 0) & (counts[order, label] > 0)]
        for group in holders[np.argsort(-counts[holders, label], kind="stable")]:
            deal(int(group), want_label[:, label])
    rest = order[side[order] < 0]
    for group in rest[np.argsort(-sizes[rest], kind="stable")]:
        deal(int(group), want_size)
    return side
