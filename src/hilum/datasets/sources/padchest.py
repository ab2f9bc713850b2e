"""PadChest (Alicante): lists of terms from Spanish reports, mapped to the vocabulary."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.manifest import LABEL, Manifest
from hilum.datasets.registry import source
from hilum.errors import DataError
from hilum.findings import NIH14

_VIEWS = {
    "PA": "PA",
    "AP": "AP",
    "AP_horizontal": "AP",
    "L": "LATERAL",
    "COSTAL": "OTHER",
    "EXCLUDE": "OTHER",
}

# A term stands for its finding and, by PadChest's own tree of terms, for those above it.
_TERMS: dict[str, tuple[str, ...]] = {
    "Atelectasis": (
        "atelectasis", "laminar atelectasis", "lobar atelectasis", "segmental atelectasis", "total atelectasis",
        "round atelectasis", "atelectasis basal",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": (
        "pleural effusion", "loculated pleural effusion", "loculated fissural effusion", "hydropneumothorax", "empyema",
    ),
    "Infiltration": (
        "infiltrates", "interstitial pattern", "ground glass pattern", "reticular interstitial pattern",
        "reticulonodular interstitial pattern", "miliary opacities", "alveolar pattern", "consolidation",
        "air bronchogram",
    ),
    "Mass": ("pulmonary mass",),
    "Nodule": ("nodule", "multiple nodules"),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema",),  # not subcutaneous emphysema, which is air under the skin
    "Fibrosis": ("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"),
    "Pleural Thickening": ("pleural thickening", "apical pleural thickening", "calcified pleural thickening"),
    "Hernia": ("hiatal hernia",),
    "Tuberculosis": ("tuberculosis",),
    "Fracture": (
        "fracture", "rib fracture", "callus rib fracture", "clavicle fracture", "humeral fracture", "vertebral fracture",
    ),
    "Support Devices": (
        "pacemaker", "dual chamber device", "single chamber device", "dai", "electrical device", "endotracheal tube",
        "tracheostomy tube", "NSG tube", "chest drain tube", "ventriculoperitoneal drain tube", "gastrostomy tube",
        "nephrostomy tube", "double J stent", "catheter", "central venous catheter",
        "central venous catheter via jugular vein", "central venous catheter via subclavian vein",
        "central venous catheter via umbilical vein", "reservoir central venous catheter", "artificial heart valve",
        "artificial mitral heart valve", "artificial aortic heart valve", "aortic endoprosthesis", "endoprosthesis",
    ),
}  # fmt: skip
# Terms that may mean the finding: it is unknown where nothing else says it.
_MAYBE: dict[str, tuple[str, ...]] = {
    "Mass": ("mass", "lung metastasis", "pseudonodule"),
    "Nodule": ("granuloma", "calcified granuloma", "lung metastasis", "pseudonodule"),
    "Tuberculosis": ("tuberculosis sequelae",),
}
_NORMAL, _UNCHANGED, _EXCLUDE = "normal", "unchanged", "exclude"
_SAYS_NOTHING = {"", _UNCHANGED, _EXCLUDE, "suboptimal study"}
FINDINGS = (*NIH14, "Tuberculosis", "Fracture", "Support Devices", "No Finding")


@source(
    "padchest",
    title="PadChest",
    what="160,861 films of 67,625 patients, 174 findings from reports: 39,053 read by physicians, the rest by a network",
    licence="PADCHEST Dataset Research Use Agreement (no redistribution, no commercial use)",
    homepage="BIMCV, PadChest",
    citation="Bustos et al., PadChest: A large chest x-ray image dataset with multi-label annotated reports,"
    " Medical Image Analysis 2020",
    layout="""
        PADCHEST_chest_x_ray_images_labels_160K*.csv[.gz]
        0/*.png ... 54/*.png, or any folders, whole or in part
    """,
)
def load(root: Path, *, physician_only: bool = False) -> Manifest:
    """Rows for the films on disk, every view; the others of the table are `missing`.

    Labels: the 14 of ChestX-ray14, Tuberculosis, Fracture, Support Devices and No Finding. The table lists what a report
    says. A finding that it does not list is 0, "not mentioned", as in ChestX-ray14, with these exceptions, where it is
    unknown: the list holds `unchanged` (the report speaks of an earlier film), `exclude`, or nothing that says anything;
    or a term that may mean it (a granuloma may be a nodule). A term stands for the findings above it in PadChest's tree
    too: a consolidation is an infiltrate.

    Patients are `padchest:<PatientID>`. Age is the film's year less that of birth. Columns kept beside: `position`
    (SUPINE where the projection says so), `read_by` (Physician or RNN_model).

    `physician_only`: only films whose report was read by a physician.
    """
    root = disk.folder(root)
    path = disk.need_file(
        root, "PADCHEST_chest_x_ray_images_labels*.csv*", "*/PADCHEST_chest_x_ray_images_labels*.csv*",
        what="the table of films",
    )  # fmt: skip
    table = _films(path)
    if physician_only:
        table = table.filter(pl.col("read_by") == "Physician")
    on_disk = disk.images_by_stem(root)
    table = table.with_columns(
        path=pl.col("image_id").replace_strict(on_disk, default=None, return_dtype=pl.String)
    )
    missing = table.filter(pl.col("path").is_null()).select("image_id", path="file")
    here = table.filter(pl.col("path").is_not_null()).drop("file")
    if not here.height:
        raise DataError("none of the films of the table is here", path=root, mend="Add the images.")
    read = (here["read_by"] == "Physician").sum()
    notes = (
        f"Labels come from reports, {read:,} of {here.height:,} read by physicians, the others by a network: noisy, and"
        " absent means not mentioned.",
        f"{here.height:,} of the {table.height:,} films of the table are on disk.",
    )
    return Manifest(disk.measured(here, root), root=root, missing=missing, notes=notes)


