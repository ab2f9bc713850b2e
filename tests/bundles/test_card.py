"""A card is prose: no Python, no paths, one output and not \"1 outputs\"."""

from __future__ import annotations

from hilum.bundles.card import card
from hilum.images.preparation import Clahe, Gaussian, Percentile, Preparation, UnitVariance
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle


def test_preparation_is_told_in_words():
    info = classifier_bundle().info
    steps = Preparation(
        size=(64, 64),
        channels=1,
        mean=(0.5,),
        std=(0.25,),
        denoise=Gaussian(size=5, sigma=1.5),
        normalise=Percentile(low=0.5, high=99.5),
        clahe=Clahe(clip=2.0, grid=8),
    )
    text = card(info.model_copy(update={"preparation": steps}))
    assert "- 64 x 64 pixels, squash, 8 bit, 1 channel\n" in text
    assert "- denoise: gaussian (size 5, sigma 1.5)\n" in text
    assert "- normalise: percentile (low 0.5, high 99.5)\n" in text
    assert "- clahe: clip 2, grid 8\n" in text
    assert "{" not in text
    other = steps.model_copy(update={"normalise": UnitVariance()})
    assert "- normalise: unit variance (spread 3)\n" in card(info.model_copy(update={"preparation": other}))


def test_one_output_is_one():
    assert " · segment · 1 output\n" in card(dark_lungs_bundle().info)
    assert " · multilabel · 3 outputs\n" in card(classifier_bundle().info)
