"""Header values that may be absent, empty or malformed: each getter gives the value or None, and never raises."""

from __future__ import annotations

from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence


def value(dataset: Dataset, keyword: str) -> Any:
    """The element's value, or None where it is absent, empty or cannot be converted."""
    try:
        found = dataset.get(keyword)
    except Exception:
        # pydicom converts when asked, and raises as many kinds of error as there are ways to write a value wrongly.
        return None
    return None if found is None or found == "" else found


def values(dataset: Dataset, keyword: str) -> list[Any]:
    """All values of an element, as a list; empty where there is none."""
    found = value(dataset, keyword)
    if found is None:
        return []
    return list(found) if isinstance(found, MultiValue | Sequence | list | tuple) else [found]


def text(dataset: Dataset, keyword: str) -> str | None:
    """The first value in upper case without padding, or None."""
    found = values(dataset, keyword)
    stripped = str(found[0]).strip(" \0").upper() if found else ""
    return stripped or None


def integer(dataset: Dataset, keyword: str) -> int | None:
    found = numbers(dataset, keyword)
    return int(found[0]) if found and abs(found[0]) < 2**63 else None


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values as floats (NaN included); empty where one of them is no number."""
    try:
        return [float(v) for v in values(dataset, keyword)]
    except (TypeError, ValueError):
        return []


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence."""
    return [v for v in values(dataset, keyword) if isinstance(v, Dataset)]
