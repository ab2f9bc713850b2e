"""How sure are 22,433 real predictions of a DenseNet-121? The tables of docs/how-sure.md.

    python -m benchmarks.how_sure [--data ../shared/data] [--out out/how-sure] [--replicates 1000] [--splits 200]

Probabilities of CheXNet for 14 findings of ChestX-ray14 and the set's mined labels. Patients are parted by chance in two
halves: calibration, thresholds and risk control are fitted on one and measured on the other. Writes how-sure.md,
how-sure.json and the figures into --out. About a minute and a half of one core.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import logit

from hilum.evaluation import confusion, risk_control
from hilum.evaluation.calibration import fit_platt
from hilum.evaluation.estimate import Estimate
from hilum.evaluation.flags import compare_flags
from hilum.evaluation.plots import plot_reliability
from hilum.evaluation.plots_uncertainty import plot_risk_coverage
from hilum.evaluation.reliability_intervals import calibration_gains, reliability_estimates
from hilum.evaluation.selective import chance_of_error, selective_estimates, wrong_calls
from hilum.evaluation.thresholds import choose_thresholds, threshold_values

ALPHA, DELTA = 0.1, 0.1
FLAGGED = 0.2
DRAWN = ("Atelectasis", "Effusion", "Pneumonia", "Hernia")


@dataclass(frozen=True)
class Films:
    """Truth and raw probabilities (n, 14), patients (n,), names (14,)."""

    names: list[str]
    truth: NDArray[np.float64]
    raw: NDArray[np.float64]
    patients: NDArray[np.int64]


@dataclass(frozen=True)
class Halves:
    """Which films fit and which measure, and the raw probabilities calibrated by the first."""

    fit: NDArray[np.bool_]
    test: NDArray[np.bool_]
    calibrated: NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default=os.environ.get("HILUM_DATA", "../shared/data"))
    parser.add_argument("--out", default="out/how-sure")
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=200)
    options = parser.parse_args()
    films = load(Path(options.data))
    halves = parted(films)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    numbers = {
        "halves": {
            part: {"films": int(mask.sum()), "patients": len(np.unique(films.patients[mask]))}
            for part, mask in (("calibration", halves.fit), ("test", halves.test))
        },
        "calibration": calibration(films, halves, options.replicates),
        "selective": selective(films, halves, options.replicates),
        "flags": flags(films, halves, options.replicates),
        "misses": misses(films, halves),
        "splits": over_splits(films, options.splits),
    }
    figures(films, halves, out)
    text = tables(numbers)
    (out / "how-sure.json").write_text(json.dumps(numbers, indent=1, default=Estimate.as_dict) + "\n")
    (out / "how-sure.md").write_text(text)
    print(text)


def load(data: Path) -> Films:
    """The predictions, joined with the official labels by the image's name."""
    table = pl.read_csv(data / "chexnet" / "preds.csv.gz").join(
        pl.read_csv(data / "nih14" / "Data_Entry_2017_v2020.csv.gz"), on="Image Index", how="inner"
    )
    names = [column.removeprefix("prob_") for column in table.columns if column.startswith("prob_")]
    findings = table["Finding Labels"].str.split("|")
    truth = np.column_stack([findings.list.contains(name).to_numpy() for name in names]).astype(np.float64)
    raw = table.select(f"prob_{name}" for name in names).to_numpy()
    return Films(names, truth, raw, table["Patient ID"].to_numpy())


