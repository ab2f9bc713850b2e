"""One pass over the films gives what the analyzer gives, under every cover."""

from __future__ import annotations

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.examine import NONE, SEEN, embed, examine
from hilum.errors import BundleError, ReadError
from hilum.images.covers import COVERS, cover, hidden
from hilum.images.read import read
from tests.audit.shortcuts import Corner, Lungs, films, reader
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return films(tmp_path_factory.mktemp("few"), patients=4)


def test_every_bundle_sees_the_same_films_covered_alike(few):
    bundles = [classifier_bundle("one"), reader(Lungs, "two")]
    first, second = examine(bundles, few, dark_lungs_bundle())
    assert (first.name, second.name) == ("one", "two")
    assert first.films.image_ids == second.films.image_ids == few.image_ids
    assert set(first.logits) == set(SEEN) == {NONE, *COVERS}
    assert first.logits["border"].shape == (8, 3)
    assert second.probabilities["lungs"].shape == (8, 1)
    assert second.embedding.shape == (8, 2)
    film = read(few.paths()[3])
    lungs = Analyzer([dark_lungs_bundle(), bundles[0]]).analyze(film).lungs.mask
    for what in COVERS:
        covered = type(film)(cover(film.pixels, hidden(what, lungs)))
        with torch.inference_mode():
            alone = bundles[0](bundles[0].prepare(covered))[0].numpy()
        np.testing.assert_allclose(first.logits[what][3], alone, atol=1e-4)


def test_whole_films_get_what_the_analyzer_says(few):
    bundle = classifier_bundle("one")
    (seen,) = examine([bundle], few, dark_lungs_bundle())
    analyzer = Analyzer([bundle, dark_lungs_bundle()], samples=0)
    for row, path in enumerate(few.paths()[:3]):
        findings = analyzer.analyze(path).findings
        np.testing.assert_allclose(
            seen.probabilities[NONE][row], [f.probability for f in findings], atol=1e-4
        )
        for score, finding in zip(seen.energy[row], findings, strict=True):
            if finding.lung_share is None:
                assert np.isnan(score.value)
            else:
                assert score.value == pytest.approx(finding.lung_share, abs=0.03)


def test_heat_of_the_corner_lies_outside_and_of_the_lungs_inside(few):
    """By the phantoms' own masks: to the segmenter for tests the dark beside the body is lung too."""
    bundles = [reader(Corner, "corner"), reader(Lungs, "lungs-reader")]
    corner, lungs = examine(bundles, few, dark_lungs_bundle(), human_masks=True, method="cam")
    assert np.nanmax([0, *(row[0].value for row in corner.energy)]) < 0.1
    assert np.nanmean([row[0].value for row in lungs.energy[1::2]]) > 0.45  # films with lesions
    assert np.nanmean([row[0].value for row in lungs.pointing[1::2]]) > 0.7
    assert 0.1 < corner.lung_area.mean() < 0.4


def test_the_embedding_is_the_one_of_embed(few):
    bundle = classifier_bundle("one")
    (seen,) = examine([bundle], few, dark_lungs_bundle())
    kept, embedding = embed(bundle, few)
    assert kept.image_ids == few.image_ids
    np.testing.assert_allclose(embedding, seen.embedding, atol=1e-4)


def test_films_that_fail_are_named_and_left_out(tmp_path):
    bad = films(tmp_path, patients=3)
    (tmp_path / "001.png").write_bytes(b"no film")
    cv2.imwrite(str(tmp_path / "002.png"), np.full((160, 140), 200, np.uint8))  # no lungs
    (seen,) = examine([reader(Corner)], bad, dark_lungs_bundle())
    assert seen.films.image_ids == ["f000", "f003", "f004", "f005"]
    assert len(seen.logits[NONE]) == len(seen.energy) == len(seen.letters) == 4
    assert seen.failures[0].startswith("f001: ")
    assert "no lungs" in seen.failures[1]
    assert not any(str(tmp_path) in failure for failure in seen.failures)
    kept, embedding = embed(reader(Corner), bad)
    assert len(kept) == len(embedding) == 5
    with pytest.raises(ReadError, match="none of the 1 films"):
        examine([reader(Corner)], bad.filter(pl.col("image_id") == "f001"), dark_lungs_bundle())


def test_human_masks_take_the_place_of_the_segmenter(tmp_path):
    mine = films(tmp_path, patients=3, mask_ignore=127)
    masks = [tmp_path / f"{i:03d}-mask.png" for i in range(6)]
    first = cv2.imread(str(masks[0]), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(masks[1]), np.zeros_like(first))
    cv2.imwrite(str(masks[2]), np.full_like(first, 127))
    cv2.imwrite(str(masks[3]), first[:50])
    (seen,) = examine([reader(Lungs)], mine, dark_lungs_bundle(), human_masks=True)
    assert seen.films.image_ids == ["f000", "f004", "f005"]
    assert seen.lung_area[0] == pytest.approx((first == 255).mean())
    told = " ".join(seen.failures)
    assert "f001: its mask is empty" in told
    assert "f002: every pixel of its mask is ignored" in told
    assert "f003: the mask is" in told


def test_what_does_not_fit_is_refused(few):
    with pytest.raises(BundleError, match="no findings to ask"):
        examine([dark_lungs_bundle("other")], few, dark_lungs_bundle())
    with pytest.raises(BundleError, match="does not outline"):
        examine([reader(Corner)], few, reader(Lungs))
