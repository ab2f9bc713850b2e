"""Phases: rates, what is frozen, what is handed on, when training stops, and the averaged model."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from hilum.errors import RecipeError
from hilum.learning import checkpoints, phases
from hilum.learning.building import build_model
from hilum.learning.history import History
from hilum.learning.material import Material, gather
from hilum.learning.phases import run_phase
from hilum.learning.recipe import Phase, Recipe
from hilum.learning.tasks import TASKS, MultiLabel, Segment
from hilum.learning.tasks.segment import as_target, dice
from hilum.learning.tasks.task import Plateau, rate_at
from tests.learning.conftest import same

Make = Callable[..., Recipe]


def fit(
    recipe: Recipe, number: int, folder: Path, model: nn.Module | None = None
) -> tuple[nn.Module, Material]:
    """Phase `number` in `folder`; the model that it leaves, and what it learnt from."""
    torch.manual_seed(recipe.seed)
    model = model or build_model(recipe)
    material = gather(recipe)
    run_phase(model, recipe, number, material, folder / "phases", History(folder))
    return model, material


def state(model: nn.Module, *, prefix: str = "") -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items() if k.startswith(prefix)}


def test_the_rate_warms_up_and_falls_by_a_cosine():
    phase = Phase(name="p", epochs=1, warmup=0.1, floor=0.02)
    rates = [rate_at(step, 100, phase) for step in range(100)]
    assert rates[:10] == pytest.approx(np.arange(1, 11) / 10)
    for step in range(10, 100):
        assert rates[step] == pytest.approx(0.02 + 0.98 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2)
    assert rate_at(100, 100, phase) == pytest.approx(0.02)
    assert rate_at(500, 100, phase) == pytest.approx(0.02)
    assert rate_at(0, 1, Phase(name="p", epochs=1, warmup=0.0)) == 1.0


def test_a_constant_rate_warms_up_and_stays():
    phase = Phase(name="p", epochs=1, warmup=0.1, schedule="constant")
    rates = [rate_at(step, 50, phase) for step in range(60)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0] + [1.0] * 55)
    assert {rate_at(step, 50, phase.model_copy(update={"warmup": 0.0})) for step in range(60)} == {1.0}


@pytest.mark.parametrize("monitor", ["score", "loss"])
def test_a_plateau_is_torchs(monitor: str):
    """Against ReduceLROnPlateau, whose patience is the number of epochs that are let pass before the one that reduces."""
    values = np.random.default_rng(3).normal(0, 1, 60).cumsum() * (1 if monitor == "score" else -1)
    phase = Phase(
        name="p", epochs=1, schedule="plateau", monitor=monitor, plateau_factor=0.5, plateau_patience=3, floor=0.01
    )  # fmt: skip
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, "max" if monitor == "score" else "min", factor=0.5, patience=2, threshold=0, min_lr=0.01
    )
    ours = Plateau(phase)
    for value in values:
        ours.see(float(value))
        twin.step(float(value))
        assert ours.share == pytest.approx(optimiser.param_groups[0]["lr"])
        again = Plateau(phase)
        again.state = json.loads(json.dumps(ours.state))  # as a checkpoint holds it
        assert vars(again) == vars(ours)
    assert ours.share == pytest.approx(0.01)


def test_a_plateau_lowers_the_rate_of_a_run_that_was_killed_too(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    phase = {"name": "a", "epochs": 5, "batch": 8, "rate": 1e-3, "warmup": 0.0, "schedule": "plateau",
             "plateau_patience": 1, "plateau_factor": 0.5}  # fmt: skip
    wish = recipe(phases=[phase])
    scored(monkeypatch, 0.9, 0.8, 0.7, 0.95, 0.5)
    whole, _ = fit(wish, 0, tmp_path / "whole")
    rates = [float(row["rate"]) for row in History(tmp_path / "whole").rows]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4, 2.5e-4])
    scored(monkeypatch, 0.9, 0.8, 0.7)
    with pytest.raises(RuntimeError, match="no score"):
        fit(wish, 0, tmp_path / "killed")
    scored(monkeypatch, 0.95, 0.5)
    resumed, _ = fit(wish, 0, tmp_path / "killed")
    assert same(state(whole), state(resumed))
    assert [float(row["rate"]) for row in History(tmp_path / "killed").rows] == rates


def test_the_best_epoch_can_be_that_of_the_least_loss(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Scores rise all along; the loss is least in the second epoch, and two worse ones end the phase."""
    losses = iter([3.0, 1.0, 2.0, 2.5, 0.5])
    epoch_loss = {}

    def step(self: Any, batch: Any, index: int) -> None:
        if self.current_epoch not in epoch_loss:
            epoch_loss[self.current_epoch] = next(losses)
        self._seen.append((torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])))
        self.log("validation/loss", epoch_loss[self.current_epoch], batch_size=2)

    monkeypatch.setattr(MultiLabel, "validation_step", step)
    scored(monkeypatch, 0.5, 0.6, 0.7, 0.8, 0.9)
    seen = watch_epochs(monkeypatch)
    wish = recipe(phases=[{"name": "a", "epochs": 5, "batch": 8, "monitor": "loss", "patience": 2}])
    model, _ = fit(wish, 0, tmp_path)
    assert same(state(model), seen[1])
    assert [float(row["validation_loss"]) for row in History(tmp_path).rows] == [3.0, 1.0, 2.0, 2.5]


