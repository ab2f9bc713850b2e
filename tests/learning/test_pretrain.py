"""Runs that learn from films without labels: their bundle, probes, faults, and that they resume to the same end."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.detect_films import _check as check_detectors
from hilum.analysis.examine import check as check_audited
from hilum.bundles import load, verify
from hilum.bundles.ensembling import ensemble
from hilum.bundles.export import export
from hilum.datasets.manifest import Manifest
from hilum.errors import BundleError, RecipeError
from hilum.learning.evaluate import evaluate
from hilum.learning.pretexts.contrast import Contrast
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import load_recipe
from hilum.learning.run import train
from hilum.learning.tasks import Pretrain
from hilum.learning.tasks.pretrain import is_probed
from hilum.models import build
from tests.learning.conftest import content, same, trained_weights
from tests.learning.test_resume import CHILD, ROOT, history

EVERY = {"rotation": 1, "colour": 1, "patches": 0.5, "pixels": 1, "contrast": 1, "triplet": 1}
LOSS = {"kind": "pretext", **EVERY, "patch": 8, "vocabulary": 16, "projection": 16}
PHASE = {"name": "only", "epochs": 2, "batch": 8, "rate": 2e-3}


def wish(films: Path, labels: tuple[str, ...] = ("Mass", "Effusion"), **changes: Any) -> dict[str, Any]:
    """A recipe as YAML would give it."""
    model = {"name": "encoder", "options": {"name": "mobilenetv3_small_050"}}
    base = content(films, "segment", labels=list(labels))
    return (
        base | {"name": "toy", "task": "pretrain", "model": model, "loss": LOSS, "phases": [PHASE]} | changes
    )


@pytest.fixture
def make(films: Path) -> Callable[..., Recipe]:
    return lambda *labels, **changes: Recipe.model_validate(wish(films, labels, **changes))


@pytest.fixture(scope="module")
def done(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of all pretexts, for many tests; its weights averaged."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("pretrain") / "run"
    recipe = wish(films, phases=[PHASE | {"average": 0.5, "epochs": 3}], loss=LOSS | {"probe_every": 2})
    recipe["data"]["workers"] = 1
    train(Recipe.model_validate(recipe), out)
    return out


def test_it_ends_in_a_bundle_that_encodes(done: Path):
    info = verify(done / "bundle")
    assert (info.task, info.labels, info.calibration, info.group) == ("encode", (), None, None)
    bundle = load(done / "bundle")
    assert all(name.startswith("backbone.") for name in bundle.model.state_dict())  # no pretext's head
    assert bundle(torch.zeros(2, 1, 32, 32)).shape == (2, bundle.model.features)
    card = (done / "bundle" / "card.md").read_text()
    for said in (
        "finds nothing by itself",
        "contrast 1",
        "embeddings, no outputs",
        "macro linear AUC",
        "| Mass |",
    ):
        assert said in card
    assert (done / "codebook.safetensors").is_file()
    found = json.loads((done / "validation" / "probes.json").read_text())
    assert found["facts"]["training films with labels"] == info.provenance.films["training"]


def test_its_history_has_every_pretext_and_both_probes(done: Path):
    with (done / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in EVERY:
        assert all(float(row[f"{side}_{name}"]) > 0 for row in rows for side in ("training", "validation"))
    each = sum(weight * float(rows[0][f"training_{name}"]) for name, weight in EVERY.items())
    assert float(rows[0]["training_loss"]) == pytest.approx(each, rel=1e-5)
    # Every other epoch is probed, and the last; between, the score is that of the last probe.
    assert all(rows[epoch]["probe_knn"] and rows[epoch]["probe_linear"] for epoch in (0, 2))
    assert rows[1]["probe_linear"] == rows[1]["probe_knn"] == ""
    assert rows[1]["validation_score"] == rows[0]["validation_score"] == rows[0]["probe_linear"]
    assert float(rows[2]["embedding_spread"]) > 0
    assert float(rows[2]["training_loss"]) < float(rows[0]["training_loss"])
    assert (done / "curves.png").is_file()


def test_whoever_asks_it_for_findings_is_told_what_it_is_for(done: Path, manifest: Manifest, tmp_path: Path):
    place = done / "bundle"
    bundle = load(place)
    asked: list[Callable[[], object]] = [
        lambda: Analyzer([place]),
        lambda: evaluate(place, manifest, tmp_path / "out"),
        lambda: export(place, "onnx", tmp_path / "out"),
        lambda: check_detectors([place], False),
        lambda: check_audited([bundle], bundle),
        lambda: ensemble([bundle, bundle], "two"),
        lambda: bundle.probabilities(torch.zeros(1, 4)),
    ]
    for ask in asked:
        with pytest.raises(BundleError, match=r"finds nothing by itself\. Train a classifier from it"):
            ask()
    assert not (tmp_path / "out").exists()


def test_a_classifier_starts_from_it(done: Path, films: Path, tmp_path: Path):
    weights = done / "bundle" / "weights.safetensors"
    model = {"name": "timm", "options": {"name": "mobilenetv3_small_050"}, "pretrained": str(weights)}
    phase = PHASE | {"train": "head", "epochs": 1}
    train(Recipe.model_validate(content(films, "multilabel") | {"model": model, "phases": [phase]}), tmp_path)
    learnt, before = trained_weights(tmp_path), trained_weights(done)
    assert all(torch.equal(learnt[name], tensor) for name, tensor in before.items())
    assert verify(tmp_path / "bundle").provenance.start == "weights.safetensors"


def test_no_loss_sees_a_label(make: Callable[..., Recipe], tmp_path: Path):
    """With labels and without, one epoch ends in the same weights; without, the epoch is chosen by the pretexts' loss."""
    one = {"loss": {"kind": "pretext", "contrast": 1, "rotation": 1}, "phases": [PHASE | {"epochs": 1}]}
    train(make("Mass", **one), tmp_path / "with")
    train(make(**one), tmp_path / "without")
    assert same(trained_weights(tmp_path / "with"), trained_weights(tmp_path / "without"))
    (row,) = history(tmp_path / "without")
    assert float(row["validation_score"]) == pytest.approx(-float(row["validation_loss"]), rel=1e-5)
    assert "probe_knn" not in row
    assert not verify(tmp_path / "without" / "bundle").metrics["validation (chose the epoch)"]["tables"]


