"""Films that `hilum synthesise` made, to be learnt from beside real ones."""

from __future__ import annotations

from pathlib import Path

from hilum.datasets import disk
from hilum.datasets.checks import SYNTHETIC
from hilum.datasets.manifest import Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError

MANIFEST = "manifest.parquet"
"""What `hilum synthesise` calls the manifest beside its films."""


@source(
    SYNTHETIC,
    title="Synthetic films",
    what="films that a generator of yours made, for training alone",
    licence="that of the generator's bundle",
    homepage="none",
    citation="none",
    layout="""
        manifest.parquet            as `hilum synthesise --out` wrote it
        films/synthetic-000000.png ...
    """,
)
def load(root: Path) -> Manifest:
    """The folder that `hilum synthesise` wrote, wherever it lies now. Its films are a patient each, and of part train."""
    root = disk.folder(root)
    manifest = Manifest.load(root / MANIFEST, root=root)
    if (manifest.table["source"] != SYNTHETIC).any():
        raise DataError(
            "these are not films that `hilum synthesise` made", path=root, mend="Name their own source"
        )
    return manifest
