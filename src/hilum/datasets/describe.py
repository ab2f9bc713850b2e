"""What is in a manifest: counts, co-occurrence, who and how, as JSON, Markdown and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from hilum.datasets.manifest import Manifest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AGE_BANDS = ((0, 1), (1, 6), (6, 18), (18, 40), (40, 60), (60, 80), (80, 121))
"""Age bands in years, from the first number up to but not including the second."""


def summary(manifest: Manifest) -> dict[str, Any]:
    """Everything that `describe` shows, as plain numbers: see its keys in `describe.json`."""
    names, labels = manifest.labels()
    table = manifest.table
    positive = np.nan_to_num(labels, nan=0.0)
    return {
        "films": len(manifest),
        "patients": table["patient"].drop_nulls().n_unique(),
        "films_without_patient": table["patient"].null_count(),
        "missing": manifest.missing.height,
        "digest": manifest.digest,
        "notes": list(manifest.notes),
        "labels": {
            name: {
                "positive": int((labels[:, i] == 1).sum()),
                "negative": int((labels[:, i] == 0).sum()),
                "unknown": int(np.isnan(labels[:, i]).sum()),
            }
            for i, name in enumerate(names)
        },
        "cooccurrence": (positive.T @ positive).astype(int).tolist(),
        "class": _counts(table, "class"),
        "split": _counts(table, "split"),
        "source": _counts(table, "source"),
        "view": _counts(table, "view"),
        "sex": _counts(table, "sex"),
        "age": _ages(table["age"]),
        "positive_by_view": _by(table, "view", names, labels),
        "positive_by_sex": _by(table, "sex", names, labels),
        "boxes": _counts(manifest.boxes, "finding"),
        "masks": int(table["mask"].drop_nulls().len()) if "mask" in table.columns else 0,
    }


def describe(manifest: Manifest, folder: str | Path) -> dict[str, Any]:
    """Write `describe.json`, `describe.md` and their pictures; return the summary.

    `labels.png`, `cooccurrence.png` and `people.png`. The first two are left out where the manifest has none.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = summary(manifest)
    (folder / "describe.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    pictures = ["people.png"]
    _plot_people(manifest, found, folder / "people.png")
    if manifest.findings:
        pictures = ["labels.png", "cooccurrence.png", *pictures]
        _plot_labels(found, folder / "labels.png")
        _plot_cooccurrence(found, folder / "cooccurrence.png")
    (folder / "describe.md").write_text(markdown(found, pictures), encoding="utf-8")
    return found


def markdown(found: dict[str, Any], pictures: list[str]) -> str:
    """The summary as a Markdown page."""
    lines = [
        "# What is in this manifest",
        "",
        f"{found['films']:,} films of {found['patients']:,} patients"
        f" ({found['films_without_patient']:,} films without one);"
        f" {found['missing']:,} named films are not on disk; {found['masks']:,} masks;"
        f" {sum(found['boxes'].values()):,} boxes.",
        f"Digest: `{found['digest']}`.",
        "",
    ]
    lines += [f"- {note}" for note in found["notes"]]
    if found["labels"]:
        keys = ("positive", "negative", "unknown")
        counts = [(name, *(c[k] for k in keys)) for name, c in found["labels"].items()]
        lines += titled_table("Labels", ("finding", *keys), counts)
    for key in ("class", "split", "source", "view", "sex", "age", "boxes"):
        if found[key]:
            lines += titled_table(
                key.capitalize(), (key, "films" if key != "boxes" else "boxes"), list(found[key].items())
            )
    for key in ("view", "sex"):
        by = found[f"positive_by_{key}"]
        if found["labels"] and by:
            shares = [(name, *map(_percent, row)) for name, row in _rows(by)]
            lines += titled_table(f"Share positive by {key}", ("finding", *by), shares)
    lines += ["", *(f"![{p.removesuffix('.png')}]({p})" for p in pictures), ""]
    return "\n".join(lines)


def titled_table(title: str, header: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """Lines of a Markdown heading and a table under it."""
    lines = ["", f"## {title}", "", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + [
        "| " + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row) + " |" for row in rows
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _rows(by: dict[str, dict[str, float | None]]) -> list[tuple[str, list[float | None]]]:
    names = next(iter(by.values()))
    return [(name, [shares[name] for shares in by.values()]) for name in names]


def _counts(table: pl.DataFrame, column: str) -> dict[str, int]:
    """Rows a value, most first; `unknown` for null where there is any; empty where no row has a value."""
    if column not in table.columns or table[column].null_count() == table.height:
        return {}
    counts = table[column].value_counts().sort(["count", column], descending=[True, False])
    return {"unknown" if value is None else str(value): int(n) for value, n in counts.iter_rows()}


def _ages(ages: pl.Series) -> dict[str, int]:
    if ages.null_count() == len(ages):
        return {}
    bands = {f"{low} to {high - 1}": int(((ages >= low) & (ages < high)).sum()) for low, high in AGE_BANDS}
    return {band: n for band, n in bands.items() if n} | {"unknown": ages.null_count()}


def _by(
    table: pl.DataFrame, column: str, names: tuple[str, ...], labels: np.ndarray
) -> dict[str, dict[str, float | None]]:
    """Value of `column` to finding to the positive share of known labels (None where none is known)."""
    out = {}
    for value in table[column].drop_nulls().unique().sort():
        here = labels[(table[column] == value).fill_null(False).to_numpy()]
        known = (~np.isnan(here)).sum(0)
        shares = np.nansum(here, axis=0) / np.maximum(known, 1)
        out[value] = {n: float(s) if k else None for n, s, k in zip(names, shares, known, strict=True)}
    return out


def _plot_labels(found: dict[str, Any], path: Path) -> None:
    plt = _pyplot()
    counts = found["labels"]
    figure, axes = plt.subplots(figsize=(7, 0.32 * len(counts) + 1.2), layout="constrained")
    left = np.zeros(len(counts))
    for key, colour in (("positive", "#b5432f"), ("negative", "#c9d3dc"), ("unknown", "#f1eee6")):
        values = np.array([c[key] for c in counts.values()])
        axes.barh(list(counts), values, left=left, color=colour, label=key, edgecolor="white", linewidth=0.4)
        left += values
    for y, c in enumerate(counts.values()):
        axes.text(0.01 * left.max(), y, f"{c['positive']:,}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("films (the number is of positive ones)")
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path, dpi=130)


def _plot_cooccurrence(found: dict[str, Any], path: Path) -> None:
    plt = _pyplot()
    names = list(found["labels"])
    together = np.array(found["cooccurrence"], float)
    own = np.diag(together)
    shares = np.divide(together, own[:, None], out=np.zeros_like(together), where=own[:, None] > 0)
    side = 0.42 * len(names) + 2.2
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    for (y, x), n in np.ndenumerate(together):
        axes.text(
            x, y, f"{n:.0f}", ha="center", va="center", fontsize=6, color="w" if shares[y, x] > 0.6 else "k"
        )
    axes.set_title("films with both; colour: share of the row's films", fontsize=9)
    figure.savefig(path, dpi=130)


def _plot_people(manifest: Manifest, found: dict[str, Any], path: Path) -> None:
    plt = _pyplot()
    figure, (views, sexes, ages) = plt.subplots(
        1, 3, figsize=(10, 3), layout="constrained", width_ratios=(1, 1, 2)
    )
    _bars(views, "view", found["view"])
    _bars(sexes, "sex", found["sex"])
    known = manifest.table.filter(pl.col("age").is_not_null())
    ages.set_title("age, years")
    if known.height:
        groups = [known.filter(pl.col("sex") == s)["age"].to_numpy() for s in ("F", "M")]
        groups.append(known.filter(pl.col("sex").is_null())["age"].to_numpy())
        drawn = [(g, n) for g, n in zip(groups, ("F", "M", "unknown"), strict=True) if len(g)]
        ages.hist([g for g, _ in drawn], bins=np.arange(0, 121, 5), stacked=True, label=[n for _, n in drawn])
        ages.legend(frameon=False)
    else:
        ages.text(0.5, 0.5, "not published", ha="center", transform=ages.transAxes)
    figure.savefig(path, dpi=130)


def _bars(axes: Axes, title: str, counts: dict[str, int]) -> None:
    axes.set_title(title)
    if counts:
        bars = axes.bar(list(counts), list(counts.values()), color="#4a6d8c")
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
        axes.tick_params("x", labelsize=7)
    else:
        axes.text(0.5, 0.5, "not published", ha="center", transform=axes.transAxes)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.close("all")
    return plt
