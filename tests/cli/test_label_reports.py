"""`hilum data label-reports`, as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
from typer.testing import CliRunner

from hilum.cli.data import app
from hilum.datasets import registry
from tests.datasets.mini import film
from tests.datasets.test_report_files import archive, xml


def run(*arguments: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["label-reports", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_help_teaches_with_an_example() -> None:
    assert "Example: hilum data label-reports NLMCXR_reports.tgz" in " ".join(run("--help")[0].split())


def test_an_archive_is_labelled_and_scored(tmp_path: Path) -> None:
    texts = {"1": "No effusion. Cardiomegaly.", "2": "Possible effusion.", "3": "A nodule."}
    files = {f"{n}.xml": xml(f"CXR{n}", text, tags=("normal",)) for n, text in texts.items()}
    reports = archive(tmp_path / "r.tgz", files)
    out, evidence = tmp_path / "labels.csv", tmp_path / "evidence.csv"
    said, _ = run(reports, "--out", out, "--score", tmp_path / "score", "--evidence", evidence)
    assert f"{out}: 3 reports" in said
    table = pl.read_csv(out)
    assert table["Effusion"].to_list() == [0.0, -1.0, None]
    assert (tmp_path / "score" / "report-labels.md").is_file()
    assert pl.read_csv(evidence)["finding"].to_list() == ["Effusion", "Cardiomegaly", "Effusion", "Nodule"]
    found = json.loads(run(reports, "--out", out, "--uncertain", "positive", "--json")[0])
    assert found["findings"]["Effusion"] == {"positive": 0, "uncertain": 1, "negated": 1, "not mentioned": 1}
    assert pl.read_csv(out)["Effusion"].to_list() == [0.0, 1.0, None]
    run(reports, "--out", out, "--uncertain", "maybe", code=2)


def test_what_cannot_be_read_is_named_and_ends_with_1(tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "a.txt").write_text("There is an effusion.")
    (folder / "b.txt").write_text("")
    (folder / "c.txt").write_text(
        "Derrame pleural izquierdo sin otros cambios en la radiografía de tórax actual."
    )
    (folder / "d.xml").write_text("<broken")
    out = tmp_path / "labels.csv"
    _, faults = run(folder, "--out", out, code=1)
    assert "no labels: b: no findings and no impression" in faults
    assert "no labels: c: not in English" in faults
    assert "no labels: d.xml: not XML" in faults
    assert pl.read_csv(out)["report"].to_list() == ["a", "b", "c"]
    assert len(json.loads(run(folder, "--out", out, "--json", code=1)[0])["faults"]) == 3


def test_a_row_that_contradicts_itself_is_named(tmp_path: Path) -> None:
    table = tmp_path / "nih.csv"
    table.write_text("Image Index,Finding Labels\na.png,No Finding|Mass\nb.png,Mass\n")
    out = tmp_path / "new" / "labels.csv"
    _, faults = run(table, "--out", out, "--evidence", tmp_path / "other" / "e.csv", code=1)
    assert "no labels: a.png: 'No Finding|Mass' names findings and No Finding" in faults
    assert pl.read_csv(out)["report"].to_list() == ["b.png"]


def test_labels_of_a_table_go_into_a_manifest(tmp_path: Path) -> None:
    """The way that the documentation tells: reports, labels, films with those labels."""
    for name in ("x", "y"):
        film(tmp_path / "films" / f"{name}.png", 1)
    table = tmp_path / "reports.csv"
    table.write_text('image_id,report\nx,"Cardiomegaly, possible effusion."\ny,Cardiomegaly|Mass\n')
    run(table, "--out", tmp_path / "labels.csv")
    labels = pl.read_csv(tmp_path / "labels.csv").with_columns(
        path=pl.col("report") + ".png", patient="report"
    )
    labels.drop("note").write_csv(tmp_path / "films" / "films.csv")
    manifest = registry.load("csv", tmp_path / "films")
    names, values = manifest.labels()
    found = {name: list(column) for name, column in zip(names, values.T, strict=True)}
    assert found["Cardiomegaly"] == [1, 1]
    assert all(v != v for v in found["Effusion"])  # uncertain and not mentioned: unknown, never 0
    assert found["Mass"][1] == 1
