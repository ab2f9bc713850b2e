"""Arms that begin with what another training learnt, and the rates of the class that a study looks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sklearn
import torch
from safetensors.torch import load_file

from hilum.evaluation.thresholds import target_sensitivity
from hilum.learning.building import build_model
from hilum.studies import cost, looks, looks_tables, rates
from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.results import Predictions, collect, listed_films, read
from hilum.studies.study import Study
from tests.learning.conftest import content

NET = {"name": "timm", "options": {"name": "mobilenetv3_small_050", "dropout": 0.0}}


def study(films: Path) -> Study:
    """A plain arm and one that learnt lungs first, on two folds of the films' training part."""
    split = {"kind": "kfold", "folds": 2, "fold": 0, "validation": 0.3, "seed": 1}
    recipe = content(films, "multiclass", split=split, keep="split = 'train'") | {"model": NET}
    recipe["phases"] = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3}]
    lungs = content(films, "segment", split=split, keep="split = 'train'")
    lungs |= {
        "model": {
            "name": "lung_autoencoder",
            "options": {"encoder": "mobilenetv3_small_050", "filters": [8] * 5},
        },
        "loss": {"kind": "focal_dice"},
        "phases": [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3}],
    }
    printed = {rate: 90.0 for rate in rates.RATES}
    arms = {
        "plain": {"title": "Plain", "published": {"rates": printed, "counts": [1000, 2, 3, 4]}},
        "after": {"title": "After lungs", "after": "lungs"},
    }
    variant = {
        "about": "Toy.",
        "reference": "after",
        "folds": [0, 1],
        "preliminaries": {"lungs": {"title": "Lungs", "recipe": lungs}},
        "arms": arms,
    }
    return Study.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "paper": "Nobody, Nowhere, 2020",
            "metric": "accuracy",
            "positive": "ill",
            "looks": {"films": 12},
            "recipe": recipe,
            "test": "split = 'test'",
            "variants": {"published": variant},
        }
    )


@pytest.fixture(scope="module")
def carried_out(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, dict[str, Any]]:
    request = Request(study(films), "published", films, tmp_path_factory.mktemp("study"))
    return request, json.loads(reproduce(request, device="cpu").table.with_suffix(".json").read_text())


def test_an_arm_begins_with_the_encoder_that_learnt_before_it(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    assert found["failed_runs"] == []
    before = load_file(request.place / "runs" / "lungs" / "2" / "bundle" / "weights.safetensors")
    job = next(job for job in request.jobs() if (job.arm, job.fold) == ("after", 1))
    model = build_model(job.recipe)
    own = {name: tensor for name, tensor in model.backbone.state_dict().items() if tensor.is_floating_point()}
    assert own
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, before[f"encoder.{name}"].float())
    plain = next(job for job in request.jobs() if job.arm == "plain")
    assert plain.recipe.model.pretrained is None


