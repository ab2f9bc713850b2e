from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.datasets.manifest import Manifest, concat
from hilum.errors import ManifestError


def rows(**columns: list) -> pl.DataFrame:
    films = len(next(iter(columns.values()))) if columns else 3
    base = {"image_id": [f"i{n}" for n in range(films)], "path": [f"a/{n}.png" for n in range(films)]}
    return pl.DataFrame(base | columns)


BOX = {
    "image_id": ["i0"],
    "finding": ["Mass"],
    "x1": [1.0],
    "y1": [2.0],
    "x2": [5.0],
    "y2": [9.0],
    "reader": ["r"],
}


def test_unknown_labels_stay_unknown() -> None:
    manifest = Manifest(rows(**{"label:Mass": [1.0, None, float("nan")], "label:Edema": [0, 1, 0]}))
    names, labels = manifest.labels()
    assert names == ("Mass", "Edema")
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, [[1, 0], [np.nan, 1], [np.nan, 0]])


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"image_id": ["a", "b", "a"]}, "row 0 .film 'a'., column 'image_id'.*stands twice"),
        ({"path": ["x", None, "y"]}, "row 1 .film 'i1'., column 'path': is empty"),
        ({"view": ["PA", "AP", "Frontal"]}, "row 2 .film 'i2'., column 'view': 'Frontal'"),
        ({"sex": ["F", "X", "M"]}, "column 'sex': 'X'"),
        ({"age": [1.0, 414.0, None]}, "column 'age': '414.0' is no age"),
        ({"split": ["train", "val", None]}, "column 'split': 'val'"),
        ({"width": [1, 0, 2]}, "column 'width': '0'"),
        ({"label:Mass": [0, 1, 2]}, "row 2 .film 'i2'., column 'label:Mass': '2.0' is neither 0, 1 nor null"),
        ({"label:Mass": [0.5, 0.5, 1.0]}, r"column 'label:Mass': '0.5' .* \(and 1 more\)"),
        ({"label:Mass": ["yes", "no", "no"]}, "column 'label:Mass' cannot be read"),
        ({"teacher:Mass": [0.0, 1.5, 0.0]}, "column 'teacher:Mass': '1.5' is no probability"),
    ],
)
def test_a_wrong_cell_is_named(columns: dict, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        Manifest(rows(**columns))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": ["other"]}, "box 0 .film 'other'.*is no film"),
        ({"x2": [1.0]}, "column 'x2': '1.0' is not above x1"),
        ({"y2": [200.0]}, "column 'y2': '200.0' lies outside the film"),
        ({"x1": [-5.0]}, "column 'x1': '-5.0' lies outside"),
        ({"y1": [float("nan")]}, "is not above y1"),
    ],
)
def test_a_wrong_box_is_named(change: dict, words: str) -> None:
    table = rows(width=[100, 100, 100], height=[100, 100, 100])
    with pytest.raises(ManifestError, match=words):
        Manifest(table, pl.DataFrame(BOX | change))


def test_saved_and_loaded_is_the_same_and_can_move(tmp_path: Path) -> None:
    table = rows(**{"label:Mass": [1, None, 0], "licence": ["x", None, "y"]})
    gone = pl.DataFrame({"image_id": ["far"], "path": ["far.png"]})
    manifest = Manifest(table, pl.DataFrame(BOX), tmp_path, gone, ("a note",))
    manifest.save(tmp_path / "deep" / "m")
    loaded = Manifest.load(tmp_path / "deep" / "m.parquet")
    assert loaded.table.equals(manifest.table)
    assert loaded.boxes.equals(manifest.boxes)
    assert loaded.missing.equals(manifest.missing)
    assert (loaded.root, loaded.notes, loaded.digest) == (tmp_path, ("a note",), manifest.digest)
    assert Manifest.load(tmp_path / "deep" / "m", root="/elsewhere").paths()[0] == Path("/elsewhere/a/0.png")
    Manifest(table).save(tmp_path / "deep" / "m")  # no boxes now: the old ones must not come back
    assert Manifest.load(tmp_path / "deep" / "m").boxes.height == 0


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        Manifest.load(tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="a folder, and a manifest is wanted"):
        Manifest.load(tmp_path)
    (tmp_path / "films.csv").write_text("path\n")
    with pytest.raises(ManifestError, match="no Parquet file, and a manifest is wanted") as table:
        Manifest.load(tmp_path / "films.csv")
    assert table.value.path == tmp_path / "films.csv"
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        Manifest.load(tmp_path / "bad.parquet")
    rows().write_parquet(tmp_path / "plain.parquet")
    with pytest.raises(ManifestError, match="no manifest that Hilum saved"):
        Manifest.load(tmp_path / "plain.parquet")
    Manifest(rows(), pl.DataFrame(BOX)).save(tmp_path / "m.parquet")
    (tmp_path / "m.boxes.parquet").unlink()
    with pytest.raises(ManifestError, match="changed after saving"):
        Manifest.load(tmp_path / "m.parquet")


def test_digest_is_of_the_content_alone() -> None:
    table = rows(**{"label:Mass": [1, None, 0], "view": ["PA", None, "AP"]})
    digest = Manifest(table).digest
    assert Manifest(table.reverse(), root=Path("/x")).digest == digest
    assert Manifest(table.select(reversed(table.columns))).digest == digest
    assert Manifest(table, pl.DataFrame(BOX)).digest != digest
    assert Manifest(table.with_columns(pl.lit("F").alias("sex"))).digest != digest
    zero = table.with_columns(pl.col("label:Mass").fill_null(0))
    assert Manifest(zero).digest != digest


def test_filter_takes_its_boxes_along() -> None:
    manifest = Manifest(rows(view=["PA", "AP", "PA"]), pl.DataFrame(BOX))
    assert manifest.filter(view="PA").boxes.height == 1
    assert manifest.filter(pl.col("view") == "AP").boxes.height == 0
    assert manifest.filter(view="PA").image_ids == ["i0", "i2"]


def test_with_split_and_classes() -> None:
    manifest = Manifest(rows(**{"class": ["a", None, "b"]}))
    assert manifest.with_split({"i0": "train", "i2": "test"}).table["split"].to_list() == [
        "train",
        None,
        "test",
    ]
    with pytest.raises(ManifestError, match="names 'i9'"):
        manifest.with_split({"i9": "train"})
    assert manifest.classes(("b", "a")).tolist() == [1, -1, 0]
    with pytest.raises(ManifestError, match="classes b are not among a"):
        manifest.classes(("a",))


def test_concat_unites_columns_and_roots() -> None:
    one = Manifest(rows(**{"label:Mass": [1, 0, 1]}), root=Path("/data/one"))
    names = {"image_id": ["o0", "o1", "o2"]}
    two = Manifest(rows(**names, **{"label:Edema": [0, 0, 1]}, mask=["m", None, "n"]), root=Path("/data/two"))
    both = concat([one, two])
    assert both.root == Path("/data")
    assert both.table["path"].to_list()[2:4] == ["one/a/2.png", "two/a/0.png"]
    assert both.table["mask"].to_list() == [None, None, None, "two/m", None, "two/n"]
    assert np.isnan(both.labels()[1]).sum() == 6
    assert concat([one]).digest == one.digest
    with pytest.raises(ManifestError, match="stands twice"):
        concat([one, one])
