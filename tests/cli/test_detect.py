"""`hilum detect`: from films to reports, a table that `hilum boxes` reads, and the competition's submission."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import hilum.cli.detect as words_of
from hilum import boxes
from hilum.analysis import detection, normality
from hilum.analysis.detect_films import detect_films
from hilum.analysis.detection import Detection
from hilum.analysis.search import expand
from hilum.bundles import save
from hilum.cli import app
from hilum.datasets import box_tables
from hilum.datasets.manifest import Manifest
from hilum.errors import BoxError, BundleError
from tests.bundles_for_tests import classifier_bundle, yolo_bundle
from tests.phantom import phantom


def run(*words: object):
    return CliRunner().invoke(app, ["detect", *map(str, words)], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    made = {
        "a": yolo_bundle("a", seed=0),
        "b": yolo_bundle("b", seed=2, size=64),
        "lungs": yolo_bundle("sides", ("Right lung", "Left lung")),
        "judge": classifier_bundle("judge"),
    }
    return {name: save(bundle, root / name) for name, bundle in made.items()}


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("films")
    for i in range(2):
        pixels = np.rint(phantom(i, 400, 320).pixels * 255).astype(np.uint8)
        cv2.imwrite(str(root / f"film{i}.png"), pixels)
    (root / "broken.png").write_text("no film")
    cv2.imwrite(str(root / "grey.png"), np.full((300, 300), 90, np.uint8))
    return root


@pytest.fixture(scope="module")
def done(films: Path, bundles: dict[str, Path], tmp_path_factory):
    """One call with most options, and what it wrote."""
    out = tmp_path_factory.mktemp("out")
    names = ["film0", "film1", "grey", "broken"]
    sizes = pl.DataFrame({"image_id": names, "width": [640.0] * 4, "height": [400.0] * 4})
    sizes.write_csv(out / "sizes.csv")
    rows = ["image_id,class,x1,y1,x2,y2", "film0,Cardiomegaly,10,20,310,120", "grey,,,,,"]
    (out / "truth.csv").write_text("\n".join(rows))
    result = run(
        films, "-b", bundles["a"], "-b", bundles["b"], "--weights", "2,1", "--filter", bundles["judge"],
        "--filter-how", "soft", "--out", out / "made", "--submission", out / "sub.csv", "--sizes", out / "sizes.csv",
        "--truth", out / "truth.csv", "--json",
    )  # fmt: skip
    return result, out


def test_a_bad_film_is_named_and_the_others_go_on(done):
    result, out = done
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert [Path(each["file"]).name for each in told["failures"]] == ["broken.png"]
    assert [Path(each).name for each in told["not_analysable"]] == ["grey.png"]
    assert told["without_truth"] == ["film1"]
    assert [film["film"] for film in told["films"]] == ["film0", "film1"]
    assert {"film0.json", "film0.html", "film0.png", "film0.beside.png", "index.json"} <= {
        path.name for path in (out / "made").iterdir()
    }
    assert not (out / "made" / "film1.beside.png").exists()
    assert cv2.imread(str(out / "made" / "film0.beside.png")) is not None
    assert expand([out / "made"], out / "elsewhere")[0] == []  # none of its pictures is taken for a film


def test_the_table_and_the_submission_are_read_back_in_published_pixels(done):
    _, out = done
    sizes = pl.read_csv(out / "sizes.csv")
    long = box_tables.read(out / "made" / "boxes.csv", sizes=sizes)
    submitted = box_tables.read(out / "sub.csv", sizes=sizes)
    assert submitted.format == "submission"
    assert long.films["image_id"].to_list() == submitted.films["image_id"].to_list() == ["film0", "film1"]
    for table in (long, submitted):
        report = json.loads((out / "made" / "film0.json").read_text())
        own = table.boxes.filter((pl.col("image_id") == "film0") & (pl.col("finding") != "No Finding"))
        nothing = table.boxes.filter(image_id="film0", finding="No Finding").row(0, named=True)
        normal = report["detection"]["normal"]["probability"]
        assert nothing["score"] == pytest.approx(normal, rel=1e-6)
        assert [nothing[c] for c in ("x1", "y1", "x2", "y2")] == [0, 0, 1, 1]
        assert report["boxes"]
        best = own.sort("score", descending=True).row(0, named=True)
        x1, y1, x2, y2 = report["boxes"][0]["box"]
        assert best["score"] == pytest.approx(report["boxes"][0]["score"], rel=1e-6)
        wanted = [2 * x1, y1, 2 * x2, y2]  # the file has 320 columns of 640
        assert [best[c] for c in ("x1", "y1", "x2", "y2")] == pytest.approx(wanted, abs=0.006)
    assert report["detection"]["weights"] == [2, 1]
    assert [b["name"] for b in report["bundles"]] == ["lungs", "a", "b", "judge"]


def test_a_film_without_boxes_is_the_competitions_nothing(
    films: Path, bundles: dict[str, Path], tmp_path: Path
):
    result = run(
        films / "film0.png", "-b", bundles["a"], "--filter", bundles["judge"],
        "--filter-threshold", "0", "--out", tmp_path / "a", "--submission", tmp_path / "a.csv.gz", "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "1 report, 0 failed" in result.stdout
    only = box_tables.read(tmp_path / "a.csv.gz").boxes
    assert only["finding"].to_list() == ["No Finding"]
    assert 0 < only["score"][0] < 1
    blind = yolo_bundle("blind")
    for conv in blind.model.detect_layer.m:
        conv.weight.data.zero_()
        conv.bias.data.fill_(-20)
    plain = run(
        films / "film0.png", "-b", save(blind, tmp_path / "blind"), "--out", tmp_path / "b",
        "--submission", tmp_path / "b.csv", "--format", "json",
    )  # fmt: skip
    assert plain.exit_code == 0, plain.output
    assert (tmp_path / "b.csv").read_text().splitlines() == [
        "image_id,PredictionString",
        "film0,14 1 0 0 1 1",
    ]
    assert (tmp_path / "b" / "boxes.csv").read_text().splitlines()[1] == "film0,,,,,,"


def test_readers_boxes_of_a_manifest_and_a_film_without_a_size(
    films: Path, bundles: dict[str, Path], tmp_path: Path
):
    table = pl.DataFrame({"image_id": ["film0"], "path": ["film0.png"], "width": [320], "height": [400]})
    boxes = pl.DataFrame(
        {"image_id": ["film0"] * 2, "finding": ["Effusion"] * 2, "x1": [1.0, 2.0], "y1": [1.0, 2.0],
         "x2": [90.0, 91.0], "y2": [80.0, 80.0], "reader": ["R1", "R2"]}
    )  # fmt: skip
    Manifest(table, boxes, root=films).save(tmp_path / "films.parquet")
    (tmp_path / "sizes.csv").write_text("image_id,width,height\nfilm0,640,400\n")
    result = run(
        films / "film0.png", films / "film1.png", "-b", bundles["a"], "--tta", "--flip", "--out", tmp_path / "o",
        "--truth", tmp_path / "films.parquet", "--sizes", tmp_path / "sizes.csv", "--format", "json",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "film1.png: it has no size in the table of sizes" in result.stdout
    assert (tmp_path / "o" / "film0.beside.png").is_file()
    assert (tmp_path / "o" / "classes.png").is_file()
    views = json.loads((tmp_path / "o" / "film0.json").read_text())["detection"]["views"]
    assert [view["scale"] for view in views] == [1, 0.83, 0.67]
    assert [view["flipped"] for view in views] == [False, True, False]


def test_what_cannot_work_is_refused_before_any_film_is_read(
    films: Path, bundles: dict[str, Path], tmp_path: Path
):
    out = tmp_path / "out"
    none = run(films, "-b", bundles["judge"], "--out", out)
    assert isinstance(none.exception, BundleError)
    assert "none of the bundles detects" in str(none.exception)
    strange = run(films, "-b", bundles["lungs"], "--out", out, "--submission", out / "s.csv")
    assert isinstance(strange.exception, BundleError)
    assert "'Right lung' has no number" in str(strange.exception)
    folder = run(films, "-b", bundles["a"], "--out", out, "--submission", tmp_path)
    assert "would be a folder" in str(folder.exception)
    (tmp_path / "sizes.csv").write_text("image_id,width,height\nfilm0,0,400\n")
    unsized = run(films, "-b", bundles["a"], "--out", out, "--sizes", tmp_path / "sizes.csv")
    assert isinstance(unsized.exception, BoxError)
    assert "line 2 (film 'film0') has no size" in str(unsized.exception)
    assert not out.exists()


def test_two_films_of_one_name_are_told_apart_by_their_folders(
    films: Path, bundles: dict[str, Path], tmp_path
):
    for folder, i in (("one", 0), ("two", 1)):
        (tmp_path / "films" / folder).mkdir(parents=True)
        shutil.copy(films / f"film{i}.png", tmp_path / "films" / folder / "film.png")
    shutil.copy(films / "film0.png", tmp_path / "films" / "film-2.png")
    (tmp_path / "truth.csv").write_text(
        "image_id,class,x1,y1,x2,y2\none/film,Mass,1,1,9,9\nfilm,,,,,\nfilm-2,,,,,\n"
    )
    result = run(
        tmp_path / "films", "-b", bundles["a"], "--out", tmp_path / "o", "--truth", tmp_path / "truth.csv",
        "--format", "json", "--submission", tmp_path / "s.csv", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    names = ["film-2", "one/film", "two/film"]
    assert [film["film"] for film in told["films"]] == names
    assert [Path(film["file"]).parent.name for film in told["films"]] == ["films", "one", "two"]
    assert told["without_truth"] == ["two/film"]
    assert {name for _, name in told["renamed"].items()} == {"one/film", "two/film"}
    for table in (tmp_path / "o" / "boxes.csv", tmp_path / "s.csv"):
        assert box_tables.read(table).films["image_id"].to_list() == names
    # Each report has the boxes that the table has under its name.
    index = json.loads((tmp_path / "o" / "index.json").read_text())["reports"]
    assert [entry["name"] for entry in index] == names
    rows = box_tables.read(tmp_path / "o" / "boxes.csv").boxes
    for entry in index:
        best = json.loads((tmp_path / "o" / entry["report"]).read_text())["boxes"]
        first = rows.filter(image_id=entry["name"]).sort("score", descending=True, maintain_order=True)
        assert first.select("x1", "y1", "x2", "y2").row(0) == pytest.approx(best[0]["box"], abs=0.006)


def test_boxes_are_in_the_table_as_soon_as_their_film_ends(films: Path, bundles: dict[str, Path], tmp_path):
    seen: list[list[str]] = []

    def look(done: int, total: int) -> None:
        table = tmp_path / "o" / "boxes.csv"
        seen.append(box_tables.read(table).films["image_id"].to_list() if table.exists() else [])
        if done == 2:
            raise KeyboardInterrupt

    both = [films / "film1.png", films / "film0.png", films / "grey.png"]
    with pytest.raises(KeyboardInterrupt):
        detect_films(both, tmp_path / "o", [bundles["a"]], Detection(), formats=("json",), progress=look)
    assert seen == [["film1"], ["film1", "film0"]]
    left = box_tables.read(tmp_path / "o" / "boxes.csv")
    done = detect_films(both, tmp_path / "o", [bundles["a"]], Detection(), formats=("json",))
    whole = box_tables.read(done.boxes)
    assert whole.films.equals(left.films)
    assert whole.boxes.equals(left.boxes)
    assert whole.boxes.height > 0
    assert [path.name for path in (tmp_path / "o").iterdir() if path.name.startswith(".")] == []


def test_a_class_is_counted_under_one_name_however_a_detector_spells_it(
    films: Path, tmp_path: Path, monkeypatch
):
    counted: list[tuple[dict, dict]] = []
    monkeypatch.setattr(
        "hilum.evaluation.plots_boxes.plot_class_films",
        lambda predicted, true, path, films: counted.append((dict(predicted), dict(true))) or path,
    )
    bundle = save(yolo_bundle("spelt", ("Pleural effusion", "Nodule/Mass"), threshold=0.001), tmp_path / "b")
    (tmp_path / "truth.csv").write_text("image_id,class,x1,y1,x2,y2\nfilm0,Pleural effusion,1,1,9,9\n")
    detect_films(
        [films / "film0.png"], tmp_path / "o", [bundle], Detection(), truth=tmp_path / "truth.csv", formats=("json",)
    )  # fmt: skip
    ((predicted, true),) = counted
    assert set(true) <= set(predicted)


def test_the_words_of_the_options_are_those_of_the_parts_behind():
    assert words_of.METHODS == boxes.METHODS
    assert words_of.CONF_TYPES == detection.CONF_TYPES
    assert (words_of.HOWS, words_of.POOLS) == (normality.HOWS, normality.POOLS)


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "mean"],
        ["--iou", "1"],
        ["--weights", "2,x"],
        ["--flip"],
        ["--filter-label", "Mass"],
        ["--filter-how", "firm", "--filter", "x"],
        ["--format", "pdf"],
    ],
)
def test_wrong_usage_ends_with_2(words: list[str], tmp_path: Path):
    assert run("x.png", "-b", "x", "--out", tmp_path / "o", *words).exit_code == 2
    assert run("x.png", "--out", tmp_path / "o").exit_code == 2