def test_a_bundle_tells_whose_weights_it_began_with_and_no_place(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    run = request.place / "runs" / "after" / "1"
    told = "".join(p.read_text() for p in (run / "bundle").iterdir() if p.suffix in (".json", ".yaml", ".md"))
    assert "lungs/1/bundle/weights.safetensors" in told
    assert str(request.out) not in told
    elsewhere = request.jobs()[2].recipe.model_copy(
        update={"model": request.jobs()[2].recipe.model.model_copy(
            update={"pretrained": "/another/place/runs/lungs/1/bundle/weights.safetensors"})}
    )  # fmt: skip
    assert elsewhere.digest == request.jobs()[2].recipe.digest


def test_a_change_goes_to_the_arms_or_to_the_training_before_them(films: Path, tmp_path: Path):
    changes = ("phases.0.epochs=3", "lungs.phases.0.epochs=2", "model.pretrained=null")
    request = Request(study(films), "published", films, tmp_path, folds=(1,), changes=changes)
    assert [job.recipe.phases[0].epochs for job in request.preliminaries()] == [2]
    assert [job.recipe.phases[0].epochs for job in request.jobs()] == [3, 3]
    assert request.jobs()[1].recipe.model.pretrained is not None
    alone = Request(study(films), "published", films, tmp_path, arms=("plain",))
    assert alone.preliminaries() == []
    costs = cost.estimate(request.preliminaries())
    assert costs[0].seconds > 0


def test_an_arm_without_the_training_before_it_is_a_failed_run(films: Path, tmp_path: Path):
    changes = ("lungs.model.options.encoder=no_such_net",)
    made = reproduce(
        Request(study(films), "published", films, tmp_path, folds=(0,), changes=changes), device="cpu"
    )
    assert [fault.partition(":")[0] for fault in made.faults] == ["lungs, fold 1", "after, fold 1"]
    assert "no weights" in made.faults[1]


def mean_of(request: Request, arm: str) -> Predictions:
    found = collect(arm, [job for job in request.jobs() if job.arm == arm]).list
    assert found is not None
    return found


def test_rates_are_scikit_learns_beside_the_printed_ones(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    rows = next(t["rows"] for t in found["tables"] if t["title"].startswith("ill: rates"))
    assert [(row["arm"], row["whose"]) for row in rows] == [
        ("Plain", "published"),
        ("Plain", "here"),
        ("After lungs", "here"),
    ]
    assert rows[0]["f2"] == "90"
    assert rows[0]["true negatives"] == "1,000"
    p = mean_of(request, "plain")
    column = p.labels.index("ill")
    truth, called = p.truth[:, column], p.probability.argmax(1) == column
    tn, fp, fn, tp = sklearn.confusion_matrix(truth, called, labels=[0, 1]).ravel()
    assert [int(rows[1][name].replace(",", "")) for name in rates.COUNTS] == [tn, fp, fn, tp]
    assert rows[1]["sensitivity"]["value"] == pytest.approx(100 * tp / (tp + fn))
    assert rows[1]["specificity"]["value"] == pytest.approx(100 * tn / (tn + fp))
    expected = 100 * sklearn.fbeta_score(truth, called, beta=2)
    assert rows[1]["f2"]["value"] == pytest.approx(expected)


def test_the_operating_point_is_chosen_on_validation(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    rows = next(t["rows"] for t in found["tables"] if "sensitivity of 97 %" in t["title"])
    jobs = [job for job in request.jobs() if job.arm == "after"]
    cuts = []
    for job in jobs:
        p = read(job.folder / "validation" / "predictions.parquet")
        column = p.labels.index("ill")
        cuts.append(target_sensitivity(p.truth[:, column], p.probability[:, column], 0.97).value)
    p = mean_of(request, "after")
    called = p.probability[:, p.labels.index("ill")] >= np.mean(cuts)
    ill = p.truth[:, p.labels.index("ill")] == 1
    row = next(row for row in rows if row["arm"] == "After lungs")
    assert row["sensitivity"]["value"] == pytest.approx(100 * called[ill].mean())
    assert row["specificity"]["value"] == pytest.approx(100 * (~called[~ill]).mean())


def test_what_was_learnt_before_is_measured_on_films_held_out(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    rows = next(t["rows"] for t in found["tables"] if t["title"].startswith("Lungs"))
    assert [row["fold"] for row in rows] == [1, 2]
    films = np.genfromtxt(
        request.place / "runs/lungs/1/test/films.csv", delimiter=",", names=True, dtype=None, encoding="utf-8"
    )
    assert films["patient"].size > 2
    by_patient = [films["dice"][films["patient"] == p].mean() for p in set(films["patient"])]
    assert rows[0]["dice"]["value"] == pytest.approx(np.mean(by_patient))


def seen_by(request: Request) -> pl.DataFrame:
    return pl.read_parquet(request.place / looks.KEPT)


def test_every_run_is_asked_where_it_looks_on_the_same_films(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    seen = seen_by(request)
    films = seen.group_by("arm", "fold").agg(pl.col("film").sort())
    assert films.height == 4
    assert len(set(map(tuple, films["film"]))) == 1
    listed = set(mean_of(request, "plain").films)
    assert set(seen["film"]) <= listed
    one = seen.filter(arm="after", fold=1).sort("film")
    scored = read(request.place / "runs/after/1/list/predictions.parquet")
    by_film = dict(zip(scored.films, scored.probability[:, scored.labels.index("ill")], strict=True))
    np.testing.assert_allclose(one["p:none"], [by_film[film] for film in one["film"]], atol=1e-5)
    assert one["truth"].to_list() == [int(film.split("-")[1][:2]) % 2 == 1 for film in one["film"]]


def patients_mean(films: pl.DataFrame) -> float | None:
    """The mean over patients of their films' heat, each film the mean over its runs; None where no film has any."""
    by_film = films.group_by("film").agg(pl.col("patient").first(), pl.col("energy").mean())
    by_patient = by_film.drop_nulls("energy").group_by("patient").agg(pl.col("energy").mean())
    return by_patient["energy"].mean()  # type: ignore[return-value]


def test_a_run_without_any_heat_is_said_and_not_compared(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    variant = request.study.variant("published")
    energy = pl.when(pl.col("arm") == "plain", pl.col("fold") == 1).then(float("nan")).otherwise(0.5)
    found = looks_tables.verdicts(request.study, variant, seen_by(request).with_columns(energy=energy))
    assert found is not None
    assert "Not compared" in found.notes[1]
    assert "share of heat" in found.notes[1]
    assert not any(v.quantity.startswith("share of heat") for v in found.verdicts)
    energy = 0.5 + 0.1 * pl.col("fold") * (pl.col("arm") == "after")
    found = looks_tables.verdicts(request.study, variant, seen_by(request).with_columns(energy=energy))
    assert found is not None
    assert found.verdicts[0].difference.value == pytest.approx(0.15)


def test_heat_is_a_mean_over_runs_then_films_then_patients(carried_out: tuple[Request, dict[str, Any]]):
    request, _ = carried_out
    chance = np.random.default_rng(0)
    seen = seen_by(request)
    energy = np.where(chance.random(seen.height) < 0.2, np.nan, chance.random(seen.height))
    seen = seen.with_columns(energy=energy)
    rows = {
        r["arm"]: r for r in looks_tables.heat(request.study, request.study.variant("published"), seen).rows
    }
    known = seen.filter("truth").with_columns(pl.col("energy").fill_nan(None))
    for title, arm in (("After lungs", "after"), ("Plain", "plain")):
        assert rows[title]["heat in the lungs"]["value"] == pytest.approx(
            patients_mean(known.filter(arm=arm))
        )
    one, other = (
        known.filter(arm=arm).group_by("film").agg(pl.col("patient").first(), pl.col("energy").mean())
        for arm in ("after", "plain")
    )
    both = one.join(other, on="film", suffix="_other").with_columns(
        energy=pl.col("energy") - pl.col("energy_other")
    )
    gap = rows["Plain"]["reference less this arm"]
    assert gap["value"] == pytest.approx(patients_mean(both))
    assert gap["n"] == both["energy"].is_not_null().sum()


def test_heat_and_covers_are_those_of_the_runs(carried_out: tuple[Request, dict[str, Any]]):
    request, found = carried_out
    seen = seen_by(request)
    rows = {
        r["arm"]: r
        for r in next(t["rows"] for t in found["tables"] if t["title"].startswith("Where the heat"))
    }
    expected = patients_mean(seen.filter("truth", arm="after").with_columns(pl.col("energy").fill_nan(None)))
    found_heat = rows["After lungs"]["heat in the lungs"]["value"]
    assert found_heat == (expected if expected is None else pytest.approx(expected))
    rows = next(t["rows"] for t in found["tables"] if t["title"].startswith("With parts"))
    films = seen.filter(arm="plain").group_by("film").agg(pl.col("truth").first(), pl.col("^p:.*$").mean())
    row = next(r for r in rows if (r["arm"], r["covered"]) == ("Plain", "the lungs"))
    areas = [sklearn.roc_auc_score(films["truth"], films[f"p:{cover}"]) for cover in ("lungs", "none")]
    assert row["AUC"]["value"] == pytest.approx(areas[0])
    assert row["AUC changes by"]["value"] == pytest.approx(areas[0] - areas[1])
    right = ((films["p:lungs"] > 0.5) == films["truth"]).mean()
    assert row["accuracy"]["value"] == pytest.approx(right)
    asked = next(c for c in found["comparisons"] if c["title"] == "Does it look at lungs?")
    lost = [v for v in asked["verdicts"] if v["quantity"].startswith("AUC lost with the lungs")]
    losses = {
        arm: [
            np.subtract(
                *(sklearn.roc_auc_score(run["truth"], run[f"p:{cover}"]) for cover in ("none", "lungs"))
            )
            for run in (seen.filter(arm=arm, fold=fold) for fold in (1, 2))
        ]
        for arm in ("plain", "after")
    }
    assert lost[0]["difference"]["value"] == pytest.approx(
        np.mean(losses["after"]) - np.mean(losses["plain"])
    )
    assert "figures/heatmaps.png" in found["figures"]


def test_what_was_seen_is_not_looked_for_twice(
    carried_out: tuple[Request, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    request, _ = carried_out
    jobs = [job for job in request.jobs() if job.arm == "plain"]
    results = [collect(arm, [j for j in request.jobs() if j.arm == arm]) for arm in ("plain", "after")]
    films = listed_films(request.study, jobs[0])
    assert films is not None
    monkeypatch.setattr(looks, "examine", None)
    assert looks.look(request.study, results, films, request.place).equals(seen_by(request))
    with pytest.raises(TypeError):
        looks.look(request.study, results[:1], films, request.place)


@pytest.mark.parametrize("changes", [{"positive": None}, {"metric": "macro_auc"}, {"test": None}])
def test_looks_want_a_class_and_films_that_no_run_has_seen(films: Path, changes: dict[str, Any]):
    with pytest.raises(ValueError, match="looks"):
        Study.model_validate(study(films).model_dump() | changes)
