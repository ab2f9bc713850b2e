"""22,433 real predictions of a DenseNet-121, the NIH labels, and the AUCs that their authors published."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hilum.evaluation import delong


@pytest.fixture(scope="module")
def chexnet(real_data):
    """Published AUCs, truth (n, 14), scores (n, 14) and patients; joined on the image's name."""
    published = pl.read_csv(real_data / "chexnet" / "aucs.csv")
    table = pl.read_csv(real_data / "chexnet" / "preds.csv.gz").join(
        pl.read_csv(real_data / "nih14" / "Data_Entry_2017_v2020.csv.gz"), on="Image Index", how="left"
    )
    findings = table["Finding Labels"].str.split("|")
    truth = np.column_stack([findings.list.contains(name).to_numpy() for name in published["label"]])
    scores = table.select(f"prob_{name}" for name in published["label"]).to_numpy()
    return published, truth.astype(float), scores, table["Patient ID"].to_numpy()


def test_the_fourteen_published_aucs(chexnet):
    published, truth, scores, patients = chexnet
    assert truth.shape == (22433, 14)
    estimates = delong.auc_estimates(truth, scores, patients)
    for (name, expected), estimate in zip(published.rows(), estimates, strict=True):
        assert estimate.value == pytest.approx(expected, abs=5e-5), name
        assert estimate.low < estimate.value < estimate.high


def test_films_of_one_patient_are_not_independent(chexnet):
    published, truth, scores, patients = chexnet
    by_film = delong.macro_auc(truth, scores)
    by_patient = delong.macro_auc(truth, scores, patients)
    assert by_patient.value == by_film.value == pytest.approx(published["auc"].mean(), abs=5e-5)
    assert by_patient.high - by_patient.low > 1.2 * (by_film.high - by_film.low)
