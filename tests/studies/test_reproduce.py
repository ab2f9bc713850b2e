"""A whole study on phantoms, from films to tables and figures: what it trains, tests, writes, and does not do twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import numpy as np
import polars as pl
import pytest
import scipy.stats
import sklearn.metrics as sklearn
from click.testing import Result
from typer.testing import CliRunner

from hilum import cli, studies
from hilum.errors import BundleError, DataError, ReadError, RecipeError
from hilum.images.read import read as read_film
from hilum.learning import many
from hilum.learning import run as running
from hilum.studies import (
    comparisons,
    cost,
    devices,
    dropout,
    figures,
    machine,
    report,
    results,
    tables,
    validation,
)
from hilum.studies.films import films_of, unreadable
from hilum.studies.jobs import Request
from hilum.studies.reproduce import reproduce
from hilum.studies.results import Predictions, aligned, collect, read
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
        "hidden": {
            "title": "Hidden",
            "changes": {"model": TINY},
            "published": {"fold_accuracy": [70.0, 76.0], "p_value": 0.2} if task == "multiclass" else {},
        },
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
            "films": 1000,
            "apart": "ill",
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
            "variants": {
                "published": {
                    "about": "Toy.",
                    "reference": "plain",
                    "folds": [0, 1],
                    "arms": arms,
                    "published_only": {
                        "far": {"title": "Far", "published": {"accuracy": 77.0, "p_value": 0.03}}
                    },
                }
            },
            **changes,
        }
    )


def request_of(study: Study, films: Path, out: Path, **given: Any) -> Request:
    return Request(study, "published", films, out, **given)


@pytest.fixture(scope="module")
def exclusive(films: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Request, dict[str, Any]]:
    request = request_of(study(films, "multiclass"), films, tmp_path_factory.mktemp("study"))
    return request, carried_out(request)


def carried_out(request: Request) -> dict[str, Any]:
    """What `table.json` holds."""
    return json.loads(reproduce(request, device="cpu").table.with_suffix(".json").read_text())


def table(found: dict[str, Any], title: str) -> list[dict[str, Any]]:
    return next(t["rows"] for t in found["tables"] if t["title"].startswith(title))


def test_the_tables_are_those_of_the_predictions(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    rows = {(r["arm"], r["whose"]): r for r in table(found, "Accuracy by fold")}
    assert rows["Plain", "published"]["mean"] == "85.00"
    for job in request.jobs():
        kept = pl.read_parquet(job.folder / "test" / "predictions.parquet")
        called = kept["probability:ill"] > kept["probability:well"]
        share = 100 * float((called == (kept["truth:ill"] == 1)).mean())
        title = {"plain": "Plain", "hidden": "Hidden"}[job.arm]
        assert rows[title, "here"][f"fold {job.number}"] == f"{share:.2f}"
    pooled = collect("plain", [job for job in request.jobs() if job.arm == "plain"]).pooled
    whole = rows["Plain", "here"]["all films"]
    assert whole["value"] == pytest.approx(100 * pooled.right.mean())
    assert whole["low"] < whole["value"] < whole["high"]
    assert whole["n"] == 36
    assert rows["Far", "published"]["mean"] == "77.00"
    assert rows["Far", "published"]["fold 1"] is None


def test_each_run_has_its_auc_on_validation_films(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    rows = {row["arm"]: row for row in table(found, "Macro AUC on validation films")}
    assert set(rows) == {"Plain", "Hidden"}
    for job in request.jobs():
        kept = pl.read_parquet(job.folder / "validation" / "predictions.parquet")
        expected = np.mean(
            [sklearn.roc_auc_score(kept[f"truth:{x}"], kept[f"probability:{x}"]) for x in ("ill", "well")]
        )
        cell = rows[{"plain": "Plain", "hidden": "Hidden"}[job.arm]][f"run {job.number}"]
        assert cell["value"] == pytest.approx(expected)
        assert cell["n"] == len(kept)
    numbers = [rows["Plain"][run]["value"] for run in rows["Plain"] if run.startswith("run ")]
    assert float(rows["Plain"]["mean"]) == pytest.approx(np.mean(numbers), abs=1e-4)


def test_an_auc_that_validation_films_do_not_define_is_left_empty(
    exclusive: tuple[Request, dict[str, Any]], tmp_path: Path
):
    request, _ = exclusive
    result = collect("plain", request.jobs()[:2])
    shutil.copytree(result.jobs[1].folder / "validation", tmp_path / "validation")
    written = tmp_path / "validation" / "metrics.json"
    measured = json.loads(written.read_text())
    measured["overall"]["macro_auc"]["value"] = None
    written.write_text(json.dumps(measured))
    blank = dataclasses.replace(
        result, jobs=(result.jobs[0], dataclasses.replace(result.jobs[1], folder=tmp_path))
    )
    row = validation.table(request.study.variant("published"), [blank]).rows[0]
    assert row["run 1"]["value"] is not None
    assert row["run 2"]["value"] is None
    assert row["mean"] is None


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
    assert row["accuracy"]["value"] == pytest.approx(100 * result.list.right.mean())
    assert row["accuracy"]["low"] <= row["accuracy"]["value"] <= row["accuracy"]["high"]
    assert row["models averaged"] == 2


def test_comparisons_are_in_words(exclusive: tuple[Request, dict[str, Any]]):
    _, found = exclusive
    titles = [c["title"] for c in found["comparisons"]]
    printed = "The paper's own fold accuracies, tested again"
    assert titles == ["Over folds", "Over films: accuracy", "Over films: macro AUC", printed]
    assert all("Plain − Hidden" in v["words"] for c in found["comparisons"] for v in c["verdicts"])
    assert "Fold and seed change together" in found["comparisons"][0]["notes"][0]


def test_the_page_says_what_it_rests_on_and_its_pictures_are_there(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    page = (request.place / "table.md").read_text()
    assert "not a medical device" in page.lower()
    assert "hilum reproduce toy --data DATA --out OUT --variant published" in page
    assert "36 held-out films" in page
    assert "rest on 48 films, 5 % of the paper's 1,000" in page
    for text in (page, json.dumps(found)):
        assert str(request.data) not in text
        assert str(request.out) not in text
    assert found["figures"][-1] == "figures/predictions.png"
    assert {Path(f).name for f in found["figures"]} == {
        "labels.png", "roc.png", "losses.png", "auc-by-epoch.png", "predictions.png",
        "confusion-plain.png", "confusion-hidden.png",
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
    # The machine's line holds the number of threads, which is the caller's.
    assert carried_out(request) == found | {"made": ANY, "machine": ANY}
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
    found = carried_out(request_of(toy, films, tmp_path, folds=(0,)))
    assert found["failed_runs"] == []
    parts = pl.read_parquet(tmp_path / "published/runs/leaky/1/manifest.parquet")["split"]
    assert found["held_out_films"] == (parts == "test").sum()
    assert "LEAKY" in (tmp_path / "published/runs/leaky/1/test/evaluation.md").read_text()


def test_findings_with_dropout_and_a_run_that_fails(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    toy = study(films, "multilabel")
    arms = toy.variants["published"].arms
    broken = arms["plain"].model_copy(update={"changes": {"model.options.name": "no_such_net"}})
    variant = toy.variants["published"].model_copy(
        update={"arms": {**arms, "broken": broken}, "reference": "hidden"}
    )
    toy = toy.model_copy(update={"variants": {"published": variant}})
    found = carried_out(request_of(toy, films, tmp_path))
    assert len(found["failed_runs"]) == 2
    assert all("no_such_net" in fault for fault in found["failed_runs"])
    rows = {r["label"]: r for r in table(found, "AUC")}
    assert rows["Mass"]["Plain, published"] == "0.9"
    assert set(rows) == {"Mass", "Effusion", "macro"}
    rows = {r["arm"]: r for r in table(found, "Monte Carlo")}
    assert rows["Hidden"]["flagged"]["n"] > 0
    assert "samples-hidden.png" in {Path(f).name for f in found["figures"]}
    assert [c["title"] for c in found["comparisons"]] == ["Over folds", "Over films: macro AUC"]
    rows = {(r["arm"], r["form"]): r for r in table(found, "On a small device")}
    job = next(job for job in request_of(toy, films, tmp_path).jobs() if job.arm == "hidden")
    torch, int8 = (
        read(job.folder / name / "predictions.parquet", results.cuts_of(job))
        for name in ("test", "test-int8")
    )
    known = ~np.isnan(torch.truth)
    right = [((p.probability >= p.cuts) == (p.truth == 1))[known].mean() for p in (torch, int8)]
    assert rows["Hidden", "int8"]["accuracy lost"]["value"] == pytest.approx(right[0] - right[1])
    wrong = table(found, "Calibration and selective")[1]["wrong"]
    assert wrong["low"] < wrong["value"] < wrong["high"]
    broken_film = torch.films[0]

    def refuse(path: Path) -> Any:
        if path.stem == Path(broken_film).stem:
            raise ReadError("cut short", path=path)
        return read_film(path)

    monkeypatch.setattr(dropout, "read", refuse)
    assert toy.uncertainty is not None
    sampled = dropout.sample(job, toy.uncertainty)
    assert sampled is not None
    assert len(sampled.patients) == len(torch.films) - 1


def test_missing_films_are_named_and_a_missing_folder_refused(films: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no such folder"):
        reproduce(request_of(study(films, "multiclass"), tmp_path / "none", tmp_path), device="cpu")


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


def test_printed_p_values_stand_beside_the_same_test_on_printed_and_own_folds(
    exclusive: tuple[Request, dict[str, Any]],
):
    request, found = exclusive
    rows = {r["arm"]: r for r in table(found, "P-values against Plain")}
    assert set(rows) == {"Hidden", "Far"}
    expected = scipy.stats.ttest_ind([90.0, 80.0], [70.0, 76.0]).pvalue
    assert rows["Hidden"]["p, published"] == "0.2"
    assert rows["Hidden"]["p, from the printed folds"] == f"{expected:.4f}"
    arms = {name: [j for j in request.jobs() if j.arm == name] for name in ("plain", "hidden")}
    own = [[100 * f.right.mean() for f in collect(name, jobs).folds] for name, jobs in arms.items()]
    p = scipy.stats.ttest_ind(*own).pvalue
    assert rows["Hidden"]["p, here"] == (None if np.isnan(p) else f"{p:.4f}")
    assert (rows["Far"]["p, published"], rows["Far"]["p, from the printed folds"]) == ("0.03", None)


def test_classes_are_reported_one_by_one_and_without_the_one_apart(
    exclusive: tuple[Request, dict[str, Any]],
):
    request, found = exclusive
    films = collect("plain", [job for job in request.jobs() if job.arm == "plain"]).list
    assert films is not None
    truth, called = films.truth.argmax(1), films.probability.argmax(1)
    rows = {(r["arm"], r["class"]): r for r in table(found, "Calls by class")}
    ill = films.labels.index("ill")
    row = rows["Plain", "ill"]
    assert row["sensitivity"]["value"] == pytest.approx(sklearn.recall_score(truth == ill, called == ill))
    assert row["specificity"]["value"] == pytest.approx(sklearn.recall_score(truth != ill, called != ill))
    assert row["films"] == (truth == ill).sum()
    apart = next(r for r in table(found, "Without ill") if r["arm"] == "Plain")
    assert apart["accuracy, %"]["value"] == pytest.approx(100 * (called == truth)[truth != ill].mean())
    assert apart["films"] == (truth != ill).sum()
    matrix = next(m for m in found["confusion_matrices"] if m["arm"] == "Plain")
    assert matrix["counts"] == sklearn.confusion_matrix(truth, called, labels=[0, 1]).tolist()


def test_calibration_and_selection_are_those_of_the_final_films(exclusive: tuple[Request, dict[str, Any]]):
    request, found = exclusive
    films = collect("plain", [job for job in request.jobs() if job.arm == "plain"]).list
    assert films is not None
    row = next(r for r in table(found, "Calibration and selective") if r["arm"] == "Plain")
    assert row["Brier"]["value"] == pytest.approx(np.mean((films.probability - films.truth) ** 2))
    order = np.argsort(-films.probability.max(1), kind="stable")
    wrong = (~films.right)[order]
    expected = np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))
    assert row["AURC"]["value"] == pytest.approx(expected, abs=1e-6)
    assert row["wrong"]["value"] == pytest.approx((~films.right).mean())
    assert all(row[name]["low"] <= row[name]["value"] <= row[name]["high"] for name in ("log loss", "ECE"))


def test_facts_name_films_patients_and_the_manifest(exclusive: tuple[Request, dict[str, Any]]):
    _, found = exclusive
    parted, listed = found["films"].values()
    assert (parted["films"], parted["patients"], listed["films"], listed["patients"]) == (36, 18, 12, 6)
    assert parted["labels"] == {"well": 18, "ill": 18}
    assert len(parted["manifest"]) == 64
    assert set(found["training_seconds"]) == {"plain", "hidden"}
    assert found["missing_films"] == {"count": 0, "first": [], "file": None}


def test_a_form_that_was_damaged_is_made_again(
    exclusive: tuple[Request, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    request, _ = exclusive
    job = request.jobs()[0]
    shutil.copytree(job.folder, tmp_path / "run")
    job = dataclasses.replace(job, folder=tmp_path / "run")
    (job.folder / "small" / "bundle.json").write_text("{")
    (job.folder / "small" / "model.onnx").unlink()
    made: list[str] = []

    def export(source: Path, form: str, place: Path, films: Any) -> Path:
        assert not place.exists() or made
        made.append(form)
        return place

    monkeypatch.setattr(devices, "export", export)
    assert devices._exported(job) == job.folder / "small"
    assert made == ["onnx", "int8"]


def test_an_arm_that_cannot_be_exported_is_no_failed_run(
    exclusive: tuple[Request, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    request, _ = exclusive
    variant = request.study.variant("published")
    results_ = [collect("plain", [job for job in request.jobs() if job.arm == "plain"])]

    def refuse(*_: Any) -> Path:
        raise BundleError("it cannot be traced")

    monkeypatch.setattr(devices, "_exported", refuse)
    assert devices.small_devices(request.study, variant, results_, tmp_path) == (
        None,
        ("plain: it cannot be traced.",),
    )


def test_arms_are_compared_on_the_folds_that_all_have(exclusive: tuple[Request, dict[str, Any]]):
    request, _ = exclusive
    jobs = {name: [job for job in request.jobs() if job.arm == name] for name in ("plain", "hidden")}
    part = [collect("plain", jobs["plain"]), collect("hidden", jobs["hidden"][1:])]
    variant = request.study.variant("published")
    assert comparisons.shared_folds(part) == [1]
    over = comparisons.comparisons(request.study, variant, part)[0]
    assert over.verdicts == ()
    assert over.notes == ("Not compared: folds that every arm has: 1; a test needs two.",)
    three = [
        dataclasses.replace(
            r,
            jobs=(*r.jobs, dataclasses.replace(r.jobs[0], fold=number)),
            folds=(*r.folds, r.folds[0]),
        )
        for r, number in zip([collect(name, own) for name, own in jobs.items()], (2, 3), strict=True)
    ]
    over = comparisons.comparisons(request.study, variant, three)[0]
    assert "folds 1, 2, which every arm has" in over.notes[1]
    assert figures.draw_predictions(variant, part, request.place / "figures")


def test_one_fold_has_an_interval(exclusive: tuple[Request, dict[str, Any]]):
    request, _ = exclusive
    one = collect("plain", request.jobs()[1:2])
    row = tables.fold_accuracy(request.study.variant("published"), [one]).rows[1]
    assert row["fold 2"]["low"] < row["fold 2"]["high"]
    assert (row["mean"], row["deviation"]) == (None, None)


def predictions(truth: list[list[float]], random: np.random.Generator) -> Predictions:
    labels = np.array(truth, np.float64)
    names = np.array([f"f{i}" for i in range(len(labels))])
    return Predictions(
        ("a", "b"), names, names, labels, random.random(labels.shape), np.full(labels.shape, 0.5)
    )


def test_folds_are_compared_by_the_labels_that_all_of_them_define():
    random = np.random.default_rng(0)
    whole = predictions([[0, 0], [1, 1], [0, 1], [1, 0]] * 5, random)
    without_b = predictions([[0, 0], [1, 0], [0, 0], [1, 0]] * 5, random)
    values, left_out = comparisons.macro_aucs({"one": [whole, whole], "other": [whole, without_b]})
    assert left_out == ["b"]
    assert values["one"][0] == pytest.approx(
        sklearn.roc_auc_score(whole.truth[:, 0], whole.probability[:, 0])
    )


def test_repetitions_that_drew_their_own_splits_are_compared_unpaired():
    values = {"mine": [0.81, 0.83, 0.80], "other": [0.78, 0.77, 0.79]}
    verdict = comparisons._unpaired(values, "mine", "macro AUC", 4)[0]
    assert verdict.adjusted == pytest.approx(scipy.stats.ttest_ind(values["mine"], values["other"]).pvalue)
    assert "nothing is paired" in verdict.words()


def test_calls_are_held_to_the_thresholds_and_unknown_ones_left_out():
    found = Predictions(
        ("a", "b"),
        np.array(["f", "g"]),
        np.array(["p", "q"]),
        np.array([[1.0, np.nan], [0.0, 1.0]]),
        np.array([[0.4, 0.9], [0.2, 0.3]]),
        np.array([[0.3, np.nan], [0.1, np.nan]]),
    )
    np.testing.assert_array_equal(found.called, [[True, False], [True, False]])
    np.testing.assert_array_equal(found.errors, [[0, np.nan], [1, np.nan]])
    np.testing.assert_allclose(found.doubt[:, 0], [0.6, 0.8])


def test_the_command_names_no_place():
    toy = studies.load("roy-fusion")
    changes = (
        "data.store=/home/me/stores",
        "model.pretrained=[/a/b.safetensors, null]",
        "data.keep=view = 'PA'",
    )
    command = Request(toy, "light", Path("/d"), Path("/o"), ("fusion",), (0, 2), 0.5, changes).command
    assert "/" not in command
    assert "--data DATA --out OUT --variant light --arms fusion --folds 1 --folds 3 --fraction 0.5" in command
    assert "data.store=stores" in command
    assert "[b.safetensors, null]" in command
    assert "view = " in command


def test_arms_with_films_and_splits_of_their_own_say_so(exclusive: tuple[Request, dict[str, Any]]):
    request, _ = exclusive
    variant = request.study.variant("published")
    found = []
    for arm, kind in (("plain", "holdout"), ("hidden", "leaky_holdout")):
        jobs = []
        for job in request.jobs():
            split = job.recipe.data.split.model_copy(update={"kind": kind})
            data = job.recipe.data.model_copy(update={"split": split})
            jobs += [dataclasses.replace(job, recipe=job.recipe.model_copy(update={"data": data}))] * (
                job.arm == arm
            )
        found.append(dataclasses.replace(collect(arm, jobs), members=()))
    found[1] = dataclasses.replace(found[1], folds=found[1].folds[:1], jobs=found[1].jobs[:1])
    areas = tables.aucs(variant, found)
    assert {"Plain, positive", "Hidden, positive"} < set(areas.rows[0])
    assert "positive" not in areas.rows[0]
    assert "first of 2 repetitions" in areas.notes[0]
    assert "leaky" in areas.notes[1]
    found[1] = dataclasses.replace(
        collect("hidden", found[1].jobs * 2), jobs=(*found[1].jobs, found[0].jobs[1]), members=()
    )
    over = comparisons.comparisons(request.study, variant, found)[0]
    assert over.verdicts[0].deciding == "two-sample Student t"


def test_films_that_cannot_be_read_are_named_once_and_without_their_place(
    exclusive: tuple[Request, dict[str, Any]], tmp_path: Path
):
    request, _ = exclusive
    job = request.jobs()[0]
    named = films_of(request.study, job)
    data = job.recipe.data.model_copy(update={"store": str(tmp_path / "stores")})
    job = dataclasses.replace(
        job, folder=tmp_path / "run", recipe=job.recipe.model_copy(update={"data": data})
    )
    store = tmp_path / "stores" / f"films-0123456789-{job.recipe.preparation.stored_digest[:10]}"
    store.mkdir(parents=True)
    one, other, *_ = named.parted.image_ids
    faults = [f"/data/{one}.png: it is cut short.", None, "/elsewhere/x.png: it is empty."]
    pl.DataFrame({"image_id": [one, other, "of another study"], "fault": faults}).write_parquet(
        store / "index.parquet"
    )
    (job.folder / "test").mkdir(parents=True)
    told = {"unreadable": [faults[0], "/data/listed.png: it is no film."]}
    (job.folder / "test" / "evaluation.json").write_text(json.dumps(told))
    assert unreadable([job], named) == (
        "listed.png: it is no film.",
        f"{Path(one).name}.png: it is cut short.",
    )


def test_long_lists_of_films_go_to_a_file(tmp_path: Path):
    many = tuple(f"film {i}" for i in range(30))
    assert report._listed(tmp_path / "missing.txt", many) == {
        "count": 30, "first": list(many[:20]), "file": "missing.txt"
    }  # fmt: skip
    assert (tmp_path / "missing.txt").read_text().splitlines() == list(many)
    assert report._listed(tmp_path / "missing.txt", ())["file"] is None
    assert not (tmp_path / "missing.txt").exists()


def test_the_processor_is_named_where_the_system_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.machine("cpu").startswith("Some CPU @ 2 GHz, ")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "none")
    assert machine.processor()


@pytest.fixture
def command(
    exclusive: tuple[Request, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`hilum reproduce toy` on a copy of the finished study."""
    request, _ = exclusive
    shutil.copytree(request.out, tmp_path / "out")
    monkeypatch.setattr(studies, "load", {"toy": request.study}.__getitem__)
    given = [
        "reproduce",
        "toy",
        "--data",
        str(request.data),
        "--out",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    return lambda *more: CliRunner().invoke(cli.app, [*given, *more])


def test_the_command_ends_well_only_where_every_run_does(
    command: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(devices, "small_devices", lambda *_: (None, ()))
    done = command("--arms", "plain", "--folds", "2")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out/published/table.json").read_text())
    assert found["command"].endswith("--arms plain --folds 2")
    assert found["folds"] == [2]
    carry_out = many.carry_out

    def one_fails(*given: Any, **options: Any) -> list[many.Outcome]:
        first, *others = carry_out(*given, **options)
        return [many.Outcome(first.job, fault=f"{tmp_path / 'out'}/runs: no room"), *others]

    monkeypatch.setattr(many, "carry_out", one_fails)
    failed = command("--arms", "plain")
    assert failed.exit_code == 1
    assert json.loads((tmp_path / "out/published/table.json").read_text())["failed_runs"] == [
        "plain, fold 1: OUT/runs: no room"
    ]


def test_a_dry_run_is_told_in_a_table(command: Callable[..., Result], tmp_path: Path):
    told = command("--dry-run", "--arms", "plain", "--folds", "1")
    assert told.exit_code == 0, told.output
    assert "1 runs, at most" in told.output
    assert "validation after each epoch" in " ".join(told.output.split())
    assert isinstance(command("--folds", "0").exception, RecipeError)
    assert isinstance(command("--arms", "none").exception, RecipeError)
