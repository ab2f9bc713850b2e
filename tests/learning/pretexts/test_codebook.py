"""The vocabulary of patches: scikit-learn's clusters, brute-force words, and one fit a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from hilum.errors import RecipeError
from hilum.learning.pretexts import codebook
from hilum.learning.pretexts.masking import to_patches


def blobs(seed: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, 9, generator=chance) * 8
    return (centres[:, None] + torch.randn(6, 40, 9, generator=chance)).flatten(0, 1)


def test_k_means_finds_what_scikit_learn_finds():
    points = blobs()
    ours = codebook.k_means(points, 6, seed=0)
    theirs = KMeans(6, n_init=10, random_state=0).fit(points.numpy()).cluster_centers_
    distance = np.linalg.norm(ours.numpy()[:, None] - theirs[None], axis=2)
    assert distance.min(1).max() < 1e-3
    assert len(set(distance.argmin(1))) == 6
    assert torch.equal(ours, codebook.k_means(points, 6, seed=0))


def test_words_are_the_nearest():
    patches, words = torch.randn(3, 5, 9), torch.randn(7, 9)
    assert torch.equal(codebook.words(patches, words), torch.cdist(patches, words[None]).argmin(-1))


def test_a_word_hangs_on_neither_brightness_nor_contrast():
    films = torch.rand(3, 16, 16)
    words = codebook.k_means(to_patches(codebook.standardised(films), 4).flatten(0, 1), 8, seed=0)

    def named(images: torch.Tensor) -> torch.Tensor:
        return codebook.words(to_patches(codebook.standardised(images), 4), words)

    assert torch.equal(named(films), named(0.4 * films + 0.3))


def test_a_run_fits_its_vocabulary_once(tmp_path: Path):
    first = codebook.fitted(torch.rand(6, 16, 16), 4, 8, 0, tmp_path)
    again = codebook.fitted(torch.rand(6, 16, 16), 4, 8, 1, tmp_path)
    assert torch.equal(first, again)
    assert (tmp_path / "codebook.safetensors").is_file()


def test_fewer_patches_than_words_are_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"loss\.vocabulary.*fewer than 8"):
        codebook.fitted(torch.zeros(6, 16, 16), 4, 8, 0, tmp_path)
    assert not list(tmp_path.iterdir())
