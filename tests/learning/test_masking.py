"""A recipe whose model sees films with what is not diagnostic hidden: the same pixels in training and analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.notices import unfocused
from hilum.bundles import load
from hilum.bundles.card import card
from hilum.bundles.focus import window_of
from hilum.bundles.info import Info
from hilum.datasets import pixel_store
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError, RecipeError
from hilum.images.crop import Window
from hilum.images.preparation import Preparation
from hilum.images.read import read
from hilum.learning.focusing import finder, pinned_preparation
from hilum.learning.recipe import Recipe
from tests.bundles_for_tests import classifier_bundle, unet_bundle

Make = Callable[..., Recipe]
STEPS: dict[str, Any] = {
    "size": [64, 64], "channels": 1, "mean": [0.0], "std": [1.0], "bits": 16,
    "denoise": {"kind": "gaussian"}, "normalise": {"kind": "unit_variance"}, "clahe": {},
}  # fmt: skip
NEAR = {"kind": "lungs", "margin": 0.05, "letters": True}
BODY = {"kind": "body", "letters": True}


def held(**given: Any) -> Preparation:
    steps = Preparation.model_validate({**STEPS, **given})
    return pinned_preparation(steps) if steps.by_lungs is not None else steps


@pytest.mark.parametrize(
    "given",
    [{"masking": BODY}, {"masking": NEAR}, {"masking": NEAR, "focus": {"kind": "lungs"}}],
    ids=["body", "lungs", "lungs and focus"],
)
def test_store_bundle_and_analyzer_see_the_same_pixels(films: Path, tmp_path: Path, given: dict[str, Any]):
    steps = held(**given)
    manifest = Manifest.load(films / "films.parquet").filter(pl.Series([True] * 3 + [False] * 45))
    store = pixel_store.build(manifest, steps, tmp_path / "store", windows=finder(steps))
    plain = steps.model_copy(update={"masking": None})
    bundle = classifier_bundle(preparation=steps)
    analyzer = Analyzer([bundle, "lungs"], samples=0, with_heatmaps=False)
    seen: list[torch.Tensor] = []
    prepare = bundle.prepare
    bundle.prepare = lambda *given: seen.append(prepare(*given)) or seen[-1]  # type: ignore[method-assign]
    for row, path in enumerate(manifest.paths()):
        film = read(path)
        stored = steps.tensor(np.asarray(store.images[[row]]))
        assert torch.equal(prepare(film), stored)
        report = analyzer.analyze(film)
        if report.analysable:
            assert torch.equal(seen.pop(), stored)
        window = window_of(bundle, film)
        assert steps.hidden(film.pixels, window) is not None
        assert not torch.equal(plain.tensor(plain.pixels(film.pixels, window)[None]), stored)
        assert bundle.place(film) == plain.place((film.height, film.width), window)
        if window is not None:
            assert window == store.window_of[manifest.image_ids[row]]
    assert not seen
    assert pixel_store.PixelStore.open(store.folder, preparation=steps).preparation == steps


def test_workers_hide_the_same(films: Path, tmp_path: Path):
    """The real build, in other processes, that the tests' own fixture keeps out; a store goes on from its journal."""
    manifest = Manifest.load(films / "films.parquet").filter(pl.Series([True] * 2 + [False] * 46))
    steps = held(masking=NEAR)
    alone = pixel_store.build(manifest, steps, tmp_path / "alone", windows=finder(steps))
    build = pixel_store.build.__wrapped__  # type: ignore[attr-defined]
    pooled = build(manifest, steps, tmp_path / "pooled", workers=1, progress=False, windows=finder(steps))
    np.testing.assert_array_equal(pooled.images, alone.images)
    again = pixel_store.build(manifest, steps, tmp_path / "pooled", windows=finder(steps))
    assert again.window_of == alone.window_of
    with pytest.raises(DataError, match="goes by the lungs"):
        pixel_store.build(manifest, steps, tmp_path / "none")


def test_films_without_lungs_stay_whole_and_it_is_told(tmp_path: Path):
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((90, 70), 100, np.uint8))
    manifest = Manifest(pl.DataFrame({"image_id": ["a", "b"], "path": ["a.png", "b.png"]}), root=tmp_path)
    steps = held(masking=NEAR)
    store = pixel_store.build(manifest, steps, tmp_path / "store", windows=finder(steps))
    assert store.windows is not None
    assert not store.windows["lungs_found"].any()
    film = read(tmp_path / "a.png")
    plain = steps.model_copy(update={"masking": None})
    np.testing.assert_array_equal(store.images[0], plain.pixels(film.pixels))
    bundle = classifier_bundle(preparation=steps)
    (notice,) = unfocused(bundle.info, window_of(bundle, film))
    assert notice.code == "masking_without_lungs"
    assert not list(unfocused(bundle.info, Window((90, 70), 0, 0, 70, 90)))


def test_a_recipe_holds_to_its_segmenter_and_asks_for_it_by_name(recipe: Make):
    asked = recipe(preparation={**STEPS, "masking": NEAR})
    pinned = asked.model_copy(update={"preparation": pinned_preparation(asked.preparation)})
    assert pinned.preparation.masking.digest == load("lungs").info.behaviour
    assert pinned.digest == asked.digest
    assert asked.digest != recipe(preparation={**STEPS, "masking": BODY}).digest
    moved = recipe(preparation={**STEPS, "masking": {**NEAR, "segmenter": "/shelf/lungs"}})
    assert moved.digest == asked.digest
    with pytest.raises(RecipeError, match=r"preparation\.masking\.segmenter"):
        pinned_preparation(
            recipe(preparation={**STEPS, "masking": {**NEAR, "segmenter": "gone"}}).preparation
        )


def test_a_segmenter_is_masked_by_no_lungs(recipe: Make):
    info = unet_bundle().info.model_dump()
    info["preparation"]["masking"] = NEAR
    with pytest.raises(ValueError, match="sees the whole film"):
        Info.model_validate(info)
    info["preparation"]["masking"] = BODY
    assert Info.model_validate(info).preparation.masking is not None


def test_the_card_says_what_is_hidden():
    said = card(classifier_bundle(preparation=held(masking=NEAR)).info)
    assert "far from the lungs, margin 0.05, as the bundle `lungs` finds them" in said
    assert "and burnt-in text" in said
    assert "outside the body" in card(classifier_bundle(preparation=held(masking={"kind": "body"})).info)