@pytest.mark.parametrize("task", ["multilabel", "segment"])
def test_a_head_phase_leaves_the_encoder_as_it_was_and_the_next_trains_it(
    task: str, recipe: Make, tmp_path: Path
):
    """Bit by bit, its batch-norm statistics too; and in one process, as a run goes from phase to phase."""
    wish = recipe(
        task,
        phases=[
            {"name": "head", "train": "head", "epochs": 1, "batch": 8, "average": 0.5},
            {"name": "all", "epochs": 1, "batch": 8},
        ],
    )
    prefix = {"multilabel": "backbone.", "segment": "encoder."}[task]
    model = build_model(wish)
    before = state(model)
    fit(wish, 0, tmp_path, model)
    after = state(model)
    encoder = {k for k in before if k.startswith(prefix) and not k.endswith("num_batches_tracked")}
    assert any(k.endswith("running_var") for k in encoder)
    assert all(torch.equal(before[k], after[k]) for k in encoder)
    assert any(not torch.equal(before[k], after[k]) for k in set(before) - encoder)
    fit(wish, 1, tmp_path, model)
    whole = state(model)
    assert all(not torch.equal(whole[k], after[k]) for k in encoder if k.endswith("running_mean"))
    # `conv_head` comes after the features that are pooled here, and takes no part.
    convolutions = [k for k in encoder if whole[k].ndim == 4 and "conv_head" not in k]
    assert all(not torch.equal(whole[k], after[k]) for k in convolutions)


def scored(monkeypatch: pytest.MonkeyPatch, *scores: float) -> None:
    """Validation scores as given, epoch by epoch."""
    left = list(scores)

    def score(self: Any, logits: torch.Tensor, targets: torch.Tensor) -> float:
        if not left:
            raise RuntimeError("no score is left")
        return left.pop(0)

    monkeypatch.setattr(MultiLabel, "score", score)
    monkeypatch.setattr(MultiLabel, "scores_training", False)  # which asks `score` too