def parted(films: Films, seed: int = 0) -> Halves:
    """Half of the patients to fit on, the others to measure on; Platt scaling fitted on the first."""
    every = np.unique(films.patients)
    chosen = np.random.default_rng(seed).permutation(every)[: len(every) // 2]
    fit = np.isin(films.patients, chosen)
    logits = logit(films.raw)
    return Halves(fit, ~fit, fit_platt(films.truth[fit], logits[fit]).apply(logits))


def calibration(films: Films, halves: Halves, replicates: int) -> dict[str, Any]:
    """Each measure before and after, and the gains in the proper ones."""
    truth, patients = films.truth[halves.test], films.patients[halves.test]
    raw, calibrated = films.raw[halves.test], halves.calibrated[halves.test]
    before, after = (
        reliability_estimates(truth, p, patients, films.names, replicates=replicates)
        for p in (raw, calibrated)
    )
    gained = calibration_gains(truth, raw, calibrated, patients, films.names, replicates=replicates)
    return {"before": before, "after": after, "gained": gained}


def selective(films: Films, halves: Halves, replicates: int) -> dict[str, Any]:
    """The calls at Youden's thresholds of the calibration half: what is left of their errors by two uncertainties."""
    calls = calls_of(films, halves)
    return {
        name: selective_estimates(
            calls.errors, uncertainty, films.patients[halves.test], films.names, replicates=replicates
        )
        for name, uncertainty in (("chance", calls.chance), ("nearness", calls.nearness))
    }


def flags(films: Films, halves: Halves, replicates: int) -> dict[str, Any]:
    """All calls of all findings: a fifth flagged, by two plain ways and by the calibrated chance of an error."""
    calls = calls_of(films, halves)
    raw = chance_of_error(films.raw[halves.test], calls.called)
    return {
        name: compare_flags(
            calls.errors.ravel(),
            plain.ravel(),
            float(np.quantile(plain, 1 - FLAGGED)),
            calls.chance.ravel(),
            float(np.quantile(calls.chance, 1 - FLAGGED)),
            np.repeat(films.patients[halves.test], len(films.names)),
            replicates=replicates,
        ).as_dict()
        for name, plain in (("nearness to the threshold", calls.nearness), ("raw chance of an error", raw))
    }


@dataclass(frozen=True)
class Calls:
    """The test half's calls, each (n, 14): whether called, whether wrong, and two uncertainties."""

    called: NDArray[np.bool_]
    errors: NDArray[np.float64]
    chance: NDArray[np.float64]
    nearness: NDArray[np.float64]


def calls_of(films: Films, halves: Halves) -> Calls:
    """Calls at Youden's thresholds of the calibration half."""
    cuts = threshold_values(choose_thresholds(films.truth[halves.fit], halves.calibrated[halves.fit]))
    probabilities = halves.calibrated[halves.test]
    called = confusion.call(probabilities, cuts)
    return Calls(
        called,
        wrong_calls(films.truth[halves.test], called),
        chance_of_error(probabilities, called),
        -np.abs(logit(probabilities) - logit(cuts)),
    )


def misses(films: Films, halves: Halves) -> dict[str, Any]:
    """Risk control of each finding: fitted on one half, measured on the other."""
    fit, test = halves.fit, halves.test
    given = films.truth[fit], halves.calibrated[fit], ALPHA
    controls = {
        "expected": risk_control.control_misses(*given, films.patients[fit]),
        "surely": risk_control.control_misses_surely(*given, DELTA, films.patients[fit]),
        "together": risk_control.control_missed_share(*given, films.patients[fit]),
    }
    found: dict[str, Any] = {}
    for kind, control in controls.items():
        called = control.calls(halves.calibrated[test])
        rates = confusion.rate_estimates(films.truth[test], called, films.patients[test])
        found[kind] = {
            "guarantee": control.guarantee,
            "thresholds": dict(zip(films.names, control.as_dict()["thresholds"], strict=True)),
            "calls": dict(zip(films.names, control.as_dict()["calls"], strict=True)),
            "patients": dict(zip(films.names, control.patients, strict=True)),
            "missed": dict(
                zip(
                    films.names,
                    risk_control.missed_shares(films.truth[test], called, films.patients[test]),
                    strict=True,
                )
            ),
            "specificity": {name: rate["specificity"] for name, rate in zip(films.names, rates, strict=True)},
            "calls_a_film": float(called.sum(1).mean()),
        }
    # What "together" promises is of a film's findings, not of each finding alone.
    truth, called = films.truth[test], controls["together"].calls(halves.calibrated[test])
    with np.errstate(invalid="ignore"):
        share = ((truth == 1) & ~called).sum(1) / truth.sum(1)
    found["together"]["missed_of_a_film"] = risk_control.mean_by_patient(share, films.patients[test])
    return found


def over_splits(films: Films, splits: int) -> dict[str, Any]:
    """The promise of `control_misses` is one of expectation: its mean over many random halves."""
    missed: dict[str, list[list[float]]] = {"expected": [], "surely": []}
    for seed in range(1, splits + 1):
        every = np.unique(films.patients)
        fit = np.isin(films.patients, np.random.default_rng(seed).permutation(every)[: len(every) // 2])
        given = films.truth[fit], films.raw[fit], ALPHA  # calibration keeps the order, so raw scores do
        for kind, control in (
            ("expected", risk_control.control_misses(*given, films.patients[fit])),
            ("surely", risk_control.control_misses_surely(*given, DELTA, films.patients[fit])),
        ):
            measured = risk_control.missed_shares(
                films.truth[~fit], control.calls(films.raw[~fit]), films.patients[~fit]
            )
            missed[kind].append([estimate.value for estimate in measured])
    return {
        "splits": splits,
        **{
            kind: {
                "mean": dict(zip(films.names, np.mean(values, 0).tolist(), strict=True)),
                "above": dict(zip(films.names, np.mean(np.array(values) > ALPHA, 0).tolist(), strict=True)),
            }
            for kind, values in missed.items()
        },
    }


def figures(films: Films, halves: Halves, out: Path) -> None:
    """Reliability of four findings, and risk over coverage of all calls."""
    at = [films.names.index(name) for name in DRAWN]
    truth, raw, calibrated = (a[halves.test][:, at] for a in (films.truth, films.raw, halves.calibrated))
    plot_reliability(truth, raw, calibrated, out / "reliability.png", DRAWN)
    calls = calls_of(films, halves)
    plot_risk_coverage(
        calls.errors.ravel(),
        {"nearness to threshold": calls.nearness.ravel(), "chance of an error": calls.chance.ravel()},
        out / "risk-coverage.png",
        "share of calls wrong",
    )


def tables(numbers: dict[str, Any]) -> str:
    """The page's tables."""
    before, after, gained = (numbers["calibration"][key] for key in ("before", "after", "gained"))
    halves = numbers["halves"]
    lines = [
        f"Calibration half: {halves['calibration']['films']:,} films of {halves['calibration']['patients']:,} "
        f"patients. Test half: {halves['test']['films']:,} films of {halves['test']['patients']:,} patients.",
        "",
        *_row("finding", "positive", "ECE before", "after", "adaptive ECE before", "after"),
    ]
    for name in before:
        one, other = before[name], after[name]
        values = (one["ece"], other["ece"], one["adaptive_ece"], other["adaptive_ece"])
        lines += [_line(name, f"{one['ece'].positives:,}", *map(_short, values))]
    lines += ["", *_row("finding", "Brier before", "after", "gain", "log loss before", "after", "gain")]
    for name in before:
        one, other, gain = before[name], after[name], gained[name]
        lines += [
            _line(
                name,
                *(
                    cell
                    for m in ("brier", "log_loss")
                    for cell in (
                        f"{one[m].value:.4f}",
                        f"{other[m].value:.4f}",
                        _short(gain[m], 5 if m == "brier" else 4),
                    )
                ),
            )
        ]
    by_chance, by_nearness = (numbers["selective"][kind] for kind in ("chance", "nearness"))
    heads = ("finding", "calls wrong", "AURC", "excess AURC", "AUGRC", "AUC of errors", "AUGRC by nearness")
    lines += ["", *_row(*heads)]
    for name, found in by_chance.items():
        lines += [_line(name, *map(_short, (*found.values(), by_nearness[name]["augrc"])))]
    lines += ["", *_row("flag on all calls", "flagged", "errors caught", "flagged calls wrong")]
    for name, flag in numbers["flags"].items():
        lines += [_line(name, *_rates(flag["first"]))]
    lines += [_line("calibrated chance of an error, same rate", *_rates(flag["second_at_equal_rate"]))]
    for name, flag in numbers["flags"].items():
        lines += [f"\nCaught more than by {name}: {_short(Estimate(**flag['more_caught']))}."]
    expected, surely, together = (numbers["misses"][kind] for kind in ("expected", "surely", "together"))
    splits = numbers["splits"]
    lines += [
        "",
        *_row(
            "finding",
            "patients",
            f"missed, {ALPHA:.0%} in expectation",
            "specificity",
            f"missed, {ALPHA:.0%} surely",
            "specificity",
            f"mean of {splits['splits']} halves",
            "the same, surely",
        ),
    ]
    for name in expected["missed"]:
        lines += [
            _line(
                name,
                str(expected["patients"][name]),
                _short(expected["missed"][name]),
                _short(expected["specificity"][name]),
                _short(surely["missed"][name]),
                _short(surely["specificity"][name]),
                f"{splits['expected']['mean'][name]:.3f}",
                f"{splits['surely']['mean'][name]:.3f}",
            )
        ]
    lines += [
        "",
        f"One threshold for all findings, {next(iter(together['thresholds'].values())):.4f}: "
        f"{_short(together['missed_of_a_film'])} of a film's findings missed, at "
        f"{together['calls_a_film']:.1f} calls a film.",
    ]
    return "\n".join(lines) + "\n"


def _rates(flag: dict[str, Any]) -> list[str]:
    return [_short(Estimate(**flag[key])) for key in ("rate", "caught", "precision")]


def _short(estimate: Estimate, digits: int = 3) -> str:
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def _row(*heads: str) -> list[str]:
    return [_line(*heads), "|---|" + "--:|" * (len(heads) - 1)]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
