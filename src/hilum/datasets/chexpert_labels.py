"""The labels of the CheXpert labeler (Irvin et al. 2019, section 2), which CheXpert's and MIMIC-CXR's tables hold: 1.0
positive, 0.0 negative, -1.0 uncertain, blank where the report does not mention it.

Said once for both sources:

`uncertain`: what -1 becomes. `unknown` (as any value that nobody knows), `positive` (U-Ones), `negative` (U-Zeros), or
`smoothed`: unknown as a label, so that no metric counts it, with a soft target beside it for training, drawn from
U(0.55, 0.85) by `seed` (Pham et al., Interpreting chest X-rays via CNNs that exploit hierarchical disease dependencies and
uncertainty labels, Neurocomputing 2021: U-Ones+LSR).

`blank`: `unknown`, or `negative`, as most published work on these sets takes it. Where the labeler says No Finding, all
else that it looks for but Support Devices is 0 in either case, for that is what No Finding means there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, SOFT
from hilum.errors import DataError
from hilum.findings import canonical

OBSERVATIONS = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
NO_FINDING, DEVICES = "No Finding", "Support Devices"

Uncertain = Literal["unknown", "positive", "negative", "smoothed"]
Blank = Literal["unknown", "negative"]

_SMOOTHED = (0.55, 0.85)
_MEANS: dict[Uncertain, float | None] = {"unknown": None, "positive": 1.0, "negative": 0.0, "smoothed": None}


def read_labels(raw: pl.DataFrame, path: Path, uncertain: Uncertain, blank: Blank, seed: int) -> pl.DataFrame:
    """Columns `label:<Finding>` of 1, 0 and null, and with `smoothed` `soft:<Finding>`, row for row with `raw`.

    Draws depend on the row's place in the published table and on the seed, not on which films are at hand.
    """
    disk.need_columns(raw, (NO_FINDING, *OBSERVATIONS), path)
    columns = {name: _numbers(raw, name, path) for name in (NO_FINDING, *OBSERVATIONS)}
    healthy = (columns[NO_FINDING] == 1).fill_null(False)
    chance = np.random.default_rng(seed).uniform(*_SMOOTHED, (raw.height, len(OBSERVATIONS)))
    labels, soft = {}, {}
    for column, name in enumerate(OBSERVATIONS):
        said = columns[name]
        unsure = (said == -1).fill_null(False)
        value = said.zip_with(~unsure, _full(_MEANS[uncertain], said))
        if blank == "negative":
            value = value.zip_with(~said.is_null(), _full(0.0, said))
        if name != DEVICES:
            value = value.zip_with(~(said.is_null() & healthy), _full(0.0, said))
        finding = canonical(name)
        labels[LABEL + finding] = value
        if uncertain == "smoothed":
            drawn = pl.Series(chance[:, column]).cast(pl.Float32)
            soft[SOFT + finding] = drawn.zip_with(unsure, _full(None, said))
    labels[LABEL + NO_FINDING] = _no_finding(healthy, columns, blank)
    return pl.DataFrame(labels | soft)


def _no_finding(healthy: pl.Series, columns: dict[str, pl.Series], blank: Blank) -> pl.Series:
    """1 where the labeler says so, 0 where it found something; blank otherwise."""
    found = pl.Series([False]).new_from_index(0, len(healthy))
    for name in OBSERVATIONS:
        if name != DEVICES:
            found = found | (columns[name] == 1).fill_null(False)
    rest = _full(0.0 if blank == "negative" else None, healthy)
    value = _full(0.0, healthy).zip_with(found, rest)
    return _full(1.0, healthy).zip_with(healthy, value)


def _numbers(raw: pl.DataFrame, name: str, path: Path) -> pl.Series:
    text = raw[name].str.strip_chars()
    values = text.cast(pl.Float32, strict=False)
    strange = ~values.is_in([1.0, 0.0, -1.0]) | (values.is_null() & text.is_not_null() & (text != ""))
    if strange.fill_null(False).any():
        shown = raw[name].filter(strange.fill_null(False))[0]
        raise DataError(f"column '{name}' holds '{shown}'", path=path, mend="It holds 1, 0, -1 or nothing.")
    return values


def _full(value: float | None, like: pl.Series) -> pl.Series:
    return pl.Series([value], dtype=pl.Float32).new_from_index(0, len(like))
