"""QaTa-COV19, compiled from its public parts: COVID-19 against four groups of controls."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from hilum.datasets import disk
from hilum.datasets.duplicates import as_one_patient, find
from hilum.datasets.manifest import LABEL, SOFT, TEACHER, Manifest, concat
from hilum.datasets.registry import source
from hilum.datasets.sources import cohen, covid_radiography, kermany, nih14
from hilum.datasets.split import holdout
from hilum.errors import DataError

COVID, NIH, LATERAL = "COVID-19", "ChestX-ray14", "Lateral"
PUBLISHED = {
    COVID: (3553, 1050),
    NIH: (86524, 25596),
    "Bacterial Pneumonia": (2130, 630),
    "Viral Pneumonia": (1146, 339),
    LATERAL: (2816, 832),
}
"""Group to films for training and for testing, before augmentation (Degerli et al. 2021)."""
AUGMENTED = {COVID: 10_000, "Bacterial Pneumonia": 5000, "Viral Pneumonia": 5000, LATERAL: 5000}
"""Group to films for training with the augmented ones."""
PROJECTIONS = "indiana_projections.csv"
"""Open-I's table of films; its reports are also passed on alone, without films."""
REPEATS = {group: AUGMENTED.get(group, train) / train for group, (train, _) in PUBLISHED.items()}
_TEST_SHARE = 0.228  # of each published group that has no official split


@source(
    "qata",
    title="QaTa-COV19, compiled",
    what="COVID-19 against ChestX-ray14, bacterial and viral pneumonia and lateral films: what is there of 124,616",
    licence="as in nih14, kermany, cohen, covid_radiography; Open-I: open access with attribution",
    homepage="compiled here from its parts",
    citation="Degerli et al., Reliable COVID-19 Detection Using Chest X-ray Images, ICIP 2021",
    layout="""
        cohen/ covid_radiography/ nih14/ kermany/   as those sources want them; what is absent is left out
        openi/indiana_projections.csv, openi/**/*.png   lateral films; left out without that table
    """,
)
def load(root: Path, *, classes: Literal["two", "groups"] = "two", seed: int = 0) -> Manifest:
    """Films with `group`, the label COVID-19 and a split; the notes hold the counts beside the published ones.

    COVID-19: frontal films of `cohen` and all of `covid_radiography`; near-duplicates among them are found
    (`hilum.datasets.duplicates`) and made one patient. Controls: ChestX-ray14, Kermany's bacterial and viral pneumonia,
    lateral films of Open-I and those of `cohen` without COVID-19. ChestX-ray14 keeps its official split; the rest is
    split by patient in the published shares, by `seed`, films of unknown patient each as its own.

    `classes`: `class` is COVID-19 or Control, or each film's `group`. Not the published set itself: its other COVID-19
    sources (BIMCV, Hannover, SIRM, Eurorad, COVID-CXNet) and its lists are not part of this.

    `repeats`: how many films of the augmented set come of one of these. Training draws by it (`sampler: repeats`) and
    shifts and turns films anew each time, where the published set holds fixed copies.
    """
    root = disk.folder(root)
    covid = _covid(root)
    others = [*_laterals(root), *_pneumonia(root)]
    official = [_grouped(nih14.load(root / "nih14"), NIH)] if (root / "nih14").is_dir() else []
    if not covid or not (others or official):
        raise DataError("COVID-19 films and a group of controls are needed", path=root, mend=_MEND)
    known = concat(covid)
    dealt = concat([as_one_patient(known, find(known).groups), *others])
    shares = {"train": 1 - _TEST_SHARE, "test": _TEST_SHARE}
    dealt = dealt.with_split(holdout(dealt, shares, seed, by=("group",), without_patient="own"))
    whole = concat([dealt, *official])
    control = pl.when(pl.col("group") == COVID).then(pl.lit(COVID)).otherwise(pl.lit("Control"))
    table = whole.table.with_columns(
        pl.col("group").alias("class") if classes == "groups" else control.alias("class"),
        (pl.col("group") == COVID).cast(pl.Float32).alias(LABEL + COVID),
        pl.col("group").replace_strict(REPEATS, return_dtype=pl.Float64).alias("repeats"),
    )
    notes = (*counts(table), *_NOTES)
    return Manifest(table, root=whole.root, missing=whole.missing, notes=notes)


