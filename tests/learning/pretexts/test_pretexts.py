"""Every pretext against its formula written out, and what it shows and asks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.datasets.augment import Augmentation
from hilum.learning.pretexts import PRETEXTS, Encoded, Surroundings, Views, masking
from hilum.learning.pretexts.colour import pseudo_colours
from hilum.learning.pretexts.contrast import nt_xent
from hilum.learning.pretexts.grid_head import GridHead
from hilum.learning.pretexts.options import NAMES, PretextLoss
from hilum.learning.pretexts.patches import masked_cross_entropy
from hilum.learning.pretexts.pixels import masked_squares, normalised_patches
from hilum.learning.pretexts.rotation import turned
from hilum.learning.pretexts.triplet import triplet_margin

ALL = PretextLoss(**dict.fromkeys(NAMES, 1.0), patch=4, vocabulary=5, projection=6)  # type: ignore[arg-type]


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=chance(seed))


def test_nt_xent_is_chens_equation():
    first, second, t = draw(5, 7), draw(5, 7, seed=1), 0.3
    views = [z / z.norm() for z in torch.cat([first, second]).double()]
    total = 0.0
    for i, anchor in enumerate(views):
        j = (i + 5) % 10
        others = sum(math.exp(anchor @ views[k] / t) for k in range(10) if k != i)
        total -= math.log(math.exp(anchor @ views[j] / t) / others)
    assert nt_xent(first, second, t).item() == pytest.approx(total / 10, abs=1e-5)


def test_the_triplet_margin_is_schroffs_equation():
    first, second, margin = draw(4, 6), draw(4, 6, seed=1), 0.4
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (first, second))
    terms = [
        max(0.0, float(((a[i] - b[i]) ** 2).sum() - ((a[i] - b[j]) ** 2).sum()) + margin)
        for i in range(4)
        for j in range(4)
        if i != j
    ]
    assert triplet_margin(first, second, margin).item() == pytest.approx(np.mean(terms), abs=1e-6)
    same = torch.ones(4, 6)
    assert triplet_margin(same, same, margin).item() == pytest.approx(
        margin
    )  # collapsed: no triplet is told apart


@pytest.mark.parametrize("loss", [nt_xent, triplet_margin])
def test_one_film_has_no_negatives(loss):
    with pytest.raises(ValueError, match="two films"):
        loss(draw(1, 4), draw(1, 4), 0.5)


def test_masked_losses_count_masked_patches_alone():
    mask = torch.tensor([[True, False, True], [False, True, False]])
    logits, words = draw(2, 3, 4), torch.tensor([[0, 1, 2], [3, 0, 1]])
    found, patches = draw(2, 3, 9), draw(2, 3, 9, seed=1)
    entropy, squares = [], []
    for n, k in ((0, 0), (0, 2), (1, 1)):
        row = logits[n, k].double()
        entropy.append(math.log(row.exp().sum()) - float(row[words[n, k]]))
        squares.append(float(((found[n, k] - patches[n, k]) ** 2).mean()))
    assert masked_cross_entropy(logits, words, mask).item() == pytest.approx(np.mean(entropy), abs=1e-6)
    assert masked_squares(found, patches, mask).item() == pytest.approx(np.mean(squares), abs=1e-6)


def test_patches_are_normalised_each_by_itself():
    patches = draw(2, 3, 16) * 4 + 7
    ours = normalised_patches(patches)
    wanted = (patches[1, 2] - patches[1, 2].mean()) / torch.sqrt(patches[1, 2].var() + 1e-6)
    assert torch.allclose(ours[1, 2], wanted, atol=1e-6)
    assert normalised_patches(torch.full((1, 1, 16), 0.3)).abs().max() < 1e-3  # a flat patch stays flat


@settings(max_examples=25, deadline=None)
@given(side=st.integers(1, 5), rows=st.integers(1, 4), columns=st.integers(1, 4), films=st.integers(1, 3))
def test_patches_and_back(side: int, rows: int, columns: int, films: int):
    images = draw(films, side * rows, side * columns)
    patches = masking.to_patches(images, side)
    assert patches.shape == (films, rows * columns, side * side)
    assert torch.equal(patches[0, -1].reshape(side, side), images[0, -side:, -side:])
    assert torch.equal(masking.from_patches(patches, (side * rows, side * columns), side), images)


@settings(max_examples=25, deadline=None)
@given(patches=st.integers(2, 40), share=st.floats(0.01, 0.99))
def test_as_many_patches_are_masked_as_asked_for(patches: int, share: float):
    mask = masking.drawn(3, patches, share, chance())
    wanted = min(patches - 1, max(1, round(share * patches)))
    assert mask.sum(1).tolist() == [wanted] * 3


def test_masks_hide_what_they_cover_and_nothing_else():
    images, mask = torch.rand(2, 8, 12, generator=chance()), masking.drawn(2, 6, 0.5, chance())
    shown = masking.to_patches(masking.covered(images, mask, 4), 4)
    patches = masking.to_patches(images, 4)
    assert torch.equal(shown[~mask], patches[~mask])
    for film in range(2):
        mean = patches[film][~mask[film]].mean()
        assert torch.allclose(shown[film][mask[film]], mean)


def test_quarters_are_turned_against_the_clock():
    images, turns = torch.rand(5, 6, 6), torch.tensor([0, 1, 2, 3, 1])
    found = turned(images, turns)
    for film, quarters in enumerate(turns.tolist()):
        assert np.array_equal(found[film].numpy(), np.rot90(images[film].numpy(), quarters))
    oblong = turned(torch.rand(3, 6, 9), torch.tensor([1, 0, 2]))
    assert oblong.shape == (3, 6, 9)


def test_pseudo_colours_are_the_formula_of_the_docs():
    film = torch.rand(14, 12, generator=chance()).double()
    ours = pseudo_colours(film[None])[0]
    side = 3  # a sixth of 12 is 2, made odd
    for y, x in ((0, 0), (5, 7), (13, 3)):
        around = film[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].numpy()
        assert around.size <= side**2
        mean, spread = around.mean(), around.std()
        u = 1 / (1 + math.exp(-1.7 * (float(film[y, x]) - mean) / (spread + 0.02)))
        hue, chroma = math.radians(270 - 240 * u), spread / (spread + 0.02)
        assert ours[:, y, x].tolist() == pytest.approx(
            [chroma * math.cos(hue), chroma * math.sin(hue)], abs=1e-6
        )


def test_a_pseudo_colour_is_no_function_of_the_pixel():
    """The same grey among darker and among brighter places has other colours; a flat film has none."""
    film = torch.full((1, 24, 24), 0.5)
    film[0, :, :12] = 0.2
    film[0, :, 12:] = 0.8
    film[0, 12, 4] = film[0, 12, 19] = 0.5
    found = pseudo_colours(film)[0]
    assert (found[:, 12, 4] - found[:, 12, 19]).norm() > 0.5
    assert pseudo_colours(torch.full((1, 12, 12), 0.4)).abs().max() < 0.05


@pytest.mark.parametrize(
    ("map_size", "grid"), [((3, 3), (6, 6)), ((2, 2), (24, 16)), ((7, 5), (4, 4)), ((3, 3), (7, 7))]
)
def test_a_grid_head_answers_on_its_grid(map_size, grid):
    head = GridHead(Surroundings(8, map_size, (96, 96)), grid, 5, width=4)
    assert head(draw(2, 8, *map_size)).shape == (2, 5, *grid)


@pytest.mark.parametrize("name", NAMES)
def test_a_pretext_asks_answers_and_teaches(name):
    """Losses are finite, reach every parameter of the head and the encoder's map, and are the same for the same chance."""
    torch.manual_seed(0)
    pretext = PRETEXTS[name](ALL, Surroundings(8, (4, 4), (16, 16)))
    if name == "patches":
        pretext.codebook.copy_(draw(5, 16))  # type: ignore[operator, union-attr]
    films = torch.rand(3, 16, 16, generator=chance())
    encoder = torch.nn.Conv2d(1, 8, 4, 4)

    def asked() -> torch.Tensor:
        question = pretext.ask(Views(films, Augmentation(), chance(2)))
        seen = {}
        for shown, images in question.images.items():
            assert images.shape == films.shape
            features = encoder(images[:, None])
            seen[shown] = Encoded(features, features.mean((2, 3)))
        return pretext.loss(pretext.answer(seen), question.answer)

    loss = asked()
    assert torch.isfinite(loss)
    assert torch.equal(loss, asked())
    loss.backward()
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in pretext.parameters())