def _films(path: Path) -> pl.DataFrame:
    raw = disk.read_csv(path)
    needed = ("ImageID", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection",
              "MethodLabel", "Labels")  # fmt: skip
    disk.need_columns(raw, needed, path)
    born = pl.col("PatientBirth").cast(pl.Float64, strict=False)
    years = pl.col("StudyDate_DICOM").str.slice(0, 4).cast(pl.Float64, strict=False) - born
    facts = raw.select(
        image_id=pl.col("ImageID").str.replace(r"\.[^.]+$", ""),
        file=pl.concat_str("ImageDir", pl.lit("/"), "ImageID") if "ImageDir" in raw.columns else "ImageID",
        patient=pl.format("padchest:{}", "PatientID"),
        study=pl.format("padchest:{}", "StudyID"),
        view=pl.col("Projection").replace_strict(_VIEWS, default=None),
        position=pl.when(pl.col("Projection") == "AP_horizontal").then(pl.lit("SUPINE")),
        sex=pl.col("PatientSex_DICOM").replace_strict({"F": "F", "M": "M"}, default=None),
        age=pl.when(years.is_between(0, 120)).then(years),
        source=pl.lit("padchest"),
        read_by="MethodLabel",
    )
    read = cache(lambda text: _labels(_terms(text, path)))
    labels = pl.DataFrame(
        [read(text) for text in raw["Labels"]], schema={LABEL + f: pl.Float32 for f in FINDINGS}, orient="row"
    )
    return facts.hstack(labels).unique("image_id", keep="first", maintain_order=True)


def _terms(text: str | None, path: Path) -> frozenset[str]:
    """`"['nodule', ' pneumonia']"` to its terms."""
    if text is None or text.strip() in ("", "nan", "[]"):
        return frozenset()
    try:
        found = ast.literal_eval(text)
        return frozenset(str(term).strip() for term in found)
    except (ValueError, SyntaxError, TypeError) as fault:
        raise DataError(
            f"column 'Labels' holds '{text[:60]}', which is no list of terms", path=path
        ) from fault


def _labels(terms: Iterable[str]) -> tuple[float | None, ...]:
    """A value a finding, in the order of FINDINGS."""
    told = set(terms)
    says = told - _SAYS_NOTHING
    if not says or _EXCLUDE in told:
        return (None,) * len(FINDINGS)
    unsaid = None if _UNCHANGED in told else 0.0
    values: list[float | None] = []
    for finding in FINDINGS[:-1]:
        if says & set(_TERMS[finding]):
            values.append(1.0)
        else:
            values.append(None if says & set(_MAYBE.get(finding, ())) else unsaid)
    healthy = says == {_NORMAL}
    return (*values, (1.0 if _UNCHANGED not in told else None) if healthy else 0.0)
