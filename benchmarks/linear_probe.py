"""The baseline beside the findings bundle: frozen ImageNet features and logistic regression, on the same films.

    python benchmarks/linear_probe.py --data ../shared/data

Features of every film outside the official test set (training and validation of the recipe together), one regularised
logistic regression a finding (C by validation AUC), evaluated once on the official test films.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from hilum.datasets import pixel_store
from hilum.datasets.manifest import Manifest
from hilum.evaluation.delong import auc_estimates, macro_auc
from hilum.learning import material
from hilum.learning.recipe_files import load_recipe
from hilum.models import Classifier, build

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="recipes/findings.yaml")
    parser.add_argument("--data", help="data root; default as in the recipe")
    parser.add_argument("--store", default="stores/linear-probe")
    args = parser.parse_args()
    changes = [
        "data.sources=[{source: nih14, root: nih14}]",
        *([f"data.root={args.data}"] if args.data else []),
    ]
    recipe = load_recipe(args.recipe, changes)
    films = material.manifest_of(recipe.data)
    films = films.with_split(material.parted(recipe.data, films))
    x = features(recipe, films, Path(args.store))
    names = recipe.data.labels
    truth = np.asarray(material.truth_of(films, "multilabel", names))
    part = films.table["split"].to_numpy()
    train, validation, test = (part == name for name in ("train", "validation", "test"))
    strength = max(STRENGTHS, key=lambda c: _macro(truth, probe(x, truth, train, c), validation, films))
    scores = probe(x, truth, train | validation, strength)
    patients = np.array(material.patient_keys(films))[test]
    print(f"frozen {recipe.model.options['name']}, C = {strength:g}, {test.sum()} official test films")
    for name, estimate in zip(names, auc_estimates(truth[test], scores[test], patients), strict=True):
        print(f"  {name:20s} {estimate}")
    print(f"  {'macro AUC':20s} {macro_auc(truth[test], scores[test], patients)}")


def features(recipe, films: Manifest, folder: Path) -> NDArray[np.float32]:
    """(films, features) of the recipe's backbone with its first weights."""
    weights = material.expand_under(recipe.data.root, recipe.model.pretrained)
    model = build("timm", outputs=1, name=recipe.model.options["name"], pretrained=str(weights)).eval()
    assert isinstance(model, Classifier)
    store = pixel_store.build(films, recipe.preparation, folder)
    rows = store.rows(films.image_ids)
    out = []
    with torch.inference_mode():
        for start in range(0, len(rows), 32):
            out.append(
                model.encode(recipe.preparation.tensor(store.images[rows[start : start + 32]])).numpy()
            )
    return np.concatenate(out)


def probe(x: NDArray, truth: NDArray, fit: NDArray[np.bool_], strength: float) -> NDArray[np.float64]:
    """Probabilities (films, labels) of one regression a label, fitted on the films that `fit` marks."""
    scaled = StandardScaler().fit(x[fit]).transform(x)
    columns = []
    for label in truth.T:
        model = LogisticRegression(C=strength, max_iter=2000).fit(scaled[fit], label[fit])
        columns.append(model.predict_proba(scaled)[:, 1])
    return np.stack(columns, 1)


def _macro(truth: NDArray, scores: NDArray, part: NDArray[np.bool_], films: Manifest) -> float:
    return macro_auc(truth[part], scores[part], np.array(material.patient_keys(films))[part]).value


if __name__ == "__main__":
    main()