def test_views_are_drawn_once_and_differ():
    views = Views(torch.rand(2, 16, 16, generator=chance()), Augmentation(), chance())
    assert views.first is views.first
    assert not torch.equal(views.first, views.second)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({}, "a weight above 0"),
        ({"rotation": 0.0, "contrast": 0.0}, "a weight above 0"),
        ({"jigsaw": 1.0}, "no pretext or option 'jigsaw'"),
        ({"contrast": -1.0}, "greater than or equal to 0"),
        ({"contrast": 1.0, "temperature": 0.0}, "greater than 0"),
        ({"pixels": 1.0, "pixels_masked": 1.0}, "less than 1"),
        ({"contrast": float("nan")}, "finite"),
    ],
)
def test_options_that_make_no_sense_are_refused(given, fault):
    with pytest.raises(ValueError, match=fault):
        PretextLoss(**given)


def test_weights_and_words():
    loss = PretextLoss(contrast=1, pixels=0.5)
    assert loss.weights == {"pixels": 0.5, "contrast": 1.0}
    assert loss.words == "pixels 0.5, contrast 1"
    assert loss.misfit((96, 96)) is None
    assert "divide" in str(loss.misfit((90, 96)))
    assert "fewer" in str(loss.misfit((16, 32)))
    assert PretextLoss(contrast=1).misfit((90, 96)) is None  # nothing is masked