def watch_epochs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The model's weights at each epoch's end, as they come."""
    seen: list[dict[str, torch.Tensor]] = []
    write = phases._Diary.on_train_epoch_end

    def spy(self: Any, trainer: L.Trainer, task: Any) -> None:
        seen.append(state(task.best_model))
        write(self, trainer, task)

    monkeypatch.setattr(phases._Diary, "on_train_epoch_end", spy)
    return seen


def test_the_best_epoch_is_handed_on_not_the_last(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scored(monkeypatch, 0.5, 0.9, 0.7, 0.8)
    seen = watch_epochs(monkeypatch)
    wish = recipe(phases=[{"name": "a", "epochs": 4, "batch": 8}])
    model, _ = fit(wish, 0, tmp_path)
    assert same(state(model), seen[1])
    assert not same(seen[1], seen[3])
    place = tmp_path / "phases" / "0-a"
    assert sorted(p.name for p in place.iterdir()) == [
        "best.safetensors",
        "finished.json",
        "last.safetensors",
    ]
    assert checkpoints.read(place / "last.safetensors")["epoch"] == 3, "every epoch can be resumed"
    assert checkpoints.read(place / "best.safetensors")["epoch"] == 1


def test_training_stops_when_patience_ends(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scored(monkeypatch, 0.5, 0.9, 0.7, 0.8, 0.95)
    wish = recipe(phases=[{"name": "a", "epochs": 9, "batch": 8, "patience": 2}])
    fit(wish, 0, tmp_path)
    assert [float(row["validation_score"]) for row in History(tmp_path).rows] == pytest.approx(
        [0.5, 0.9, 0.7, 0.8]
    )


def test_a_stopped_phase_that_was_not_marked_does_not_train_on(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wish = recipe(phases=[{"name": "a", "epochs": 9, "batch": 8, "patience": 1}])
    scored(monkeypatch, 0.9, 0.5)
    first, _ = fit(wish, 0, tmp_path)
    (tmp_path / "phases" / "0-a" / "finished.json").unlink()
    scored(monkeypatch, 0.99, 0.99)
    again, _ = fit(wish, 0, tmp_path)
    assert same(state(first), state(again))
    assert len(History(tmp_path).rows) == 2


def test_a_run_whose_folder_was_moved_keeps_its_best(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The best of a killed phase is of its second epoch; what comes after the move is worse."""
    wish = recipe(phases=[{"name": "a", "epochs": 4, "batch": 8}])
    scored(monkeypatch, 0.5, 0.9)
    seen = watch_epochs(monkeypatch)
    with pytest.raises(RuntimeError, match="no score"):  # ends in the third epoch, for want of a score
        fit(wish, 0, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    scored(monkeypatch, 0.7, 0.8)
    model, _ = fit(wish, 0, tmp_path / "new")
    assert same(state(model), seen[1])
    assert not (tmp_path / "old").exists()
    assert [int(row["epoch"]) for row in History(tmp_path / "new").rows] == [0, 1, 2, 3]


def test_the_average_is_an_exponential_moving_one(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[dict[str, torch.Tensor]] = []
    update = MultiLabel.on_train_batch_end

    def spy(self: MultiLabel, *given: Any) -> None:
        update(self, *given)
        steps.append(state(self.model))

    monkeypatch.setattr(MultiLabel, "on_train_batch_end", spy)
    decay = 0.6
    wish = recipe(phases=[{"name": "a", "epochs": 1, "batch": 8, "average": decay}])
    model, _ = fit(wish, 0, tmp_path)
    assert len(steps) >= 3
    for name, found in state(model).items():
        if not found.is_floating_point():
            continue
        expected = steps[0][name].double()
        for step in steps[1:]:
            expected = decay * expected + (1 - decay) * step[name].double()
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_fewer_films_than_a_batch_are_one_batch(recipe: Make, tmp_path: Path):
    wish = recipe(phases=[{"name": "a", "epochs": 1, "batch": 1000}])
    fit(wish, 0, tmp_path)
    assert len(History(tmp_path).rows) == 1


def test_a_phase_without_films_is_refused(recipe: Make, tmp_path: Path):
    wish = recipe(phases=[{"name": "a", "epochs": 1, "where": "age > 200"}])
    with pytest.raises(RecipeError, match="phase 'a'"):
        fit(wish, 0, tmp_path)


def test_a_phase_can_learn_from_some_films_alone(recipe: Make, monkeypatch: pytest.MonkeyPatch):
    wish = recipe(phases=[{"name": "a", "epochs": 1, "where": "view = 'PA'"}])
    material = gather(wish)
    feed = phases._feed(material, material.train, wish.phases[0], 0, learn=True)
    kept = {material.store.image_ids[row] for row in feed.batches.rows}
    by_id = dict(zip(material.train.manifest.image_ids, material.train.manifest.table["view"], strict=True))
    assert kept == {image_id for image_id, view in by_id.items() if view == "PA"}


@pytest.mark.parametrize("task", ["multilabel", "segment"])
def test_bfloat16_is_for_convolutions_while_training_and_for_nothing_else(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
):
    seen: dict[str, set[torch.dtype]] = {"convolutions": set(), "validated": set(), "scored": set()}
    forward, score = nn.Conv2d.forward, TASKS[task].score

    def convolve(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        out = forward(layer, x)
        seen["convolutions" if torch.is_grad_enabled() else "validated"].add(out.dtype)
        return out

    def note(self: Any, logits: torch.Tensor, targets: torch.Tensor) -> float:
        seen["scored"].add(logits.dtype)
        return score(self, logits, targets)

    monkeypatch.setattr(nn.Conv2d, "forward", convolve)
    monkeypatch.setattr(TASKS[task], "score", note)
    model, _ = fit(recipe(task, precision="bfloat16"), 0, tmp_path)
    assert seen["convolutions"] == {torch.bfloat16}
    assert seen["validated"] == seen["scored"] == {torch.float32}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    losses = [row["training_loss"] for row in History(tmp_path).rows]
    assert np.isfinite(np.array(losses, float)).all()


def test_small_films_have_small_masks(recipe: Make, tmp_path: Path):
    wish = recipe("segment", phases=[{"name": "a", "epochs": 1, "batch": 8, "size": 32}],
                  preparation={"size": [64, 64], "channels": 1, "mean": [0.5], "std": [0.25]})  # fmt: skip
    fit(wish, 0, tmp_path)
    task = Segment.__new__(Segment)
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 10:30, 20:40] = 1
    mask[:, :4] = 255
    images, small = task.shrunk(mask.float(), mask, 32)
    assert images.shape == small.shape == (1, 32, 32)
    assert small.dtype == torch.uint8
    assert set(small.unique().tolist()) == {0, 1, 255}
    assert (small == 1).sum() == 10 * 10


def test_dice_of_films():
    logits = torch.tensor([1.0, 1.0, -1.0, -1.0]).view(1, 1, 2, 2).repeat(3, 1, 1, 1)
    masks = torch.tensor([[[1, 0], [1, 0]], [[1, 255], [255, 0]], [[255, 255], [0, 0]]], dtype=torch.uint8)
    assert dice(logits, as_target(masks)).tolist() == pytest.approx([0.5, 1.0, 1.0])


def test_ctrl_c_stays_what_it_is(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import signal

    def stop(self: Any, *_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(MultiLabel, "on_train_batch_end", stop)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(), 0, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_history_is_a_table(recipe: Make, tmp_path: Path):
    fit(recipe(), 0, tmp_path)
    rows = History(tmp_path).rows
    assert [(row["phase"], int(row["epoch"])) for row in rows] == [("only", 0), ("only", 1)]
    assert all(
        math.isfinite(float(row[k])) for row in rows for k in ("training_loss", "validation_loss", "rate")
    )
    assert json.loads((tmp_path / "phases" / "0-only" / "finished.json").read_text()) == {
        "best": "best.safetensors"
    }
    assert History(tmp_path).draw().read_bytes().startswith(b"\x89PNG")
