"""Paths are printed as they are: a folder's name that looks like rich's markup neither vanishes nor ends the call."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from hilum import cli
from hilum.analysis import folder
from hilum.analysis.folder import Summary

NAMES = ("a[/b]", "a[bold]")


def printed(*words: object) -> str:
    done = CliRunner().invoke(cli.app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_analyze(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = Summary(tmp_path / name / "index.html", [], [], 1.0)
    monkeypatch.setattr(folder, "analyze_all", lambda *_, **__: summary)
    assert f"Index: {summary.index}" in printed("analyze", "x.dcm", "--out", tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_train(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.learning import recipe_files, together

    monkeypatch.setattr(recipe_files, "load_recipe", lambda *_: SimpleNamespace(name="toy"))
    monkeypatch.setattr(together, "train_together", lambda wish, out, *_, **__: out / "bundle")
    text = printed("train", "toy.yaml", "--out", tmp_path / name)
    assert f"Bundle: {tmp_path / name / 'bundle'}" in text
    assert f"Its card: {tmp_path / name / 'bundle' / 'card.md'}" in text


@pytest.mark.parametrize("name", NAMES)
def test_evaluate(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.bundles import card
    from hilum.learning import evaluate

    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: {"unreadable": []})
    monkeypatch.setattr(card, "measured", lambda _: "AUC 0.5")
    text = printed("evaluate", "toy", "films.parquet", "--out", tmp_path / name)
    assert f"Written to {tmp_path / name}" in text
