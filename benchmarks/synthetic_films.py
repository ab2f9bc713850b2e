"""Do films of a generator, added to training, help?

    python -m benchmarks.synthetic_films RUN/bundle [--data ../shared/data] [--out out/synthetic] [--seeds 3] [--films 1447]

RUN is that of `hilum train recipes/gan.yaml`. MobileNetV2 from ImageNet's weights learns the 14 findings of ChestX-ray14
from the official training films, or from these and as many of the generator for half the epochs, so that both take as many
steps; both are tested on the official test films at hand. What was trained is kept in --out and not trained again. Writes
synthetic.json. About half an hour of two cores.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hilum.bundles import verify
from hilum.datasets.manifest import Manifest
from hilum.evaluation.comparison import mean_t
from hilum.evaluation.delong import macro_auc
from hilum.evaluation.verdict import Verdict, compare_macro_aucs, compare_seeds
from hilum.learning import many
from hilum.learning.evaluate import DONE, evaluate
from hilum.learning.recipe import Recipe
from hilum.learning.recipe_files import make_recipe
from hilum.learning.synthesise import synthesise

REAL, BOTH = "real", "real and synthetic"
EPOCHS = {REAL: 10, BOTH: 5}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="the generator")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("out/synthetic"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--films", type=int, default=1447, help="of the generator")
    parser.add_argument("--at-once", type=int, default=1)
    given = parser.parse_args()

    made = given.out / "films"
    if not (made / "manifest.parquet").is_file():
        synthesise(given.bundle, given.films, made)
    labels = tuple(label.name for label in verify(given.bundle).labels)
    seeds = range(1, given.seeds + 1)
    jobs = [
        many.Job(recipe(arm, labels, seed, given, made), given.out / arm.replace(" ", "-") / f"{seed}")
        for arm in EPOCHS
        for seed in seeds
    ]
    tested: list[Path] = []
    for outcome in many.carry_out(jobs, given.at_once):
        if outcome.bundle is None:
            raise SystemExit(f"{outcome.job.folder}: {outcome.fault}")
        tested.append(outcome.job.folder / "test")
        if not (tested[-1] / DONE).is_file():
            films = Manifest.load(outcome.job.folder / "manifest.parquet").filter(source="nih14")
            evaluate(outcome.bundle, films, tested[-1], split="test")
    report = told(dict(zip(EPOCHS, (tested[: given.seeds], tested[given.seeds :]), strict=True)), labels)
    (given.out / "synthetic.json").write_text(json.dumps(report, indent=1) + "\n")
    for line in report["words"]:
        print(line)


def recipe(arm: str, labels: tuple[str, ...], seed: int, given: argparse.Namespace, made: Path) -> Recipe:
    """Of one run."""
    sources = [{"source": "nih14", "root": "nih14"}]
    sources += [{"source": "synthetic", "root": str(made.absolute()), "part": "train"}] if arm == BOTH else []
    content: dict[str, Any] = {
        "name": f"findings-{arm.replace(' ', '-')}",
        "task": "multilabel",
        "data": {
            "root": str(given.data.absolute()),
            "store": str(given.out / "stores"),
            "sources": sources,
            "labels": labels,
            "split": {"kind": "official", "validation": 0.15, "seed": 1},
        },
        "preparation": {"size": [96, 96], "aspect": "squash"},
        "model": {
            "name": "timm",
            "pretrained": "weights/mobilenetv2_100.imagenet.safetensors",
            "options": {"name": "mobilenetv2_100", "dropout": 0.2},
        },
        "phases": [
            {"name": "whole", "epochs": EPOCHS[arm], "batch": 32, "rate": 1e-3, "encoder_rate": 3e-4, "weight_decay": 0.05}
        ],
        "bundle": {
            "title": "Fourteen findings on frontal chest films",
            "licence": "free use with attribution to the NIH Clinical Center",
            "limits": ["Made to ask whether synthetic films help."],
        },
        "seed": seed,
    }  # fmt: skip
    return make_recipe(content, [], "benchmarks/synthetic_films.py")


def told(tested: dict[str, list[Path]], labels: tuple[str, ...]) -> dict[str, Any]:
    """Macro AUC of each arm and seed, over seeds, and over films by the mean of the seeds' probabilities."""
    tables = {
        arm: [pl.read_parquet(each / "predictions.parquet") for each in own] for arm, own in tested.items()
    }
    first = tables[REAL][0]
    truth = first.select([f"truth:{label}" for label in labels]).to_numpy().astype(np.float64)
    patients = first["patient"].to_numpy()
    scores = {
        arm: [each.select([f"probability:{label}" for label in labels]).to_numpy() for each in own]
        for arm, own in tables.items()
    }
    seeds = {arm: [macro_auc(truth, each, patients).value for each in own] for arm, own in scores.items()}
    verdicts: list[Verdict] = [*compare_seeds(seeds, BOTH)] if len(tables[REAL]) > 1 else []
    verdicts += compare_macro_aucs(
        truth, {arm: np.mean(own, 0) for arm, own in scores.items()}, BOTH, patients
    )
    means = {arm: mean_t(each) for arm, each in seeds.items()}
    words = [
        f"{arm}: macro AUC {m.value:.3f} ({m.low:.3f} to {m.high:.3f}), seeds {seeds[arm]}"
        for arm, m in means.items()
    ]
    return {
        "films": len(truth),
        "patients": len(np.unique(patients)),
        "seeds": seeds,
        "verdicts": [verdict.as_dict() for verdict in verdicts],
        "words": [*words, *(verdict.words() for verdict in verdicts)],
    }  # fmt: skip


if __name__ == "__main__":
    main()
