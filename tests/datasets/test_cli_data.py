"""`hilum data`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hilum.cli.data import app
from hilum.datasets import registry
from hilum.datasets.manifest import Manifest
from hilum.datasets.pixel_store import PixelStore
from hilum.errors import DataError, SplitError
from tests.datasets.mini import MINI


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def kermany(tmp_path: Path) -> Path:
    MINI["kermany"](tmp_path / "kermany")
    run("prepare", "kermany", tmp_path / "kermany", "--out", tmp_path / "k.parquet")
    return tmp_path / "k.parquet"


@pytest.mark.parametrize("command", ["list", "prepare", "describe", "duplicates", "split", "store"])
def test_help_teaches_with_an_example(command: str) -> None:
    assert "Example: hilum data " + command in " ".join(run(command, "--help").split())


def test_list_shows_every_source_and_one_in_full() -> None:
    assert [s["name"] for s in json.loads(run("list", "--json"))] == list(registry.sources())
    page = run("list", "nih14")
    assert "Data_Entry_2017*.csv[.gz]" in page
    assert "teacher" in page


def test_prepare_takes_options_and_says_what_is_missing(tmp_path: Path) -> None:
    expected = MINI["nih14"](tmp_path / "nih")
    out = run(
        "prepare",
        "nih14",
        expected.root,
        f"teacher={expected.options['teacher']}",
        "-o",
        tmp_path / "m.parquet",
    )
    assert "1 films are named but not on disk, the first is 00000003_000.png" in out
    assert Manifest.load(tmp_path / "m.parquet").teacher()[0]
    found = json.loads(run("prepare", "nih14", expected.root, "-o", tmp_path / "m.parquet", "--json"))
    assert (found["films"], found["missing"], found["boxes"]) == (3, 1, 1)


def test_split_by_each_way(kermany: Path, tmp_path: Path) -> None:
    assert "6 train" in run("split", kermany, "--official", "-o", tmp_path / "o.parquet")
    held = json.loads(
        run(
            "split",
            kermany,
            "--holdout",
            "0.5,0.5",
            "--part",
            "train",
            "-o",
            tmp_path / "h.parquet",
            "--json",
        )
    )[0]
    assert held["counts"]["test"] == 2
    assert Manifest.load(tmp_path / "h.parquet").table["split"].null_count() == 0
    run("split", kermany, "--kfold", "2", "--seed", "4", "-o", tmp_path / "k.parquet")
    folds = [Manifest.load(tmp_path / f"k-fold{i}of2.parquet") for i in (1, 2)]
    assert sum(len(f.filter(split="validation")) for f in folds) == 8
    run("split", kermany, "--official", "--kfold", "2", "-o", tmp_path / "x.parquet", code=2)
    run("split", kermany, "--holdout", "much", "-o", tmp_path / "x.parquet", code=2)


def test_films_of_unknown_patient_need_a_word(tmp_path: Path) -> None:
    MINI["covid_radiography"](tmp_path / "c")
    run("prepare", "covid_radiography", tmp_path / "c", "-o", tmp_path / "c.parquet")
    with pytest.raises(SplitError, match="no patient"):
        run("split", tmp_path / "c.parquet", "--holdout", "0.5,0.5", "-o", tmp_path / "s.parquet")
    run(
        "split",
        tmp_path / "c.parquet",
        "--holdout",
        "0.5,0.5",
        "--own-patients",
        "-o",
        tmp_path / "s.parquet",
    )


def test_store_and_describe(kermany: Path, tmp_path: Path) -> None:
    page = tmp_path / "prep.yaml"
    page.write_text("size: [24, 16]\naspect: pad\nclahe: {clip: 2.0, grid: 2}\n")
    run("store", kermany, "--preparation", page, "-o", tmp_path / "s", "--workers", "0")
    assert PixelStore.open(tmp_path / "s").images.shape == (8, 24, 16)
    (tmp_path / "kermany" / "test" / "NORMAL" / "IM-0001-0001.jpeg").write_bytes(b"")
    out = run("store", kermany, "--size", "16", "-o", tmp_path / "t", "--workers", "0", "--json", code=1)
    assert [f["image_id"] for f in json.loads(out)["failures"]] == ["IM-0001-0001"]
    assert json.loads(run("describe", kermany, "-o", tmp_path / "d", "--json"))["films"] == 8
    assert (tmp_path / "d" / "labels.png").is_file()


def test_a_wrong_root_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no such folder"):
        run("prepare", "kermany", tmp_path / "none", "-o", tmp_path / "m.parquet")


def test_store_verifies_what_is_there(kermany: Path, tmp_path: Path) -> None:
    place = tmp_path / "s"
    store = ("store", kermany, "--size", "16", "-o", place, "--workers", "0")
    assert "every byte" not in run(*store, "--verify")  # built now: there was nothing to hold
    assert "every byte as it was built" in run(*store, "--verify")
    assert json.loads(run(*store, "--verify", "--json"))["verified"] is True
    with (place / "images.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    run(*store)
    with pytest.raises(DataError, match=r"'images\.npy' was changed after it was built"):
        run(*store, "--verify")
