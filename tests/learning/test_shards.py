"""Predictions in Parquet shards are measured as the films themselves are, whatever shards and chunks they come in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hilum.bundles import Bundle
from hilum.bundles.bundle import patient_hash
from hilum.errors import ManifestError, SplitError
from hilum.evaluation.summary import multilabel_summary
from hilum.learning import shards as shards_
from hilum.learning.shards import evaluate_shards, shards_of
from tests.bundles_for_tests import FINDINGS, classifier_bundle

FILMS = 3_000


@pytest.fixture
def bundle() -> Bundle:
    return classifier_bundle()


@pytest.fixture
def table() -> pl.DataFrame:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 2, (FILMS, 3)).astype(float)
    p = np.clip(0.3 * truth + 0.7 * chance.random((FILMS, 3)), 0, 1)
    truth[:50, 0] = np.nan
    kinds = {"truth": truth, "probability": p}
    columns = {
        f"{kind}:{name}": each[:, k] for kind, each in kinds.items() for k, name in enumerate(FINDINGS)
    }
    who = {
        "image_id": [f"f{i}" for i in range(FILMS)],
        "patient": [f"p{i // 2}" if i % 7 else None for i in range(FILMS)],
        "sex": ["F", "M", None] * (FILMS // 3),
        "age": [40 + i % 50 for i in range(FILMS)],
    }
    return pl.DataFrame({**who, **columns})


def write(table: pl.DataFrame, folder: Path, count: int) -> Path:
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(table)), count)):
        table[rows.tolist()].write_parquet(folder / f"{number}.parquet")
    return folder


def test_shards_are_measured_as_arrays_are(
    bundle: Bundle, table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shards_, "CHUNK", 400)
    found = shards_of(write(table, tmp_path / "shards", 4))
    assert found is not None
    assert len(found) == 4
    result = evaluate_shards(bundle, found, tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    truth, p = (table.select(f"{kind}:{n}" for n in FINDINGS).to_numpy() for kind in ("truth", "probability"))
    cuts = [label.threshold.value if label.threshold else np.nan for label in bundle.info.labels]
    arrays = multilabel_summary(truth, p, cuts, names=FINDINGS, replicates=10)
    assert metrics["films"] == FILMS
    for ours, theirs in zip(metrics["labels"], arrays.labels, strict=True):
        assert ours["name"] == theirs.name
        assert ours["auc"]["value"] == pytest.approx(theirs.metrics["auc"].value, abs=1e-5)
        assert ours["sensitivity"]["value"] == pytest.approx(theirs.metrics["sensitivity"].value, abs=1e-9)
        assert ours["auc"]["low"] < ours["auc"]["value"] < ours["auc"]["high"]
    values = {(part["attribute"], part["value"]): part["films"] for part in metrics["subgroups"]}
    assert values["sex", "unknown"] == FILMS // 3
    assert sum(n for (attribute, _), n in values.items() if attribute == "age") == FILMS
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["facts"] == result["facts"]


def test_a_condition_chooses_films(bundle: Bundle, table: pl.DataFrame, tmp_path: Path):
    files = shards_of(write(table, tmp_path / "shards", 2)) or []
    result = evaluate_shards(bundle, files, tmp_path / "out", "sex = 'F' AND age >= 60")
    assert result["note"].startswith(
        f"{len(table.filter((pl.col('sex') == 'F') & (pl.col('age') >= 60)))} films"
    )
    with pytest.raises(ManifestError, match="no film is left"):
        evaluate_shards(bundle, files, tmp_path / "none", "age > 200")


def test_patients_of_the_training_are_refused(bundle: Bundle, table: pl.DataFrame, tmp_path: Path):
    files = shards_of(write(table, tmp_path / "shards", 2)) or []
    bundle.patients = np.array([patient_hash("p1000")], np.uint32)
    with pytest.raises(SplitError, match="such as p1000"):
        evaluate_shards(bundle, files, tmp_path / "out")
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_other_tables_are_no_predictions(bundle: Bundle, table: pl.DataFrame, tmp_path: Path):
    manifest = tmp_path / "manifest.parquet"
    table.drop(f"probability:{name}" for name in FINDINGS).write_parquet(manifest)
    assert shards_of(manifest) is None
    assert shards_of(tmp_path / "nothing") is None
    table.drop("patient").write_parquet(manifest)
    with pytest.raises(ManifestError, match="no predictions of this bundle"):
        evaluate_shards(bundle, shards_of(manifest) or [], tmp_path / "out")
