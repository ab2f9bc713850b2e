"""A run that is killed and called again ends where an unkilled run ends, bit by bit."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.errors import RecipeError
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import load_recipe
from hilum.learning.run import train
from tests.learning.conftest import content, same, trained_weights

ROOT = Path(__file__).resolve().parents[2]

PHASES = [
    {"name": "head", "train": "head", "epochs": 2, "batch": 8, "rate": 2e-3, "average": 0.7},
    {"name": "all", "epochs": 3, "batch": 8, "rate": 1e-3, "encoder_rate": 5e-4, "average": 0.8},
]

# Lets itself be killed, with nothing tidied up, at the moment it is about to write (or has written) its n-th checkpoint.
CHILD = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from hilum.learning import checkpoints
from hilum.learning.recipe_files import load_recipe
from hilum.learning.run import train
recipe, out, moment, count = sys.argv[1:]
save, left = checkpoints.SafetensorsIO.save_checkpoint, [int(count)]
def killed(self, checkpoint, path, storage_options=None):
    left[0] -= 1
    if moment == "before" and not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, checkpoint, path, storage_options)
    if moment == "after" and not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
checkpoints.SafetensorsIO.save_checkpoint = killed
train(load_recipe(recipe), out)
"""


@pytest.fixture(scope="module", params=["multilabel", "segment"])
def recipe_file(
    request: pytest.FixtureRequest, films: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    wish = content(films, request.param) | {"phases": PHASES}
    path = tmp_path_factory.mktemp("resume") / f"{request.param}.yaml"
    path.write_text(Recipe.model_validate(wish).as_yaml())
    return path


@pytest.fixture
def unkilled(recipe_file: Path, in_this_process: None) -> Path:
    """The run that nobody disturbed; one for all tests."""
    out = recipe_file.parent / "unkilled"
    if not (out / "bundle").is_dir():
        train(load_recipe(recipe_file), out)
    return out


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


# Checkpoints come in the order best, last, best (where better), last, ... of each phase.
MOMENTS = {"multilabel": ("after", 3), "segment": ("before", 6)}


def test_killed_and_called_again(recipe_file: Path, unkilled: Path, tmp_path: Path):
    """In the first phase; and in the second, whose weights lie channels last and have an average."""
    moment, count = MOMENTS[recipe_file.stem]
    out = tmp_path / "killed"
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(recipe_file), str(out), moment, str(count)],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert not (out / "bundle").exists()
    train(load_recipe(recipe_file), out)
    assert same(trained_weights(out), trained_weights(unkilled))
    assert history(out) == history(unkilled)
    assert len(history(out)) == 5


def test_the_run_of_another_recipe_is_refused(unkilled: Path, recipe_file: Path):
    with pytest.raises(RecipeError, match="another recipe"):
        train(load_recipe(recipe_file, ["seed=99"]), unkilled)


def test_other_films_than_the_run_began_with_are_refused(unkilled: Path, recipe_file: Path, tmp_path: Path):
    import shutil

    recipe = load_recipe(recipe_file)
    moved = tmp_path / "data"
    shutil.copytree(recipe.data.root, moved)
    same_films = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": str(moved)})})
    assert same_films.digest == recipe.digest
    (moved / "train-00.png").unlink()
    with pytest.raises(RecipeError, match="not those that this run began with"):
        train(same_films, unkilled)
