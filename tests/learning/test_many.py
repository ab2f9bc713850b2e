"""Many runs in one call: one that fails loses no other, one that has ended is left as it is, Ctrl-C stops all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.bundles import load, save, verify
from hilum.errors import RecipeError
from hilum.learning import run
from hilum.learning.many import Job, carry_out
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import load_recipe
from hilum.learning.run import train
from tests.learning.conftest import same, trained_weights

Make = Callable[..., Recipe]
ROOT = Path(__file__).resolve().parents[2]
ONE = [{"name": "a", "epochs": 1, "batch": 8}]

TWO_AT_ONCE = """
import sys
from pathlib import Path
from hilum.learning.many import Job, carry_out
from hilum.learning.recipe_files import load_recipe
if __name__ == "__main__":
    jobs = [Job(load_recipe(path), Path(path).with_suffix("")) for path in sys.argv[1:]]
    for outcome in carry_out(jobs, at_once=2, device="cpu"):
        print(outcome.bundle, "|", outcome.fault)
"""


def started(folder: Path, *recipes: Path) -> subprocess.Popen:
    script = folder / "two.py"
    script.write_text(TWO_AT_ONCE)
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, recipes)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that started these tests in the background has it ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def nobody_left(group: int, seconds: float = 20) -> bool:
    """The process group is empty, soon."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def written(folder: Path, recipe: Recipe) -> Path:
    path = folder / f"{recipe.name}.yaml"
    path.write_text(recipe.as_yaml())
    return path


def test_a_failed_run_is_named_and_loses_no_other(recipe: Make, tmp_path: Path):
    good = recipe(phases=ONE)
    bad = recipe(data={"labels": ["Mass", "Hernia"]}, phases=ONE)
    outcomes = carry_out([Job(bad, tmp_path / "bad"), Job(good, tmp_path / "good")])
    assert "Hernia" in str(outcomes[0].fault)
    assert outcomes[0].bundle is None
    assert outcomes[1].bundle == tmp_path / "good" / "bundle"
    assert outcomes[1].fault is None


def test_a_fault_of_ours_loses_no_other_run_either(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(run, "conclude", fail)
    outcomes = carry_out([Job(recipe(phases=ONE), tmp_path / name) for name in ("a", "b")])
    assert [outcome.fault for outcome in outcomes] == ["ZeroDivisionError: oops"] * 2


def test_ctrl_c_is_not_taken_for_a_failed_run(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "conclude", stop)
    with pytest.raises(KeyboardInterrupt):
        carry_out([Job(recipe(phases=ONE), tmp_path / name) for name in ("a", "b")])
    assert not (tmp_path / "b").exists()


def test_one_folder_for_two_runs_is_refused(recipe: Make, tmp_path: Path):
    with pytest.raises(RecipeError, match="two runs share"):
        carry_out([Job(recipe(), tmp_path / "a"), Job(recipe(seed=9), tmp_path / "b" / ".." / "a")])


def test_a_run_that_has_ended_keeps_what_was_recorded_in_it(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    job = Job(recipe(phases=ONE), tmp_path / "run")
    bundle = carry_out([job])[0].bundle
    assert bundle is not None
    opened = load(bundle)
    opened.info = opened.info.model_copy(update={"metrics": {**opened.info.metrics, "later": {"note": "x"}}})
    save(opened, bundle)
    before = verify(bundle).digest
    monkeypatch.setattr(run, "run_phase", lambda *_: pytest.fail("trained again"))
    assert carry_out([job])[0].bundle == bundle
    assert verify(bundle).digest == before
    assert "later" in verify(bundle).metrics


def test_a_damaged_bundle_is_made_anew_from_the_run(recipe: Make, tmp_path: Path):
    bundle = train(recipe(phases=ONE), tmp_path / "run")
    whole = {k: v.clone() for k, v in trained_weights(tmp_path / "run").items()}  # not the file's own pages
    (bundle / "weights.safetensors").write_bytes(b"cut")
    train(recipe(phases=ONE), tmp_path / "run")
    assert same(trained_weights(tmp_path / "run"), whole)


@pytest.mark.slow
def test_two_at_once_end_as_one_after_the_other(recipe: Make, tmp_path: Path):
    """Two folds that want the same new store, and a run that cannot be."""
    store = {"store": str(tmp_path / "stores"), "workers": 1}
    folds = [
        recipe(
            name=f"fold-{n}", phases=ONE, data={"split": {"kind": "kfold", "folds": 3, "fold": n, "validation": 0.3}} | store
        )
        for n in (0, 1)
    ]  # fmt: skip
    bad = recipe(name="bad", data={"labels": ["Hernia"], **store})
    child = started(tmp_path, *[written(tmp_path, wish) for wish in (*folds, bad)])
    said, errors = child.communicate(timeout=600)
    lines = [line.split(" | ") for line in said.splitlines()]
    assert [line[0] for line in lines[:2]] == [str(tmp_path / f"fold-{n}" / "bundle") for n in (0, 1)], errors
    assert "Hernia" in lines[2][1]
    assert len([path for path in (tmp_path / "stores").iterdir() if path.is_dir()]) == 1
    assert "epoch 1" in (tmp_path / "fold-1" / "train.log").read_text()
    train(folds[1], tmp_path / "alone")
    assert same(trained_weights(tmp_path / "alone"), trained_weights(tmp_path / "fold-1"))


@pytest.mark.slow
def test_ctrl_c_ends_every_process_and_the_same_call_goes_on(recipe: Make, tmp_path: Path):
    long = [{"name": "a", "epochs": 500, "batch": 8}]
    paths = [written(tmp_path, recipe(name=name, phases=long)) for name in ("one", "two")]
    child = started(tmp_path, *paths)
    logs = [tmp_path / name / "history.csv" for name in ("one", "two")]
    until = time.monotonic() + 300
    while not all(log.is_file() and len(log.read_text().splitlines()) > 1 for log in logs):
        assert time.monotonic() < until
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        time.sleep(0.2)
    child.send_signal(signal.SIGINT)  # to the parent alone, as where its children have no terminal
    try:
        child.communicate(timeout=120)
    except subprocess.TimeoutExpired:  # a machine under load: as a person would, press again
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=120)
    assert child.returncode != 0
    assert nobody_left(child.pid)
    written_down = logs[0].read_text()
    time.sleep(1)
    assert logs[0].read_text() == written_down
    assert load_recipe(paths[0]).digest in (tmp_path / "one" / "recipe.json").read_text()
