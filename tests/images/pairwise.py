"""Few cells of a large matrix, such that any two values of any two of its factors meet in one of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

Cell = tuple[Any, ...]
CANDIDATES = 200  # cells looked at for each one that is taken


def pairwise(*factors: Sequence[Any], speaks: Callable[[Cell], bool] = lambda cell: True) -> list[Cell]:
    """Cells of the factors' product, the same in every process. `speaks`: whether a cell can be judged at all; pairs
    that lie in no such cell are left out."""
    cells = [cell for cell in itertools.product(*factors) if speaks(cell)]
    random.Random(0).shuffle(cells)
    open_pairs = dict.fromkeys(pair for cell in cells for pair in _pairs(cell))
    taken = []
    while open_pairs:
        (i, a), (j, b) = next(iter(open_pairs))
        fit = itertools.islice((c for c in cells if c[i] == a and c[j] == b), CANDIDATES)
        best = max(fit, key=lambda cell: sum(pair in open_pairs for pair in _pairs(cell)))
        taken.append(best)
        for pair in _pairs(best):
            open_pairs.pop(pair, None)
    return taken


def _pairs(cell: Cell) -> Sequence[tuple[tuple[int, Any], tuple[int, Any]]]:
    return list(itertools.combinations(enumerate(cell), 2))
