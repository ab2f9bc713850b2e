"""A bootstrap by patient of 14 AUCs on the 25,596 official test films: ours, beside the loop over scikit-learn.

    python -m benchmarks.bootstrap_auc [--data ../shared/data] [--replicates 1000] [--peer 10] [--rounds 3]

Labels and patients are real (ChestX-ray14), the scores made: truth plus noise, none equal. Both sides take the same draws
and must agree to 1e-12, which is checked first. The peer runs `--peer` replicates a round and is scaled to all of
them; ours runs all. Prints CPU seconds (median of the rounds), so that other work on the machine counts for neither.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
from benchmarks.figures import of_rounds, tell
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from hilum.evaluation.auc_bootstrap import auc_replicates
from hilum.evaluation.bootstrap import replicate_weights

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("HILUM_DATA", "../shared/data"))
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--peer", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    truth, scores, patients = films(Path(options.data))
    ours = auc_replicates(truth, scores, patients, replicates=options.peer)
    np.testing.assert_allclose(ours, peer(truth, scores, patients, options.peer), rtol=1e-12)
    taken: dict[str, list[float]] = {"scikit-learn": [], "ours": []}
    for _ in range(options.rounds):
        started = time.process_time()
        peer(truth, scores, patients, options.peer)
        taken["scikit-learn"].append((time.process_time() - started) * options.replicates / options.peer)
        started = time.process_time()
        auc_replicates(truth, scores, patients, replicates=options.replicates)
        taken["ours"].append(time.process_time() - started)
    loop, whole = (median(times) for times in taken.values())
    ratios = [a / b for a, b in zip(*taken.values(), strict=True)]
    print(f"{len(truth):,} films of {len(np.unique(patients)):,} patients, {truth.shape[1]} labels")
    print(f"{options.replicates:,} replicates by patient, CPU seconds, median of {options.rounds} rounds")
    print(f"scikit-learn, a call a label and replicate (from {options.peer})  {loop:9.2f}")
    print(f"ours                                                     {whole:9.2f}")
    tell(
        of_rounds(
            "bootstrap by patient of 14 AUCs, 25,596 films", "a loop over scikit-learn", ratios, goal=50
        )
    )


def films(data: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Truth (25,596, 14), made scores and patients of the official test set."""
    known = pl.read_csv(data / "nih14" / "train_val_list.txt.gz", has_header=False).to_series()
    table = pl.read_csv(data / "nih14" / "Data_Entry_2017_v2020.csv.gz").filter(
        ~pl.col("Image Index").is_in(known.implode())
    )
    findings = table["Finding Labels"].str.split("|")
    truth = np.column_stack([findings.list.contains(name).to_numpy() for name in LABELS]).astype(np.float64)
    return truth, truth + np.random.default_rng(0).normal(0, 1.2, truth.shape), table["Patient ID"].to_numpy()


def peer(truth: NDArray, scores: NDArray, patients: NDArray, replicates: int) -> NDArray[np.float64]:
    """The films of each draw, label by label."""
    number = np.arange(len(truth))
    areas = []
    for block in replicate_weights(len(truth), patients, replicates):
        for weights in block:
            drawn = np.repeat(number, weights.astype(np.int64))
            areas.append([roc_auc_score(truth[drawn, j], scores[drawn, j]) for j in range(truth.shape[1])])
    return np.array(areas)


if __name__ == "__main__":
    main()
