"""A whole study on phantoms, from films to tables and figures: what it trains, tests, writes, and does not do twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sklearn

from hilum.errors import DataError
from hilum.learning import run as running
from hilum.studies import cost, results
from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.results import aligned, collect, read
from hilum.studies.study import Study, Variant
from tests.learning.conftest import content

TINY = {"name": "backbone_head", "options": {"name": "mobilenetv3_small_050", "hidden": 8, "dropout": 0.3}}


def study(films: Path, task: str, **changes: Any) -> Study:
    """Two arms on two folds of the films' training part."""
    split = {"kind": "kfold", "folds": 2, "fold": 0, "validation": 0.3, "seed": 1}
    recipe = content(films, task, split=split, keep="split = 'train'")
    recipe["phases"] = [{"name": "only", "epochs": 1, "batch": 8, "rate": 2e-3}]
    arms = {
        "plain": {
            "title": "Plain",
            "published": {"fold_accuracy": [90.0, 80.0], "accuracy": 85.0, "auc": {"Mass": 0.9}},
        },
        "hidden": {"title": "Hidden", "changes": {"model": TINY}},
    }
    exclusive = task == "multiclass"
    return Study.model_validate(
        {
            "name": "toy",
            "title": "Toy",
            "paper": "Nobody, Nowhere, 2020",
            "metric": "accuracy" if exclusive else "macro_auc",
            "recipe": recipe,
            "test": "split = 'test'" if exclusive else None,
            "uncertainty": None
            if exclusive
            else {
                "passes": 5,
                "flag": 0.01,
                "example": "Mass",
                "example_passes": 20,
                "published_mean": 0.3,
                "published_deviation": 0.02,
            },
            "variants": {"published": {"about": "Toy.", "reference": "plain", "folds": [0, 1], "arms": arms}},
            **changes,
        }
    )


def request_of(study: Study, films: Path, out: Path, **given: Any) -> Request:
    return Request(study, "published", films, out, **given)


@pytest.fixture(scope="module")
def exclusive(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, dict[str, Any]]:
    request = request_of(study(films, "multiclass"), films, tmp_path_factory.mktemp("study"))
    path = reproduce(request, "hilum reproduce toy", device="cpu")
    return request, json.loads(path.with_suffix(".json").read_text())


def table(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    return next(t["rows"] for t in found["tables"] if t["title"].startswith(title))


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.startswith("ms ")}


