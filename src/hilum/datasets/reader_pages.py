"""The statistics of readers as a page, a JSON file and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hilum.datasets.describe import titled_table
from hilum.datasets.manifest import Manifest
from hilum.datasets.reader_statistics import FEWEST, FEWEST_MARKED, RULE, statistics
from hilum.datasets.readers import Readings
from hilum.evaluation import plots_readers
from hilum.evaluation.bootstrap import REPLICATES
from hilum.evaluation.plots import plot_intervals

PICTURES = {
    "labels.png": "Films of each finding, by how many of their readers boxed it.",
    "areas.png": "Share of the film's area that a box takes.",
    "area-histograms.png": "The same as histograms.",
    "agreement.png": "Agreement of readers by finding.",
    "pairs.png": "Who reads like whom: kappa pooled over findings; the numbers are shared films.",
    "ceiling.png": "One reader's boxes against the others': average precision by finding.",
    "readers.png": "One reader's boxes against the others', by reader: mean of precision times recall.",
}
_Row = tuple[float, float, float]


def write(
    manifest: Manifest, folder: str | Path, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """Write `readers.md`, `readers.json` and the figures of `PICTURES`; return the statistics."""
    folder = Path(folder)
    found = statistics(manifest, replicates=replicates, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "readers.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    _draw(Readings.of(manifest), found, folder)
    (folder / "readers.md").write_text(markdown(found), encoding="utf-8")
    return found


def markdown(found: dict[str, Any]) -> str:
    """The statistics as a Markdown page."""
    counts, threshold = found["counts"], found["iou_threshold"]
    lines = [
        "# Readers",
        "",
        f"{counts['rows']:,} rows: {counts['boxes']:,} boxes and {counts['readings_without_a_box']:,} readings without"
        f" one; {counts['films']:,} films, {counts['readers']} readers, {counts['readings']:,} readings. On"
        f" {counts['films_marked']:,} films (the *marked* ones) a reader boxed something; on {counts['films_disputed']:,}"
        " of them another reader boxed nothing.",
        "",
        *(f"- {note}" for note in found["notes"]),
        f"- Intervals are of 95 %, of {found['replicates']:,} draws of films.",
        f"- Made by `hilum data readers MANIFEST --out FOLDER --replicates {found['replicates']} --seed {found['seed']}` of"
        f" the manifest `{found['digest'][:16]}`. Research use only.",
    ]
    rows = [
        (name, row["boxes"], row["films"], *row["films_by_readers"], *_areas(row["area_share"]))
        for name, row in found["findings"].items()
    ]
    most = max((len(row["films_by_readers"]) for row in found["findings"].values()), default=0)
    by = tuple(f"by {n}" for n in range(1, most + 1))
    header = ("finding", "boxes", "films", *by, "area: 5 %", "median", "95 %")
    lines += titled_table("Findings", header, rows)
    lines += [
        "",
        "*by n*: films on which exactly n readers boxed it. *area*: a box's share of the film, quantiles.",
    ]
    lines += _agreement(found["agreement"], threshold)
    lines += _ceiling(found)
    single = found["ceiling_of_readers"]
    readers = [
        (
            name,
            *(row[k] for k in ("films", "films_marked", "boxes")),
            _percent(row["share_with_a_box"]),
            f"{row['boxes_on_such_a_film']:.1f}",
            *(_text(single[name][k]) if name in single else "" for k in ("mean", "unordered")),
        )
        for name, row in found["readers"].items()
    ]
    header = (
        "reader",
        "films",
        "marked films",
        "boxes",
        "films with a box",
        "boxes on such a film",
        f"AP, {RULE} of the others",
        "without order",
    )
    lines += titled_table("Readers", header, readers)
    lines += [
        "",
        "Readers had other films, and so other findings: their APs do not say who reads better. The fewer the boxes, the"
        " more an order of equal scores adds: compare the last column.",
    ]
    told = [pair for pair in found["pairs"] if pair["kappa"]["value"] is not None]
    pairs = [
        (
            " and ".join(pair["readers"]),
            *(cell for k in ("kappa", "kappa_marked") for cell in _n_and_text(pair[k])),
        )
        for pair in sorted(told, key=lambda p: -p["kappa"]["value"])
    ]
    header = ("readers", "films", "kappa", "marked films", "kappa there")
    lines += titled_table("Who reads like whom", header, pairs)
    lines += [
        "",
        f"Kappa is pooled over the findings; the most alike first. Two readers who share fewer than {FEWEST} films, or"
        f" fewer than {FEWEST_MARKED} marked ones, are left out:"
        f" {len(found['pairs']) - len(told)} of {len(found['pairs'])} pairs.",
        "",
        "## Figures",
    ]
    for picture, text in PICTURES.items():
        lines += ["", text, "", f"![{picture.removesuffix('.png')}]({picture})"]
    return "\n".join([*lines, ""])


def _agreement(agreement: dict[str, Any], threshold: float) -> list[str]:
    keys = ("fleiss", "fleiss_marked", "cohen", "cohen_marked", "iou", "found_by_both")
    rows = [(name, *(_text(row[k]) if k in row else "" for k in keys)) for name, row in agreement.items()]
    header = ("finding", "Fleiss", "Fleiss, marked", "Cohen", "Cohen, marked", "IoU", "found by both")
    lines = titled_table("Agreement", header, rows)
    return [
        *lines,
        "",
        "*Fleiss*, *Cohen*: kappa of whether a film has the finding; Cohen's over the pairs of readers, pooled; *marked*: on"
        " films where some reader boxed something. *IoU*: mean over the matched boxes of two readers that meet. *found by"
        f" both*: of two readers' boxes the share that the other has too, at IoU above {threshold:g}.",
    ]


def _ceiling(found: dict[str, Any]) -> list[str]:
    every = found["ceiling"]
    rows = [(c["rule"], _text(c["mean"]), _text(c["unordered"]), _text(c["with_no_finding"])) for c in every]
    header = ("truth of the others", "mean AP", "without order", "with No finding")
    lines = titled_table("One reader against the others", header, rows)
    lines += [
        "",
        f"Each reader's boxes, all with score 1, against a truth of the film's other readers: PASCAL VOC AP at IoU above"
        f" {found['iou_threshold']:g}, the competition's metric. Equal scores stand in an order that is drawn, which always"
        " adds a little, and a little more in draws of films; *without order* is the mean of precision times recall, which"
        " has none. It is no upper bound for what agrees with more readers than two.",
    ]
    names = list(found["findings"])
    own = [(name, *(_text(c["findings"][name]) for c in every), *_rates(every, name)) for name in names]
    header = ("finding", *(c["rule"] for c in every), f"precision, {RULE}", f"recall, {RULE}")
    return lines + titled_table("One reader against the others, by finding", header, own)


def _rates(every: list[dict[str, Any]], name: str) -> list[str]:
    row = next(c for c in every if c["rule"] == RULE)["findings"][name]
    return ["" if row[k] is None else f"{row[k]:.3f}" for k in ("precision", "recall")]


def _draw(readings: Readings, found: dict[str, Any], folder: Path) -> None:
    findings, agreement = found["findings"], found["agreement"]
    plots_readers.plot_agreeing_readers(
        {name: row["films_by_readers"] for name, row in findings.items()}, folder / "labels.png"
    )
    shares = readings.area_shares()
    areas = {name: shares[readings.finding == i] for i, name in enumerate(readings.findings)}
    plots_readers.plot_box_areas(areas, folder / "areas.png")
    plots_readers.plot_area_histograms(areas, folder / "area-histograms.png")
    quantities = {
        "fleiss_marked": "Fleiss' kappa, marked films",
        "iou": "mean IoU of matched boxes",
        "found_by_both": f"boxes found by both (IoU > {found['iou_threshold']:g})",
    }
    columns = {
        text: {name: _values(agreement[name][key]) for name in agreement if key in agreement[name]}
        for key, text in quantities.items()
    }
    plots_readers.plot_estimate_columns(columns, folder / "agreement.png")
    panels = {
        title: _matrix(readings.names, found["pairs"], key)
        for key, title in (("kappa", "all films that both read"), ("kappa_marked", "marked films"))
    }
    plots_readers.plot_reader_pairs(readings.names, panels, folder / "pairs.png")
    by_rule = {
        f"AP, {c['rule']} of the others": {n: _values(e) for n, e in c["findings"].items()}
        for c in found["ceiling"]
        if c["rule"] in (RULE, "majority")
    }
    plots_readers.plot_estimate_columns(by_rule, folder / "ceiling.png")
    own = [(name, *_values(c["unordered"])) for name, c in found["ceiling_of_readers"].items()]
    whole = next(c for c in found["ceiling"] if c["rule"] == RULE)["unordered"]["value"]
    plot_intervals(
        own, folder / "readers.png", f"mean AP without order, {RULE} of the others (line: all readers)", whole
    )


def _matrix(names: tuple[str, ...], pairs: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """(kappa, shared films), both (readers, readers)."""
    place = {name: i for i, name in enumerate(names)}
    kappa, films = np.full((len(names),) * 2, np.nan), np.zeros((len(names),) * 2, int)
    for pair in pairs:
        i, j = (place[name] for name in pair["readers"])
        films[i, j] = films[j, i] = pair[key]["n"]
        kappa[i, j] = kappa[j, i] = _values(pair[key])[0]
    return kappa, films


def _values(estimate: dict[str, Any]) -> _Row:
    value, low, high = (
        float("nan") if estimate[k] is None else estimate[k] for k in ("value", "low", "high")
    )
    return value, low, high


def _text(estimate: dict[str, Any]) -> str:
    value, low, high = _values(estimate)
    if np.isnan(value):
        return ""
    return f"{value:.3f}" if np.isnan(low) else f"{value:.3f} ({low:.3f}–{high:.3f})"


def _n_and_text(estimate: dict[str, Any]) -> tuple[int, str]:
    return estimate["n"], _text(estimate)


def _areas(quantiles: dict[str, float]) -> list[str]:
    return [_percent(quantiles[q]) if quantiles else "" for q in ("0.05", "0.5", "0.95")]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else f"{100 * share:.2f} %"
