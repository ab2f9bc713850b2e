"""A vocabulary of patches: k-means on patches of training films, kept beside the run."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hilum.errors import RecipeError
from hilum.learning.pretexts.masking import to_patches
from hilum.learning.writing import whole
from hilum.models.pretrained import read_weights

FILE = "codebook.safetensors"
MOST = 20_000  # patches that it is fitted on
ROUNDS = 30


def standardised(films: Tensor) -> Tensor:
    """Films (n, h, w), each less its mean and over its standard deviation, so that a word does not hang on brightness."""
    mean = films.mean((1, 2), keepdim=True)
    spread = films.std((1, 2), keepdim=True)
    return (films - mean) / spread.clamp(min=1e-3)


def words(patches: Tensor, codebook: Tensor) -> Tensor:
    """The nearest word of each patch: (n, k, pixels) and (words, pixels) to (n, k), by Euclidean distance.

    The same to a tie's choice as `torch.cdist(...).argmin`, without its table of square roots.
    """
    # |p - c|^2 = |p|^2 - 2 pc + |c|^2, of which the first is the same for every word.
    return ((codebook**2).sum(1) - 2 * patches @ codebook.T).argmin(-1)


def fitted(films: Tensor, side: int, count: int, seed: int, folder: Path) -> Tensor:
    """The vocabulary (count, side * side) of a run: read from its folder, or fitted on `films` (n, h, w) and saved there.

    RecipeError where the films have fewer different patches than words.
    """
    path = folder / FILE
    if path.is_file():
        return read_weights(path)["words"]
    patches = to_patches(standardised(films), side).flatten(0, 1)
    found = k_means(patches[:: max(1, len(patches) // MOST)], count, seed)
    with whole(path) as work:
        save_file({"words": found}, work)
    return found


def k_means(points: Tensor, count: int, seed: int) -> Tensor:
    """Centres (count, d) of points (n, d), by Lloyd's rounds from k-means++ (Arthur 2007); the same for the same seed.

    A centre that loses all its points moves to the point that lies furthest from its own.
    """
    if len(points.unique(dim=0)) < count:
        raise RecipeError(
            f"loss.vocabulary: the training films have fewer than {count} different patches",
            mend="Ask for a smaller vocabulary, or smaller patches",
        )
    generator = torch.Generator().manual_seed(seed)
    centres = _first(points, count, generator)
    for _ in range(ROUNDS):
        own = words(points[None], centres)[0]
        sizes = torch.bincount(own, minlength=count)
        total = torch.zeros_like(centres).index_add_(0, own, points)
        moved = total / sizes.clamp(min=1)[:, None]
        empty = torch.nonzero(sizes == 0).flatten()
        if len(empty):
            away = ((points - centres[own]) ** 2).sum(1)
            moved[empty] = points[away.topk(len(empty)).indices]
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _first(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """k-means++: each next centre is a point drawn by its squared distance to the nearest one so far."""
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    nearest = torch.full((len(points),), torch.inf)
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(torch.multinomial(nearest, 1, generator=generator)))
    return points[chosen].clone()
