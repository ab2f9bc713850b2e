"""The COVID-19 image data collection of Cohen et al.: adult films from publications and many hospitals."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import canonical

_VIEWS = {"PA": "PA", "AP": "AP", "AP SUPINE": "AP", "AP ERECT": "AP", "L": "LATERAL"}
# A film with bacterial pneumonia was not tested for COVID-19 as far as we know, but was published as a
# case of something else: COVID-19 is 0.
_CLASSES = ("Normal", "Bacterial Pneumonia", "Viral Pneumonia", "COVID-19")
_UNSAID = {"todo", "Unknown", "ARDS"}  # unread, or a syndrome of any cause
_OTHER_PNEUMONIA = {"Pneumonia", "Pneumocystis", "Lipoid", "Aspergillosis", "Nocardia", "Aspiration"}


def patient(number: str) -> str:
    """The patient's name in manifests: `cohen:<patientid>`."""
    return f"cohen:{number}"


@source(
    "cohen",
    title="COVID-19 image data collection",
    what="X-rays of COVID-19 and other pneumonias with view, sex, age, patient and licence",
    licence="per image (column `licence`): many CC BY-NC-SA, some without derivatives, some blank",
    homepage="GitHub, ieee8023/covid-chestxray-dataset",
    citation="Cohen et al., COVID-19 Image Data Collection, MELBA 2020",
    layout="""
        metadata.csv       patientid, sex, age, finding, view, modality, filename, license, ...
        images/*.jpg|png
    """,
)
def load(root: Path, *, frontal_only: bool = False, finding: str | None = None) -> Manifest:
    """X-rays of the table that are on disk, laterals too (`view` LATERAL): filter, or ask for `frontal_only`.

    Labels: Pneumonia, COVID-19, Bacterial Pneumonia, Viral Pneumonia; a `todo` or a bare ARDS is unknown in
    all. `class` is Normal, Bacterial Pneumonia, Viral Pneumonia, COVID-19 or null. Columns kept beside:
    `finding` as published, `position` (SUPINE where the view says so), `licence` (null where the table
    leaves it blank).

    `finding`: only films whose published finding is this.
    """
    root = disk.folder(root)
    path = disk.need_file(root, "metadata.csv", "cohen/metadata.csv", what="the table of films")
    raw = disk.read_csv(path)
    needed = ("patientid", "sex", "age", "finding", "view", "modality", "filename", "license")
    disk.need_columns(raw, needed, path)
    raw = raw.filter(pl.col("modality") == "X-ray")
    if finding is not None:
        raw = raw.filter(pl.col("finding") == finding)
    on_disk = disk.images_by_stem(
        path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    )
    view = pl.col("view").str.to_uppercase().str.strip_chars()
    table = raw.select(
        image_id=pl.col("filename").str.replace(r"\.[^.]+$", ""),
        file="filename",
        patient=pl.format("cohen:{}", "patientid"),
        study=pl.format("cohen:{}/{}", "patientid", pl.col("offset").fill_null(""))
        if "offset" in raw.columns
        else None,
        view=view.replace_strict(_VIEWS, default=None),
        position=pl.when(view.str.contains("SUPINE")).then(pl.lit("SUPINE")),
        sex=pl.col("sex").str.to_uppercase(),
        age=pl.col("age").cast(pl.Float64, strict=False),
        source=pl.lit("cohen"),
        finding="finding",
        licence=pl.when(pl.col("license").str.strip_chars() != "").then(pl.col("license").str.strip_chars()),
    ).unique("image_id", keep="first", maintain_order=True)
    if frontal_only:
        table = table.filter(pl.col("view").is_in(["PA", "AP"]))
    table = table.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = table.filter(pl.col("path").is_null()).select("image_id", path="file")
    table = table.filter(pl.col("path").is_not_null()).drop("file")
    if not table.height:
        raise DataError("none of the films asked for is on disk", path=root)
    images = path.parent / "images" if (path.parent / "images").is_dir() else path.parent
    prefix = "" if images == path.parent else "images/"
    table = disk.measured(table, images).with_columns(path=prefix + pl.col("path"))
    labels = pl.DataFrame([_labels(f) for f in table["finding"]], schema=_SCHEMA, orient="row")
    notes = (
        "Films come from papers and many hospitals: a model can tell the source instead of the disease.",
        f"{table.filter(pl.col('view') == 'LATERAL').height} films are lateral,"
        f" {table['licence'].null_count()} bear no licence.",
    )
    return Manifest(table.hstack(labels), root=path.parent, missing=missing, notes=notes)


_SCHEMA = {
    "class": pl.String,
    LABEL + "Pneumonia": pl.Float32,
    LABEL + "COVID-19": pl.Float32,
    LABEL + "Bacterial Pneumonia": pl.Float32,
    LABEL + "Viral Pneumonia": pl.Float32,
}


def _labels(finding: str | None) -> tuple[str | None, float | None, float | None, float | None, float | None]:
    """(class, pneumonia, covid, bacterial, viral) that the published finding supports."""
    if finding is None or finding in _UNSAID:
        return None, None, None, None, None
    if finding == "Pneumonia":  # of unsaid cause
        return None, 1.0, None, None, None
    if finding in _OTHER_PNEUMONIA:
        return None, 1.0, 0.0, 0.0, 0.0
    name = canonical(finding, "cohen") if _is_known(finding) else None
    if name not in _CLASSES:
        return None, None, 0.0, None, None  # another disease (tuberculosis, say): only that it is no COVID-19
    if name == "Normal":
        return name, 0.0, 0.0, 0.0, 0.0
    covid, bacterial, viral = (
        float(name == n) for n in ("COVID-19", "Bacterial Pneumonia", "Viral Pneumonia")
    )
    # COVID-19 is a viral pneumonia, but the collection's class Viral Pneumonia is every other virus.
    return name, 1.0, covid, bacterial, viral


def _is_known(finding: str) -> bool:
    from hilum.findings import UnknownFindingError

    try:
        canonical(finding, "cohen")
    except UnknownFindingError:
        return False
    return True