_MEND = "Lay cohen/ or covid_radiography/, and nih14/, kermany/ or openi/, into this folder."
_NOTES = (
    "Each group comes from other hospitals, ages and views: a model can tell the source instead of the disease.",
    "Films of unknown patient, but for near-duplicates, were each taken for a patient of their own.",
)


def counts(table: pl.DataFrame) -> list[str]:
    """A line a group: films for training and testing here and as published."""
    lines = []
    for group, published in PUBLISHED.items():
        found = [table.filter(group=group, split=part).height for part in ("train", "test")]
        train, test = (f"{n:,} of {p:,}" for n, p in zip(found, published, strict=True))
        more = f" (with augmented films {AUGMENTED[group]:,})" if group in AUGMENTED else ""
        lines.append(f"{group}: train {train} published{more}, test {test}.")
    return lines


def _covid(root: Path) -> list[Manifest]:
    parts, is_covid = [], pl.col("class") == COVID
    if (root / "cohen").is_dir():
        frontal = pl.col("view").is_null() | (pl.col("view") != "LATERAL")
        parts.append(_grouped(cohen.load(root / "cohen"), COVID, frontal & is_covid))
    if (root / "covid_radiography").is_dir():
        parts.append(_grouped(covid_radiography.load(root / "covid_radiography"), COVID, is_covid))
    return [part for part in parts if len(part)]


def _pneumonia(root: Path) -> list[Manifest]:
    if not (root / "kermany").is_dir():
        return []
    films = kermany.load(root / "kermany")
    groups = ("Bacterial Pneumonia", "Viral Pneumonia")
    return [_grouped(films, group, pl.col("class") == group) for group in groups]


def _laterals(root: Path) -> list[Manifest]:
    parts = []
    if (root / "cohen").is_dir():
        without_covid = (pl.col("view") == "LATERAL") & (pl.col(LABEL + COVID) == 0)
        parts.append(_grouped(cohen.load(root / "cohen"), LATERAL, without_covid))
    if (root / "openi" / PROJECTIONS).is_file():
        parts.append(_grouped(_openi(root / "openi"), LATERAL))
    return [part for part in parts if len(part)]


def _openi(root: Path) -> Manifest:
    """The lateral films that Open-I's table of projections names; the patient is its `uid`."""
    path = disk.need_file(root, PROJECTIONS, what="the table of projections")
    raw = disk.read_csv(path)
    disk.need_columns(raw, ("uid", "filename", "projection"), path)
    on_disk = disk.images_by_stem(root)
    rows, missing = [], []
    for uid, name in raw.filter(pl.col("projection") == "Lateral").select("uid", "filename").rows():
        stem = name.removesuffix(".png")
        if stem in on_disk:
            rows.append((f"openi:{stem}", on_disk[stem], f"openi:{uid}", "LATERAL", "openi"))
        else:
            missing.append((f"openi:{stem}", name))
    table = disk.measured(disk.texts(rows, "image_id", "path", "patient", "view", "source"), root)
    return Manifest(table, root=root, missing=disk.texts(missing, "image_id", "path"))


def _grouped(manifest: Manifest, group: str, only: pl.Expr | None = None) -> Manifest:
    """The films (`only` some) with `group`, without boxes and labels, which their sources give to some films alone.

    Films not on disk are named where the whole set is of the group; whether they pass `only` cannot be told.
    """
    drop = (LABEL, SOFT, TEACHER)
    chosen = manifest.table if only is None else manifest.table.filter(only)
    table = chosen.drop(c for c in chosen.columns if c.startswith(drop) or c in ("class", "finding"))
    missing = manifest.missing if only is None else manifest.missing.clear()
    return Manifest(table.with_columns(group=pl.lit(group)), root=manifest.root, missing=missing)
