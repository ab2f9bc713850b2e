"""`hilum boxes`: from tables to a table, and to numbers; bad rows end with 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hilum.cli import app
from hilum.errors import BoxError
from tests.datasets.test_box_tables import LONG, SUBMISSION, table


def run(*words: object):
    return CliRunner().invoke(app, ["boxes", *map(str, words)])


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    return [
        table(tmp_path, SUBMISSION, "a,3 0.9 0 0 100 100", "b,3 0.2 5 5 60 60", "c,", name="one.csv"),
        table(tmp_path, SUBMISSION, "a,3 0.7 0 0 100 110", "b,", "c,0 0.1 1 1 9 9", name="two.csv.gz"),
    ]


def test_fuse_then_score(tmp_path: Path, tables: list[Path]):
    out = tmp_path / "fused.csv"
    result = run("fuse", *tables, "--method", "wbf", "--iou", 0.4, "--out", out)
    assert result.exit_code == 0, result.output
    assert "4 boxes of 2 tables became 3 on 3 films" in result.output.replace("\n", " ")
    assert out.read_text().splitlines()[1] == "a,3 0.8 0 0 100 104.375"
    truth = table(tmp_path, LONG, "a,Cardiomegaly,,0,0,100,100", "b,,,,,,", "c,,,,,,", name="truth.csv")
    told = run("score", out, truth, "--replicates", 20, "--no-finding", "--json")
    assert told.exit_code == 0, told.output
    found = json.loads(told.output)
    assert found["voc"]["classes"]["Cardiomegaly"]["value"] == 1
    assert found["voc"]["classes"]["No Finding"]["value"] == 0
    assert found["voc"]["classes"]["Aortic Enlargement"]["value"] is None
    assert found["voc"]["mean"]["value"] == 0.5
    assert found["kept_out"] == []
    shown = run("score", out, truth, "--replicates", 20)
    assert shown.exit_code == 0
    assert "Cardiomegaly" in shown.output


@pytest.mark.parametrize("method", ["wbf", "nmw", "nms", "soft-nms", "soft-nms-linear"])
def test_every_method_is_a_word(tmp_path: Path, tables: list[Path], method: str):
    told = run(
        "fuse",
        *tables,
        "-m",
        method,
        "--format",
        "long",
        "--weights",
        "2,1",
        "-o",
        tmp_path / "f.csv",
        "--json",
    )
    assert told.exit_code == 0, told.output
    assert json.loads(told.output)["boxes"] >= 3
    assert (tmp_path / "f.csv").read_text().startswith(LONG)


def test_bad_rows_are_an_error_or_kept_out_with_exit_code_1(tmp_path: Path, tables: list[Path]):
    torn = table(tmp_path, SUBMISSION, "a,3 0.9 0 0", "b,3 0.2 60 5 5 60", "c,", name="torn.csv")
    out = tmp_path / "fused.csv"
    refused = run("fuse", tables[0], torn, "--out", out)
    assert isinstance(refused.exception, BoxError)
    assert "line 2 (film 'a')" in str(refused.exception)
    assert not out.exists()
    kept = run("fuse", tables[0], torn, "--out", out, "--skip-bad")
    assert kept.exit_code == 1
    assert "line 2 (film 'a')" in kept.output
    assert "box 1: the box is reversed" in kept.output
    assert out.exists()
    told = run("fuse", tables[0], torn, "--out", out, "--skip-bad", "--json")
    assert [f["line"] for f in json.loads(told.stdout)["kept_out"]] == [2, 3, 2]


def test_a_film_that_one_table_lacks_stays_and_is_told_with_that_table(tmp_path: Path):
    both = table(tmp_path, SUBMISSION, "a,3 0.9 0 0 9 9", "b,3 0.8 0 0 9 9", name="both.csv")
    one = table(tmp_path, SUBMISSION, "a,3 0.9 0 0 9 9", name="one.csv")
    kept = run("fuse", both, one, "--out", tmp_path / "f.csv", "--skip-bad")
    assert kept.exit_code == 1
    assert "kept out" not in kept.output
    assert "stays" in kept.output
    assert "line 3 (film 'b'): the film is not in one.csv" in kept.output
    assert (tmp_path / "f.csv").read_text().splitlines()[2].startswith("b,3 ")
    told = run("fuse", both, one, "--out", tmp_path / "f.csv", "--skip-bad", "--json")
    assert [f["stays"] for f in json.loads(told.stdout)["kept_out"]] == [True]


def test_no_table_is_written_over_what_it_was_made_of(tmp_path: Path, tables: list[Path]):
    before = tables[1].read_bytes()
    refused = run("fuse", *tables, "--out", tables[1])
    assert refused.exit_code == 2
    assert tables[1].read_bytes() == before
    assert run("fuse", *tables, "--out", tmp_path / "f.parquet").exit_code == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--skip-below", "2"),
        ("--method", "mean"),
        ("--weights", "1"),
        ("--weights", "1,x"),
        ("--format", "xml"),
        ("--conf-type", "sum"),
    ],
)
def test_options_that_make_no_sense_are_usage_errors(
    tmp_path: Path, tables: list[Path], options: tuple[str, str]
):
    assert run("fuse", *tables, "--out", tmp_path / "f.csv", *options).exit_code == 2


def test_sizes_hold_boxes_to_their_films(tmp_path: Path, tables: list[Path]):
    sizes = table(tmp_path, "image_id,height,width", "a,105,100", "b,90,90", name="sizes.csv")
    result = run("fuse", *tables, "--out", tmp_path / "f.csv", "--sizes", sizes)
    assert "outside its film" in str(result.exception)
    wrong = table(tmp_path, "image_id,height,width", "a,0,100", name="wrong.csv")
    result = run("fuse", *tables, "--out", tmp_path / "f.csv", "--sizes", wrong)
    assert "line 2 (film 'a') has no size" in str(result.exception)


@pytest.mark.parametrize("name", ["fuse", "score"])
def test_help_has_examples(name: str):
    shown = run(name, "--help")
    assert shown.exit_code == 0
    assert "Example: hilum boxes" in " ".join(shown.output.split())
