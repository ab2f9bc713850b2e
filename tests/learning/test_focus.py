"""A recipe whose model sees the square around the lungs: from films to boxes in the films' own pixels."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.explain import explain
from hilum.bundles import load, save
from hilum.bundles.detecting import detect_film
from hilum.bundles.focus import window_of
from hilum.bundles.info import Cut
from hilum.cli import app
from hilum.datasets import pixel_store
from hilum.datasets.manifest import Manifest
from hilum.errors import DataError, RecipeError
from hilum.images.crop import Window
from hilum.images.preparation import Focus, Preparation
from hilum.images.read import read
from hilum.learning.evaluate import evaluate
from hilum.learning.focusing import finder, pinned_preparation
from hilum.learning.material import gather
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import load_recipe, make_recipe
from hilum.learning.run import train
from hilum.learning.targets import boxes_of
from tests.bundles_for_tests import classifier_bundle, unet_bundle
from tests.learning.conftest import content
from tests.learning.test_detect import wish

Make = Callable[..., Recipe]
FOCUSED: dict[str, Any] = {
    "preparation": {
        "size": [64, 64], "channels": 1, "mean": [0.0], "std": [1.0], "bits": 16, "focus": {"kind": "lungs"},
        "denoise": {"kind": "median"}, "normalise": {"kind": "percentile"}, "clahe": {},
    }
}  # fmt: skip


def test_training_and_analysis_see_the_same_tensors(recipe: Make):
    """At 16 bits, with denoising, percentiles and CLAHE: the store's row is what the bundle prepares, bit by bit."""
    stuff = gather(recipe(**FOCUSED))
    steps = stuff.store.preparation
    assert steps.focus is not None
    assert steps.focus.digest == load("lungs").info.behaviour
    bundle = classifier_bundle(preparation=steps)
    analyzer = Analyzer([bundle, "lungs"], samples=0, with_heatmaps=False)
    seen: list[torch.Tensor] = []
    prepare = bundle.prepare
    bundle.prepare = lambda *given: seen.append(prepare(*given)) or seen[-1]  # type: ignore[method-assign]
    some = stuff.train.manifest.table.head(4)
    for image_id in some["image_id"]:
        film = read(stuff.train.manifest.filter(image_id=image_id).paths()[0])
        stored = steps.tensor(np.asarray(stuff.store.images[stuff.store.rows([image_id])]))
        assert window_of(bundle, film) == stuff.store.window_of[image_id]
        assert torch.equal(prepare(film), stored)
        report = analyzer.analyze(film)
        if report.analysable:
            assert torch.equal(seen.pop(), stored)
    assert not seen
    assert stuff.store.windows.filter("lungs_found").height == len(stuff.store)


def test_a_store_of_other_lungs_is_another_store(recipe: Make, tmp_path: Path):
    wanted = recipe(**FOCUSED)
    first = gather(wanted).store
    place = save(unet_bundle("mine"), tmp_path / "mine")
    preparation = {**FOCUSED["preparation"], "focus": {"kind": "lungs", "segmenter": str(place)}}
    second = gather(recipe(preparation=preparation)).store
    assert second.folder != first.folder
    assert gather(wanted).store.folder == first.folder
    with pytest.raises(DataError, match="another preparation"):
        pixel_store.PixelStore.open(first.folder, preparation=second.preparation)
    windows = pl.read_parquet(first.folder / "windows.parquet")
    assert windows.columns == ["image_id", "height", "width", "left", "top", "across", "down", "lungs_found"]
    with pytest.raises(DataError, match="wants to be told the window"):
        pixel_store.build(
            Manifest.load(Path(wanted.data.root) / "films.parquet"), wanted.preparation, tmp_path / "s"
        )
    (first.folder / "windows.parquet").write_bytes(b"")
    with pytest.raises(DataError, match="was changed"):
        first.verify()


