"""Trained by two processes of a Ray cluster, a run has the curves and metrics that one process gives it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.cluster.training import train_on_ray
from hilum.datasets import registry
from hilum.learning.recipe import Recipe
from hilum.learning.run import train
from tests.learning.conftest import content, write_films
from tests.learning.test_together import STILL, history


def kill_a_worker(run: Path, killed: list[int]) -> None:
    """Kill one of this cluster's training processes as soon as the run has written its first epoch down."""
    import ray

    psutil = pytest.importorskip("psutil")
    session = ray._private.worker._global_node.get_session_dir_path()
    while not killed:
        time.sleep(0.2)
        if not (run / "history.csv").is_file() or len((run / "history.csv").read_text().splitlines()) < 2:
            continue
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.parent() and any(session in word for word in process.parent().cmdline())
                if ours and "RayTrainWorker" in " ".join(process.cmdline()):
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    break


@pytest.mark.slow
def test_two_processes_one_of_which_dies_learn_what_one_learns(cluster: str, tmp_path: Path):
    """All are started again, and go on after the last whole epoch."""
    films = tmp_path / "data"
    registry.load("csv", write_films(films)).save(films / "films.parquet")
    wish = content(films, "multilabel") | {"model": {"name": "timm", "options": STILL}}
    # A frozen encoder: Adam makes a whole step of a rounding's sign, and ten films' ranks would show it.
    wish["phases"] = [{"name": "only", "train": "head", "epochs": 4, "batch": 8, "rate": 2e-3}]
    recipe = Recipe.model_validate(wish)
    train(recipe, tmp_path / "one", device="cpu")
    killed: list[int] = []
    threading.Thread(target=kill_a_worker, args=(tmp_path / "ray", killed), daemon=True).start()
    bundle = train_on_ray(cluster, recipe, tmp_path / "ray", 2, "cpu")
    assert killed
    one, two = history(tmp_path / "one"), history(tmp_path / "ray")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=2e-3, err_msg=name)
    measured = [
        json.loads((run / "validation" / "metrics.json").read_text())["overall"]["macro_auc"]["value"]
        for run in (tmp_path / "one", bundle.parent)
    ]
    assert measured[0] == pytest.approx(measured[1], abs=1e-6)
