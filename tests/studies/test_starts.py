"""A study whose arms begin with several trainings: the joined model whole, blocks set to zero, and what starts are worth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sklearn
from safetensors.torch import load_file
from scipy import stats

from hilum import studies
from hilum.errors import RecipeError
from hilum.evaluation.delong import macro_auc
from hilum.learning.building import build_model
from hilum.studies import blocks, preliminaries
from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.results import collect, cuts_of, read
from hilum.studies.study import Study
from tests.learning.conftest import content

NET = {"name": "timm", "options": {"name": "resnet10t", "dropout": 0.1}}
ONLY = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3}]


def study(films: Path) -> Study:
    """A plain arm, one after self-supervision, at two shares of labels, and a joined one; on one split and two seeds."""
    split = {"kind": "kfold", "folds": 2, "fold": 0, "validation": 0.3, "seed": 1}
    base = content(films, "multilabel", split=split) | {"phases": ONLY}
    recipe = base | {"model": NET}
    small = {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]}
    before = {
        "ssl": base | {
            "task": "pretrain", "model": {"name": "encoder", "options": {"name": "resnet10t"}},
            "loss": {"kind": "pretext", "rotation": 1},
        },
        "gan": base | {
            "task": "generate", "preparation": small, "loss": {"kind": "gan"},
            "model": {"name": "gan", "options": {"size": 16, "width": 4}},
        },
    }  # fmt: skip
    joined = {
        "name": "ssgan_vit",
        "options": {
            "backbone": "resnet10t",
            "main": "resnet10t",
            "film": 16,
            "film_width": 4,
            "size": [32, 32],
        },
    }
    arms: dict[str, Any] = {
        "joined": {
            "title": "Joined", "after": ["ssl", "gan", None], "published": {"weighted_f1": 0.5},
            "changes": {"model": joined, "loss": {"kind": "joint"}},
        }
    }  # fmt: skip
    for share in (0.5, 1.0):
        arms[f"scratch-{share}"] = {
            "title": f"Scratch {share}",
            "start": "Scratch",
            "changes": {"data.labelled": share},
        }
        arms[f"ssl-{share}"] = {
            "title": f"Learnt {share}",
            "start": "Learnt",
            "after": "ssl",
            "changes": {"data.labelled": share},
        }
    variant = {
        "about": "Toy.",
        "reference": "ssl-1.0",
        "folds": [0, 1],
        "repeat": "seeds",
        "arms": arms,
        "preliminaries": {name: {"title": name, "recipe": one, "once": True} for name, one in before.items()},
    }
    paper = {"title": "Toy", "paper": "Nobody, Nowhere, 2020", "metric": "macro_auc"}
    return Study.model_validate(
        {"name": "toy", **paper, "recipe": recipe, "variants": {"published": variant}}
    )


@pytest.fixture(scope="module")
def carried_out(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, dict[str, Any]]:
    patch = pytest.MonkeyPatch()
    patch.setattr("hilum.studies.devices.small_devices", lambda *_: (None, ()))
    request = Request(study(films), "published", films, tmp_path_factory.mktemp("study"))
    found = json.loads(reproduce(request, device="cpu").table.with_suffix(".json").read_text())
    patch.undo()
    return request, found


def rows(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    return next(t["rows"] for t in found["tables"] if t["title"].startswith(title))


def test_a_joined_arm_begins_with_the_weights_of_both_trainings(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    assert found["failed_runs"] == []
    assert [(job.arm, job.number) for job in request.preliminaries()] == [("ssl", 1), ("gan", 1)]
    job = next(job for job in request.jobs() if job.arm == "joined" and job.fold == 1)
    model = build_model(job.recipe)
    learnt, gan = (load_file(job.weights) for job in request.preliminaries())
    name = "layers.0.parametrizations.weight.original"
    assert np.allclose(model.discriminator.state_dict()[name], gan[f"discriminator.{name}"].float())
    own = model.backbone.net.state_dict()
    assert np.allclose(own["conv1.0.weight"], learnt["backbone.conv1.0.weight"].float())
    assert job.recipe.model.pretrained is not None
    assert job.recipe.model.pretrained[2] is None


def test_variants_share_what_is_trained_once(films: Path, tmp_path: Path):
    toy = study(films)
    one = toy.variants["published"]
    longer = one.model_copy(deep=True)
    longer.preliminaries["gan"].recipe["phases"] = [ONLY[0] | {"epochs": 7}]
    toy = toy.model_copy(update={"variants": {"published": one, "light": one, "longer": longer}})
    ssl, gan = zip(
        *(
            [job.folder for job in Request(toy, name, films, tmp_path).preliminaries()]
            for name in toy.variants
        ),
        strict=True,
    )
    assert len(set(ssl)) == 1
    assert gan[0] == gan[1] != gan[2]


def test_what_went_before_is_told(carried_out: tuple[Request, dict[str, Any]]):
    _, found = carried_out
    told = {row["training"]: row for row in rows(found, "Trainings before")}
    assert set(told) == {"ssl", "gan"}
    assert float(told["ssl"]["loss, last"]) > 0
    assert any("Wasserstein" in key and told["gan"][key] is not None for key in told["gan"])


def test_a_repetition_is_a_seed_on_one_split(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    own = [job for job in request.jobs() if job.arm == "scratch-0.5"]
    parts = [pl.read_parquet(job.folder / "manifest.parquet")["split"].to_list() for job in own]
    assert parts[0] == parts[1]
    assert own[0].recipe.seed != own[1].recipe.seed
    assert "Over seeds" in [c["title"] for c in found["comparisons"]]


def test_auc_against_the_share_of_labels(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    table = rows(found, "What a start is worth")
    assert len(table) == 2 * 2 * 2
    row = next(
        r for r in table
        if (r["start"], r["learnt"], r["labels used, %"]) == ("Learnt", "fine-tuned", "50")
    )  # fmt: skip
    folds = collect("ssl-0.5", [job for job in request.jobs() if job.arm == "ssl-0.5"]).folds
    values = [macro_auc(p.truth, p.probability, p.patients).value for p in folds]
    assert row["macro AUC"]["value"] == pytest.approx(np.mean(values))
    low, high = stats.t.interval(0.95, 1, np.mean(values), stats.sem(values))
    assert (row["macro AUC"]["low"], row["macro AUC"]["high"]) == pytest.approx((low, high))
    assert "starts.png" in {Path(f).name for f in found["figures"]}
    titles = [c["title"] for c in found["comparisons"]]
    assert "Starts at 100 % of the labels, linear probe" in titles


def test_a_probe_is_a_regression_on_what_the_arm_began_with(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    job = next(job for job in request.jobs() if job.arm == "ssl-1.0")
    kept = pl.read_parquet(job.folder / "probe.parquet")
    held_out = read(job.folder / "test/predictions.parquet", cuts_of(job))
    assert kept["image_id"].to_list() == held_out.films.tolist()
    assert kept["Mass"].is_between(0, 1).all()
    assert kept["Mass"].n_unique() > 1


def test_f1_stands_beside_the_printed_one(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    table = {row["label"]: row for row in rows(found, "F1 of findings")}
    assert table["weighted"]["Joined, published"] == "0.5"
    films = collect("joined", [job for job in request.jobs() if job.arm == "joined"]).pooled
    known = ~np.isnan(films.truth[:, 1])
    expected = sklearn.f1_score(films.truth[known, 1], films.called[known, 1], zero_division=np.nan)
    assert table["Effusion"]["Joined, here"]["value"] == pytest.approx(expected, nan_ok=True)


def test_each_block_is_set_to_zero(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    table = [row for row in rows(found, "Blocks of features") if row["model"] == "Joined, fold 1"]
    assert [row["features"] for row in table] == [
        "all blocks",
        *(f"without {block}" for block in ("backbone", "discriminator", "main")),
    ]
    whole = table[0]["macro AUC"]["value"]
    for row in table[1:]:
        if row["all blocks less this"] is not None:
            assert row["all blocks less this"]["value"] == pytest.approx(whole - row["macro AUC"]["value"])
        assert row["what that says"]
    validation = read(request.place / "runs/joined/1/validation/predictions.parquet")
    expected = macro_auc(validation.truth, validation.probability, validation.patients).value
    assert whole == pytest.approx(expected, abs=1e-6)


def test_a_block_that_changes_nothing_is_said_to_be_none(
    carried_out: tuple[Request, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    request, _ = carried_out
    results = [collect("joined", [job for job in request.jobs() if job.arm == "joined"][:1])]
    monkeypatch.setattr(
        blocks, "_logits", lambda bundle, stuff, _: np.eye(2)[np.arange(len(stuff.validation.rows)) % 2]
    )
    found = blocks.table(request.study.variant("published"), results)
    assert found is not None
    assert {row["what that says"] for row in found[0].rows[1:]} == {"not contributing: no logit changes"}
    assert found[1].verdicts == ()


def test_a_training_before_that_knows_the_tested_patients_is_refused(films: Path, tmp_path: Path):
    request = Request(study(films), "published", films, tmp_path)
    first, arms = request.preliminaries(), request.jobs()
    preliminaries.refuse_leaks(first, arms)
    split = first[0].recipe.data.split.model_copy(update={"fold": 1})
    data = first[0].recipe.data.model_copy(update={"split": split})
    leaking = dataclasses.replace(first[0], recipe=first[0].recipe.model_copy(update={"data": data}))
    with pytest.raises(RecipeError, match=r"patients whom .* is tested on take part in 'ssl'"):
        preliminaries.refuse_leaks([leaking], arms)


@pytest.mark.parametrize("variant", studies.load("suh-ssganvit").variants)
def test_the_study_of_the_paper_has_a_recipe_for_every_run(variant: str, tmp_path: Path):
    request = Request(studies.load("suh-ssganvit"), variant, tmp_path, tmp_path / "out")
    known = {str(job.weights) for job in request.preliminaries()}
    starts = [job.recipe.model.pretrained for job in request.jobs()]
    given = [s for start in starts for s in (start if isinstance(start, tuple) else (start,))]
    assert {s for s in given if s is not None and str(tmp_path) in s} == known


def test_an_arm_after_what_is_not_there_is_refused(films: Path):
    toy = study(films).model_dump()
    toy["variants"]["published"]["arms"]["joined"]["after"] = ["ssl", "wgan", None]
    with pytest.raises(ValueError, match="after 'wgan', which is no preliminary"):
        Study.model_validate(toy)