def test_killed_and_called_again(films: Path, tmp_path: Path, in_this_process: None):
    phases = [PHASE | {"average": 0.7}, PHASE | {"name": "more", "epochs": 3, "batch": 6}]
    path = tmp_path / "recipe.yaml"
    path.write_text(
        Recipe.model_validate(wish(films, phases=phases, loss=LOSS | {"probe_every": 2})).as_yaml()
    )
    train(load_recipe(path), tmp_path / "unkilled")
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(tmp_path / "killed"), "after", "6"],
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    train(load_recipe(path), tmp_path / "killed")
    assert same(trained_weights(tmp_path / "killed"), trained_weights(tmp_path / "unkilled"))
    assert history(tmp_path / "killed") == history(tmp_path / "unkilled")
    assert len(history(tmp_path / "killed")) == 5


def test_a_loss_that_is_no_number_stops_the_run(
    make: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Contrast, "loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    recipe = make(loss={"kind": "pretext", "contrast": 1, "rotation": 1})
    with pytest.raises(
        RecipeError, match=r"epoch 1: the loss of contrast is no finite number.*Lower the phase's rate"
    ):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "bundle").exists()


def test_a_collapsed_encoder_is_told_in_the_log_and_on_the_card(
    make: Callable[..., Recipe],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """An encoder that gives every film the same."""
    encoder = type(build("encoder", outputs=0, name="mobilenetv3_small_050", channels=1))
    pool = encoder.pool
    monkeypatch.setattr(encoder, "pool", lambda self, features: 1 + 0 * pool(self, features))
    recipe = make(loss={"kind": "pretext", "rotation": 1}, phases=[PHASE | {"epochs": 1}])
    with caplog.at_level(logging.WARNING):
        train(recipe, tmp_path / "run")
    assert "the embedding has collapsed" in caplog.text
    assert "COLLAPSED" in (tmp_path / "run" / "bundle" / "card.md").read_text()
    assert float(history(tmp_path / "run")[0]["embedding_spread"]) == pytest.approx(0, abs=1e-6)


def task(recipe: Recipe) -> Pretrain:
    model = build("encoder", outputs=0, channels=1, **recipe.model.options)
    return Pretrain(model, recipe.preparation, recipe.phases[0], recipe.loss, recipe.augmentation, 0)


def test_a_last_validation_batch_of_one_film_is_left_out_with_a_word(
    make: Callable[..., Recipe], caplog: pytest.LogCaptureFixture
):
    learner = task(make(loss={"kind": "pretext", "contrast": 1}))
    with caplog.at_level(logging.INFO), torch.no_grad():
        learner.eval().validation_step((torch.zeros(1, 32, 32, dtype=torch.uint8), torch.zeros(1, 0)), 0)
    assert "one film, and left out" in caplog.text
    assert len(learner._seen) == 1
    assert not learner._losses


@pytest.mark.parametrize(
    ("loss", "shown"), [(LOSS, 5), ({"kind": "pretext", "contrast": 1, "colour": 1, "triplet": 1}, 2)]
)
def test_pretexts_share_views_and_one_pass(make: Callable[..., Recipe], loss: dict[str, Any], shown: int):
    """All six pretexts: two views, a turned one and two masked ones, in one pass; without masks and turns, two."""
    learner = task(make(loss=loss))
    passes: list[int] = []
    learner.model.backbone.conv_stem.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    learner.each_loss(learner.model, torch.rand(3, 32, 32), torch.Generator().manual_seed(0))
    assert passes == [3 * shown]


@pytest.mark.parametrize("size", [32, 64])
def test_a_transformer_learns_by_every_pretext(make: Callable[..., Recipe], size: int):
    options = {"name": "vit_tiny_patch16_224", "size": [size, size]}
    preparation = {"size": [size, size], "channels": 1, "mean": [0.5], "std": [0.25]}
    learner = task(make(model={"name": "encoder", "options": options}, preparation=preparation))
    each = learner.each_loss(learner.model, torch.rand(3, size, size), torch.Generator().manual_seed(0))
    learner.whole(each).backward()
    assert each.keys() == EVERY.keys()
    assert all(p.grad is not None for p in learner.model.backbone.blocks.parameters())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"loss": {"kind": "bce"}}, "does not go with loss 'bce'"),
        ({"task": "segment"}, "does not go with loss 'pretext'"),
        ({"loss": {"kind": "pretext"}}, "a weight above 0"),
        ({"loss": {"kind": "pretext", "jigsaw": 1}}, "no pretext or option 'jigsaw'"),
        ({"loss": LOSS | {"patch": 12}}, "patches of 12 pixels do not divide films of 32 x 32"),
        ({"loss": LOSS | {"patch": 32}}, "fewer than four patches"),
        ({"phases": [PHASE | {"batch": 1}]}, r"phases\.0\.batch: contrast and triplet"),
        ({"phases": [PHASE | {"train": "head"}]}, r"phases\.0\.train"),
        ({"phases": [PHASE | {"sampler": "balanced"}]}, r"phases\.0\.sampler"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(films: Path, changes: dict[str, Any], fault: str):
    with pytest.raises(ValidationError, match=fault):
        Recipe.model_validate(wish(films, **changes))


def test_a_batch_of_one_serves_pretexts_that_compare_nothing(films: Path):
    loss = {"kind": "pretext", "pixels": 1, "patch": 8}
    assert Recipe.model_validate(wish(films, loss=loss, phases=[PHASE | {"batch": 1}])).phases[0].batch == 1


def test_a_model_that_is_no_encoder_is_refused(make: Callable[..., Recipe], tmp_path: Path):
    with pytest.raises(RecipeError, match=r"not made for task 'pretrain'.*Name the model 'encoder'"):
        train(make(model={"name": "timm", "options": {"name": "mobilenetv3_small_050"}}), tmp_path / "run")


def test_labels_that_no_film_has_on_both_sides_are_refused(films: Path, tmp_path: Path):
    recipe = wish(films)
    recipe["data"]["keep"] = '"label:Mass" = 1 AND "label:Effusion" IS NULL'
    with pytest.raises(RecipeError, match="cannot be probed"):
        train(Recipe.model_validate(recipe), tmp_path / "run")


def test_one_film_is_too_few_to_compare(make: Callable[..., Recipe], tmp_path: Path):
    recipe = make(phases=[PHASE | {"where": "image_id = 'train-00'"}])
    with pytest.raises(RecipeError, match="there is one to train on"):
        train(recipe, tmp_path / "run")


def test_the_first_and_the_last_epoch_are_probed():
    assert [epoch for epoch in range(8) if is_probed(epoch, 8, every=3)] == [0, 3, 6, 7]
    assert [epoch for epoch in range(3) if is_probed(epoch, 3, every=1)] == [0, 1, 2]
