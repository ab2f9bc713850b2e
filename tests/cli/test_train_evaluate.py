"""`hilum train` and `hilum evaluate`, one after the other, as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from hilum import cli
from hilum.bundles import verify
from hilum.datasets.manifest import Manifest
from hilum.errors import RecipeError, SplitError
from tests.learning.conftest import content, films, in_this_process

__all__ = ["films", "in_this_process"]  # fixtures


@pytest.fixture
def recipe(films: Path, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content(films, "multilabel")))
    return path


def test_train_then_evaluate(recipe: Path, tmp_path: Path):
    run = tmp_path / "run"
    words = ["train", str(recipe), "phases.0.epochs=1", "seed=5", "--out", str(run)]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert str(run / "bundle") in done.output
    assert verify(run / "bundle").name == "toy-multilabel"
    door = ["evaluate", str(run / "bundle"), str(run / "manifest.parquet"), "--out", str(tmp_path / "test")]
    seen = CliRunner().invoke(cli.app, door)
    assert isinstance(seen.exception, SplitError)
    tested = CliRunner().invoke(
        cli.app, [*door, "--split", "test", "--name", "unseen", "--record"], catch_exceptions=False
    )
    assert tested.exit_code == 0
    assert "12 films of 6 patients" in " ".join(tested.output.split())
    assert "unseen" in verify(run / "bundle").metrics
    assert (tmp_path / "test" / "evaluation.json").is_file()


def test_films_that_cannot_be_read_are_named_and_the_exit_code_is_1(
    recipe: Path, films: Path, tmp_path: Path
):
    run = tmp_path / "run"
    words = ["train", str(recipe), "phases.0.epochs=1", "seed=5", "--out", str(run)]
    assert CliRunner().invoke(cli.app, words, catch_exceptions=False).exit_code == 0
    manifest = Manifest.load(run / "manifest.parquet")
    torn = manifest.filter(split="test").table["path"][0]
    (manifest.root / torn).write_bytes(b"no film")
    door = ["evaluate", str(run / "bundle"), str(run / "manifest.parquet"), "--split", "test"]
    tested = CliRunner().invoke(cli.app, [*door, "--out", str(tmp_path / "test")], catch_exceptions=False)
    assert tested.exit_code == 1
    assert "11 films of 6 patients" in " ".join(tested.output.split())
    assert "left out" in tested.stderr
    assert Path(torn).stem in tested.stderr


def test_a_wrong_change_is_said_before_anything_is_written(recipe: Path, tmp_path: Path):
    done = CliRunner().invoke(
        cli.app, ["train", str(recipe), "phases.0.epocs=1", "--out", str(tmp_path / "run")]
    )
    assert isinstance(done.exception, RecipeError)
    assert "phases.0.epocs" in str(done.exception)
    assert not (tmp_path / "run").exists()
