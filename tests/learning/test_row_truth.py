"""Rows of an analysis on Ray are measured against a manifest as the same predictions are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from hilum.bundles import save
from hilum.cli import app
from hilum.cluster.rows import SCHEMA
from hilum.datasets.manifest import Manifest
from hilum.errors import ManifestError
from hilum.learning.row_truth import rows_of, with_truth
from hilum.learning.shards import evaluate_shards
from tests.bundles_for_tests import FINDINGS, classifier_bundle

FILMS = 600


def rows(number: np.ndarray, probability: np.ndarray, where: str = "/archive") -> pl.DataFrame:
    """As `hilum analyze --ray` writes them; a film in fifty has a fault, and another bundle tells the same names."""
    made = []
    for n in number:
        findings = [
            {"bundle": bundle, "name": name, "probability": float(p), "positive": False}
            for bundle in ("other", "toy")
            for name, p in zip(
                FINDINGS, probability[n] if bundle == "toy" else 1 - probability[n], strict=True
            )
        ]
        row = {"source": f"{where}/f{n}.png", "analysable": True, "findings": findings}
        made.append({"source": row["source"], "fault": "torn"} if n % 50 == 7 else row)
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in made], schema=SCHEMA)


@pytest.fixture
def known(tmp_path: Path) -> tuple[Manifest, np.ndarray]:
    chance = np.random.default_rng(0)
    truth = chance.integers(0, 2, (FILMS, 3))
    table = pl.DataFrame(
        {
            "image_id": [f"f{n}" for n in range(FILMS)],
            "path": [f"f{n}.png" for n in range(FILMS)],
            "patient": [f"p{n // 2}" for n in range(FILMS)],
            "source": ["archive"] * FILMS,
            "sex": ["F", "M"] * (FILMS // 2),
            **{f"label:{name}": truth[:, k].astype(np.float32) for k, name in enumerate(FINDINGS)},
        }
    )
    return Manifest(table, root=Path("/archive")), np.clip(
        0.3 * truth + 0.7 * chance.random((FILMS, 3)), 0, 1
    )


def shards(folder: Path, probability: np.ndarray, where: str = "/archive") -> Path:
    folder.mkdir()
    for part, numbers in enumerate(np.array_split(np.random.default_rng(1).permutation(FILMS), 4)):
        rows(numbers, probability, where).write_parquet(folder / f"{part}.parquet")
    return folder


@pytest.mark.parametrize(
    ("where", "ending"), [("/archive", ""), ("s3://elsewhere/films", ""), ("s3://elsewhere/films", ".png")]
)
def test_rows_are_measured_as_predictions_with_their_truth_are(
    known: tuple[Manifest, np.ndarray], tmp_path: Path, where: str, ending: str
):
    manifest, probability = known
    named = manifest.table.with_columns(pl.col("image_id") + ending)  # as some datasets name their films
    manifest = Manifest(named, root=manifest.root)
    folder, bundle = shards(tmp_path / "rows", probability, where), classifier_bundle()
    manifest.save(tmp_path / "truth.parquet")
    place = save(bundle, tmp_path / "toy")
    call = ["evaluate", str(place), str(folder), "--truth", str(tmp_path / "truth.parquet"), "--out"]
    ended = CliRunner().invoke(app, [*call, str(tmp_path / "out"), "--where", "sex = 'F'"])
    assert ended.exit_code == 0, ended.output

    left = np.array([n for n in range(FILMS) if n % 50 != 7])
    truth = manifest.table[left.tolist()]
    plain = truth.select("image_id", "patient", "sex", "view", "age", "source").with_columns(
        *(truth[f"label:{name}"].alias(f"truth:{name}") for name in FINDINGS),
        *(pl.Series(f"probability:{name}", probability[left, k]) for k, name in enumerate(FINDINGS)),
    )
    plain.write_parquet(tmp_path / "plain.parquet")
    evaluate_shards(bundle, [tmp_path / "plain.parquet"], tmp_path / "expected", "sex = 'F'")
    found, expected = (
        json.loads(
            (tmp_path / name / "metrics.json").read_text(), parse_float=lambda text: round(float(text), 9)
        )
        for name in ("out", "expected")
    )
    assert found == expected


def test_what_does_not_fit_is_refused(known: tuple[Manifest, np.ndarray], tmp_path: Path):
    manifest, probability = known
    folder, bundle = shards(tmp_path / "rows", probability), classifier_bundle()
    files = rows_of(folder)
    assert files is not None
    assert rows_of(tmp_path) is None
    others = manifest.table.with_columns((pl.lit("x") + pl.col(c)).alias(c) for c in ("image_id", "path"))
    bare = manifest.table.drop([f"label:{name}" for name in FINDINGS])
    for table, words in ((others, "no row is of a film"), (bare, "knows none of what")):
        wrong = Manifest(table, root=Path("/archive"))
        with pytest.raises(ManifestError, match=words):
            with_truth(files, wrong, bundle, tmp_path / "out")
    ended = CliRunner().invoke(app, ["evaluate", "findings", str(folder), "--out", str(tmp_path / "out")])
    assert ended.exit_code == 2
    assert "--truth" in ended.output