def test_the_tables_are_those_of_the_predictions(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    rows = {(r["arm"], r["whose"]): r for r in table(found, "Accuracy by fold")}
    assert rows["Plain", "published"]["mean"] == "85.00"
    for job in request.jobs():
        kept = pl.read_parquet(job.folder / "test" / "predictions.parquet")
        called = kept["probability:ill"] > kept["probability:well"]
        share = 100 * float((called == (kept["truth:ill"] == 1)).mean())
        title = {"plain": "Plain", "hidden": "Hidden"}[job.arm]
        assert rows[title, "here"][f"fold {job.fold + 1}"] == f"{share:.2f}"


def test_every_film_is_held_out_once_and_the_list_is_scored_by_the_mean(
    exclusive: tuple[Request, dict[str, Any]],
):
    request, found = exclusive
    jobs = [job for job in request.jobs() if job.arm == "plain"]
    result = collect("plain", jobs)
    assert len(set(result.pooled.films)) == len(result.pooled.films) == 36
    assert not set(result.folds[0].patients) & set(result.folds[1].patients)
    members = [read(job.folder / "list" / "predictions.parquet") for job in jobs]
    assert result.list is not None
    np.testing.assert_allclose(result.list.probability, (members[0].probability + members[1].probability) / 2)
    assert len(result.list.films) == 12
    row = next(r for r in table(found, "Accuracy on the published") if r["arm"] == "Plain")
    assert row["here"]["value"] == pytest.approx(result.list.right.mean())
    assert row["here"]["low"] <= row["here"]["value"] <= row["here"]["high"]
    assert row["models averaged"] == 2


def test_comparisons_are_in_words(exclusive: tuple[Request, dict[str, Any]]):
    _, found = exclusive
    titles = [c["title"] for c in found["comparisons"]]
    assert titles == ["Over folds", "Over films: accuracy", "Over films: macro AUC"]
    assert all("Plain − Hidden" in v["words"] for c in found["comparisons"] for v in c["verdicts"])


def test_the_page_says_what_it_rests_on_and_its_pictures_are_there(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    page = (request.place / "table.md").read_text()
    assert "not a medical device" in page.lower()
    assert "hilum reproduce toy" in page
    assert "36 held-out films" in page
    assert {Path(f).name for f in found["figures"]} == {
        "labels.png", "roc.png", "losses.png", "predictions.png", "confusion-plain.png", "confusion-hidden.png"
    }  # fmt: skip
    assert all((request.place / f).stat().st_size > 2000 for f in found["figures"])


def test_a_second_call_does_nothing_again(
    exclusive: tuple[Request, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    request, found = exclusive
    kept = [
        p
        for kind in ("weights.safetensors", "predictions.parquet")
        for p in request.place.rglob(f"runs/**/{kind}")
    ]
    before = {p: p.stat().st_mtime_ns for p in kept}
    # A bundle a run; validation, held-out films and the list. Of an arm's first run also the exported bundle and its forms.
    assert len(before) == 4 + 4 * 3 + 2 + 2 * 2

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(running, "run_phase", refuse)
    again = json.loads(
        reproduce(request, "hilum reproduce toy", device="cpu").with_suffix(".json").read_text()
    )
    for before_, after in zip(found["tables"], again["tables"], strict=True):
        assert [without_time(r) for r in after["rows"]] == [without_time(r) for r in before_["rows"]]
    assert {p: p.stat().st_mtime_ns for p in kept} == before


def test_every_form_is_measured_on_the_films_that_torch_is_measured_on(
    exclusive: tuple[Request, dict[str, Any]],
):
    request, found = exclusive
    rows = {(r["arm"], r["form"]): r for r in table(found, "On a small device")}
    assert set(rows) == {(arm, form) for arm in ("Plain", "Hidden") for form in ("torch", "onnx", "int8")}
    assert all(float(r["ms a film, one core"]) > 0 for r in rows.values())
    assert rows["Plain", "torch"]["macro AUC lost"] is None
    assert rows["Plain", "onnx"]["accuracy lost"]["value"] == 0
    job = request.jobs()[0]
    torch, int8 = (read(job.folder / name / "predictions.parquet") for name in ("test", "test-int8"))
    assert torch.films.tolist() == int8.films.tolist()
    lost = float(torch.right.mean()) - float(int8.right.mean())
    assert rows["Plain", "int8"]["accuracy lost"]["value"] == pytest.approx(lost)


def test_the_mean_of_the_models_stands_beside_one_of_them(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    rows = {(r["arm"], r["model"]): r for r in table(found, "One model or the mean")}
    jobs = [job for job in request.jobs() if job.arm == "hidden"]
    members = [read(job.folder / "list" / "predictions.parquet") for job in jobs]
    truth = members[0].truth.argmax(1)
    mean = np.mean([m.probability for m in members], axis=0)
    one, many = rows["Hidden", "one model"], rows["Hidden", "mean of 2"]
    expected = np.mean([sklearn.log_loss(truth, m.probability, labels=[0, 1]) for m in members])
    assert one["log loss"]["value"] == pytest.approx(expected)
    assert many["log loss"]["value"] == pytest.approx(sklearn.log_loss(truth, mean, labels=[0, 1]))
    assert many["accuracy"]["value"] == pytest.approx((mean.argmax(1) == truth).mean())
    # By Jensen's inequality the mean of the models never has the higher log loss.
    assert many["gain"]["value"] == pytest.approx(one["log loss"]["value"] - many["log loss"]["value"])
    assert many["gain"]["value"] >= 0
    deviation = np.std([m.probability[:, 0] for m in members], axis=0, ddof=1)  # of two classes both the same
    assert many["flagged"]["value"] == pytest.approx((deviation > 0.1).mean())


def test_an_arm_that_leaks_on_purpose_is_measured_on_its_own_test_part(films: Path, tmp_path: Path):
    toy = study(films, "multilabel", uncertainty=None)
    leaky = {"kind": "leaky_holdout", "validation": 0.2, "test": 0.25}
    arm = {"title": "Leaky", "changes": {"data.split": leaky}}
    variant = toy.variants["published"].model_dump() | {"arms": {"leaky": arm}, "reference": "leaky"}
    toy = toy.model_copy(update={"variants": {"published": Variant.model_validate(variant)}})
    path = reproduce(request_of(toy, films, tmp_path, folds=(0,)), "hilum reproduce toy", device="cpu")
    found = json.loads(path.with_suffix(".json").read_text())
    assert found["failed_runs"] == []
    parts = pl.read_parquet(tmp_path / "published/runs/leaky/1/manifest.parquet")["split"]
    assert found["held_out_films"] == (parts == "test").sum()
    assert "LEAKY" in (tmp_path / "published/runs/leaky/1/test/evaluation.md").read_text()


def test_findings_with_dropout_and_a_run_that_fails(films: Path, tmp_path: Path):
    toy = study(films, "multilabel")
    arms = toy.variants["published"].arms
    broken = arms["plain"].model_copy(update={"changes": {"model.options.name": "no_such_net"}})
    variant = toy.variants["published"].model_copy(
        update={"arms": {**arms, "broken": broken}, "reference": "hidden"}
    )
    toy = toy.model_copy(update={"variants": {"published": variant}})
    path = reproduce(request_of(toy, films, tmp_path), "hilum reproduce toy", device="cpu")
    found = json.loads(path.with_suffix(".json").read_text())
    assert len(found["failed_runs"]) == 2
    assert all("no_such_net" in fault for fault in found["failed_runs"])
    rows = {r["label"]: r for r in table(found, "AUC")}
    assert rows["Mass"]["Plain, published"] == "0.9"
    assert set(rows) == {"Mass", "Effusion", "macro"}
    dropout = {r["arm"]: r for r in table(found, "Monte Carlo")}
    assert dropout["Hidden"]["flagged"]["n"] > 0
    assert "samples-hidden.png" in {Path(f).name for f in found["figures"]}
    assert [c["title"] for c in found["comparisons"]] == ["Over folds", "Over films: macro AUC"]


def test_missing_films_are_named_and_a_missing_folder_refused(films: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        reproduce(request_of(study(films, "multiclass"), tmp_path / "none", tmp_path), "x", device="cpu")


def test_arms_are_compared_on_the_films_that_both_have(exclusive: tuple[Request, dict[str, Any]]):
    request, _ = exclusive
    jobs = [job for job in request.jobs() if job.arm == "plain"]
    whole, part = collect("plain", jobs).pooled, collect("plain", jobs[:1]).pooled
    one, other = aligned([whole, part])
    assert one.films.tolist() == other.films.tolist() == sorted(part.films.tolist())


def test_a_dry_run_measures_a_step_and_trains_nothing(films: Path, tmp_path: Path):
    request = request_of(study(films, "multilabel"), films, tmp_path)
    costs = cost.estimate(request.jobs())
    assert [(c.arm, c.runs, c.train + c.held_out < 36, c.epochs) for c in costs] == [
        ("plain", 2, True, 1),
        ("hidden", 2, True, 1),
    ]
    assert all(c.step > 0 and c.seconds > 0 for c in costs)
    assert cost.store_megabytes(request.jobs()) == pytest.approx(36 * 32 * 32 / 1e6)
    assert not (tmp_path / "published").exists()


@pytest.mark.parametrize("cut", ['{"bundle": "ab', "", "[]"])
def test_a_mark_that_was_cut_short_is_no_mark(
    exclusive: tuple[Request, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str
):
    request, _ = exclusive
    job = request.jobs()[0]
    shutil.copytree(job.folder, tmp_path / "run")
    job = dataclasses.replace(job, folder=tmp_path / "run")
    asked: list[str] = []
    monkeypatch.setattr(results, "evaluate", lambda *_, name, **__: asked.append(name))
    results.measure_bundle(request.study, job, job.folder / "bundle", "test")
    assert asked == []
    (job.folder / "test" / "evaluation.json").write_text(cut)
    results.measure_bundle(request.study, job, job.folder / "bundle", "test")
    assert asked == ["toy, plain, fold 1: test"]


def test_folds_count_from_one_wherever_they_are_named(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    assert found["folds"] == [1, 2]
    assert [job.folder.name for job in request.jobs()] == ["1", "2", "1", "2"]
