"""`hilum analyze` at the command line: what it prints, what it ends with, and that its help is quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from hilum.analysis import folder
from hilum.analysis.folder import Summary
from hilum.cli.analyze import analyze

app = typer.Typer()
app.command()(analyze)


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "160"})


def test_help_shows_an_example_and_needs_no_torch():
    code = (
        "import sys, typer\nfrom hilum.cli.analyze import analyze\napp = typer.Typer()\napp.command()(analyze)\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hilum analyze chest.dcm --out reports" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["x.dcm"],
        ["--out", "o"],
        ["x", "-o", "o", "--format", "pdf"],
        ["x", "-o", "o", "-j", "0"],
        ["x", "-o", "o", "--format", ","],
        ["x", "-o", "o", "--heatmap-method", "lime"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_missing_film_is_named_and_ends_with_1(tmp_path):
    done = run(tmp_path / "absent[1].dcm", "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "absent[1].dcm: there is no such file. Check the path." in done.stdout
    assert "0 reports, 1 failed" in done.stdout
    assert (
        json.loads((tmp_path / "out" / "index.json").read_text())["failures"][0]["fault"]
        == "there is no such file"
    )


def test_it_shows_the_first_films_and_says_how_many_more(tmp_path, monkeypatch):
    entries = [
        {
            "file": f"/films/[b]f{i}.dcm",
            "name": f"films/[b]f{i}" if i == 2 else f"[b]f{i}",
            "analysable": i != 1,
            "reason": "a hand",
            "warnings": ["w"] * i,
            "positive": ["Mass"],
        }
        for i in range(30)
    ]
    asked = {}

    def analyze_all(paths: list[Path], out: Path, **options: object) -> Summary:
        asked.update(options, paths=paths)
        return Summary(out / "index.html", entries, [], 1.0)

    monkeypatch.setattr(folder, "analyze_all", analyze_all)
    done = run(
        "a",
        "b",
        "-o",
        tmp_path,
        "--format",
        "png, json",
        "-b",
        "lungs",
        "-b",
        "x",
        "--samples",
        "7",
        "-j",
        "3",
    )
    assert done.exit_code == 0
    assert "[b]f0.dcm" in done.stdout
    assert "not analysed: a hand" in done.stdout
    assert "f19.dcm" in done.stdout
    assert "films/[b]f2 " in done.stdout, "another film is called f2 too"
    assert "f20.dcm" not in done.stdout
    assert "and 10 more" in done.stdout
    assert "30 reports, 0 failed" in done.stdout
    assert asked["formats"] == ("png", "json")
    assert asked["bundles"] == ["lungs", "x"]
    assert (asked["samples"], asked["jobs"], asked["timeout"]) == (7, 3, 300.0)