def test_films_without_lungs_are_seen_whole_and_told(
    recipe: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    films = tmp_path / "films"
    films.mkdir()
    for name in "ab":
        cv2.imwrite(str(films / f"{name}.png"), np.full((90, 70), 100, np.uint8))
    manifest = Manifest(pl.DataFrame({"image_id": ["a", "b"], "path": ["a.png", "b.png"]}), root=films)
    steps = pinned_preparation(Preparation.model_validate(FOCUSED["preparation"]))
    store = pixel_store.build(manifest, steps, tmp_path / "store", windows=finder(steps))
    assert store.window_of == dict.fromkeys("ab", Window.whole((90, 70)))
    np.testing.assert_array_equal(
        store.images[0], steps.model_copy(update={"focus": None}).pixels(read(films / "a.png").pixels)
    )


def test_workers_cut_the_same_windows(films: Path, tmp_path: Path):
    """The real build, in other processes, that the tests' own fixture keeps out."""
    manifest = Manifest.load(films / "films.parquet").filter(pl.Series([True] * 3 + [False] * 45))
    steps = pinned_preparation(Preparation.model_validate(FOCUSED["preparation"]))
    alone = pixel_store.build(manifest, steps, tmp_path / "alone", windows=finder(steps))
    build = pixel_store.build.__wrapped__  # type: ignore[attr-defined]
    pooled = build(manifest, steps, tmp_path / "pooled", workers=1, progress=False, windows=finder(steps))
    np.testing.assert_array_equal(pooled.images, alone.images)
    assert pooled.window_of == alone.window_of


def test_boxes_follow_the_crop_and_those_outside_are_left_out_and_counted(caplog: pytest.LogCaptureFixture):
    table = pl.DataFrame({"image_id": ["a"], "path": ["a.png"], "height": [200], "width": [400]})
    corners = np.array([[60, 60, 80, 90], [40, 60, 60, 80], [31, 60, 51, 80], [0, 0, 20, 20]], float)
    columns = dict(zip(("x1", "y1", "x2", "y2"), corners.T, strict=True))
    boxes = pl.DataFrame({"image_id": ["a"] * 4, "finding": ["Mass"] * 4, **columns})
    window = Window((200, 400), 50, 50, 100, 100)
    steps = Preparation(size=(50, 50), focus=Focus())
    with caplog.at_level(logging.INFO, "hilum.learning.targets"):
        cut = boxes_of(Manifest(table, boxes), ("Mass",), steps, {"a": window})
    # In the window; half of it in; a twentieth of it in; outside.
    np.testing.assert_allclose(cut[0, :, 1:], [[5, 5, 15, 20], [0, 5, 5, 15]])
    assert "of 4 boxes 1 are cut off" in caplog.text
    assert "2 are left out" in caplog.text
    # The file has half the pixels that the manifest's boxes are in.
    half = Window((100, 200), 25, 25, 50, 50)
    np.testing.assert_allclose(boxes_of(Manifest(table, boxes), ("Mass",), steps, {"a": half}), cut)


def test_a_detector_from_recipe_to_report(recipe: Make, boxed: Path, tmp_path: Path):
    asked = wish(recipe, boxed, **FOCUSED)
    place = train(asked, tmp_path / "run")
    bundle = load(place)
    assert bundle.info.preparation.focus.digest == load("lungs").info.behaviour
    (section,) = bundle.info.metrics.values()
    assert "square around the lungs, boxes outside it not counted" in section["note"]
    assert (
        json.loads((tmp_path / "run" / "split.json").read_text())["segmenter"] == load("lungs").info.behaviour
    )
    assert train(asked, tmp_path / "run") == place, "a run that has ended is left as it is"
    manifest = Manifest.load(tmp_path / "run" / "manifest.parquet")
    found = evaluate(bundle, manifest, tmp_path / "test", split="test")
    assert "pixels of the film" in found["note"]
    assert "saw whole: 0." in found["note"]
    image_id = pl.read_csv(tmp_path / "test" / "boxes.csv")["image_id"][0]
    film = read(manifest.filter(image_id=image_id).paths()[0])
    window = window_of(bundle, film)
    alone = detect_film(bundle, film)
    assert (alone.boxes >= [window.left, window.top] * 2).all(), "nothing is found outside what it sees"
    assert (alone.boxes <= [window.left + window.width, window.top + window.height] * 2).all()
    np.testing.assert_array_equal(detect_film(bundle, film, window=window).boxes, alone.boxes)
    stored = gather(asked).store
    by_hand = stored.preparation.place((film.height, film.width), window)
    truth = manifest.boxes.filter(image_id=image_id).select("x1", "y1", "x2", "y2").to_numpy()
    np.testing.assert_allclose(by_hand.boxes_to_source(by_hand.boxes_to_prepared(truth)), truth, atol=1e-9)
    low = Cut(value=float(np.sort(alone.scores)[-5]), rule="by hand")
    labels = tuple(label.model_copy(update={"threshold": low}) for label in bundle.info.labels)
    bundle.info = bundle.info.model_copy(update={"labels": labels})
    save(bundle, place)
    report = Analyzer([load(place)]).analyze(film)  # the built-in lungs come along, and are the ones
    assert report.analysable, report.reason
    assert len(report.boxes) >= 5
    for box in report.boxes:
        x1, y1, x2, y2 = box.box
        assert 0 <= x1 < x2 <= film.width
        assert 0 <= y1 < y2 <= film.height


def test_heatmaps_of_a_focused_classifier_lie_in_the_window_only(recipe: Make):
    steps = pinned_preparation(Preparation.model_validate(FOCUSED["preparation"]))
    bundle = classifier_bundle(preparation=steps)
    film = read(gather(recipe()).train.manifest.paths()[0])
    window = window_of(bundle, film)
    outside = np.ones((film.height, film.width), bool)
    window.cut(outside)[...] = False
    maps = explain(bundle, film, "grad_cam_plus_plus")
    assert all(heat.shape == outside.shape for heat in maps)
    assert any(heat.any() for heat in maps)
    assert not any(heat[outside].any() for heat in maps)


def test_a_lung_focus_from_the_command_line(films: Path, tmp_path: Path):
    import yaml

    asked = tmp_path / "toy.yaml"
    asked.write_text(yaml.safe_dump(content(films, "multilabel")))
    looking = load_recipe(asked, ["preparation.focus={kind: lungs, margin: 0.1}"])
    assert looking.preparation.focus == Focus(margin=0.1)
    assert looking.digest != load_recipe(asked).digest
    runner = CliRunner()
    run = tmp_path / "run"
    done = runner.invoke(
        app, ["train", str(asked), "preparation.focus={kind: lungs}", "phases.0.epochs=1", "--out", str(run)]
    )
    assert done.exit_code == 0, done.output
    evaluation = ["evaluate", str(run / "bundle"), str(run / "manifest.parquet"), "--split", "test", "-o"]
    done = runner.invoke(app, [*evaluation, str(tmp_path / "test")])
    assert done.exit_code == 0, done.output
    note = json.loads((tmp_path / "test" / "evaluation.json").read_text())
    assert note["seen_whole"] == []
    film = sorted(films.glob("test-*.png"))[0]
    done = runner.invoke(
        app, ["analyze", str(film), "--bundle", str(run / "bundle"), "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output


def test_a_store_around_lungs_by_the_command(films: Path, tmp_path: Path):
    steps = tmp_path / "steps.yaml"
    steps.write_text("size: [32, 32]\nfocus: {kind: lungs}\n")
    given = [
        "data",
        "store",
        str(films / "films.parquet"),
        "--preparation",
        str(steps),
        "--out",
        str(tmp_path / "s"),
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    store = pixel_store.PixelStore.open(tmp_path / "s")
    assert store.preparation.focus.digest == load("lungs").info.behaviour
    assert len(store.window_of) == len(store) == 48


def test_what_cannot_be_looked_at_is_refused(films: Path, recipe: Make, tmp_path: Path):
    def focus(**given: Any) -> Recipe:
        return recipe(preparation={**FOCUSED["preparation"], "focus": given})

    with pytest.raises(RecipeError, match=r"preparation.focus.segmenter: 'nowhere'.*no such bundle"):
        gather(focus(segmenter="nowhere"))
    save(classifier_bundle("toy"), tmp_path / "toy")
    with pytest.raises(RecipeError, match="does not outline lungs"):
        gather(focus(segmenter=str(tmp_path / "toy")))
    with pytest.raises(RecipeError, match="other masks"):
        gather(focus(digest="0" * 64))
    with pytest.raises(RecipeError, match="finds them on the whole film"):
        make_recipe(content(films, "segment"), ["preparation.focus={kind: lungs}"], "x.yaml")
    with pytest.raises(RecipeError, match=r"preparation\.focus"):
        make_recipe(content(films, "multilabel"), ["preparation.focus={kind: heart}"], "x.yaml")


def test_a_segmenter_is_named_by_no_absolute_path(recipe: Make, tmp_path: Path):
    place = save(unet_bundle("mine"), tmp_path / "lung-run" / "bundle")
    asked = recipe(
        preparation={**FOCUSED["preparation"], "focus": {"kind": "lungs", "segmenter": str(place)}}
    )
    assert asked.portable().preparation.focus == Focus(segmenter="lung-run/bundle")
    assert asked.portable().digest == asked.digest


RECIPES = {
    "findings": "00e12bc01fa891184dc10c0037684c0606c21cd28d71dc05bf3069211e3f3192",
    "lung-boxes": "650f922c8cf45a9392abb75687762da15789b06a8e046e16cfcb7767abc9e333",
    "lungs": "5aa2b77488d30f1b63f549bcdd52cfb009e9649f4a7a82cde927a03072468bb5",
    "pneumonia": "2aa2fd7d3411761c26b0b37db03b26864a0bff81cc07015dca538f1297daa1b1",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_from_before_keep_their_digest(name: str):
    """Bundles name them; where a recipe is changed on purpose, this line is too."""
    place = Path(__file__).resolve().parents[2] / "recipes" / f"{name}.yaml"
    assert load_recipe(place).digest == RECIPES[name]
