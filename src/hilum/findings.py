"""The vocabulary: one name for each finding, its code, and what each dataset calls it.

A label is 1 (present), 0 (absent) or unknown (NaN, null in tables). Nothing in Hilum turns unknown into 0.

Codes are SNOMED CT (DICOM scheme designator `SCT`) or RadLex (`RADLEX`). Findings whose label is wider or
narrower than any concept that we are certain of (Infiltration, Pleural Thickening, Hernia, Aortic
Enlargement, Calcification, Lung Opacity, Nodule or Mass, Other Lesion, Diffuse Nodules, No Finding, and CheXpert's
Enlarged Cardiomediastinum, Lung Lesion, Pleural Other, Fracture and Support Devices) carry no code rather than a near miss.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hilum.errors import HilumError

NIH14: tuple[str, ...] = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)

VINBIG14: tuple[str, ...] = (
    "Aortic Enlargement",
    "Atelectasis",
    "Calcification",
    "Cardiomegaly",
    "Consolidation",
    "Interstitial Lung Disease",
    "Infiltration",
    "Lung Opacity",
    "Nodule or Mass",
    "Other Lesion",
    "Effusion",
    "Pleural Thickening",
    "Pneumothorax",
    "Fibrosis",
)

PNEUMONIA3: tuple[str, ...] = ("Normal", "Bacterial Pneumonia", "Viral Pneumonia")


class UnknownFindingError(HilumError, KeyError):
    """A name that is no finding of the vocabulary, under any source's alias."""

    __str__ = HilumError.__str__


@dataclass(frozen=True)
class Finding:
    """One thing that a film can show.

    Attributes
    ----------
    name: the canonical name, title case.
    code_scheme, code, code_meaning: `SCT` or `RADLEX` with the code and its meaning there; None where no
    concept fits.
    aliases: source name to the spellings that this source uses; `""` holds spellings that mean it anywhere.
    outside_lungs: the finding lies at least partly outside the lungs (heart, great vessels, diaphragm, pleural
        space), so that evidence outside a lung mask is no sign of a shortcut.
    """

    name: str
    code_scheme: str | None = None
    code: str | None = None
    code_meaning: str | None = None
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    outside_lungs: bool = False


def _sct(
    name: str, code: str, meaning: str, *, outside_lungs: bool = False, **aliases: tuple[str, ...]
) -> Finding:
    return Finding(name, "SCT", code, meaning, _by_source(aliases), outside_lungs)


def _uncoded(name: str, *, outside_lungs: bool = False, **aliases: tuple[str, ...]) -> Finding:
    return Finding(name, aliases=_by_source(aliases), outside_lungs=outside_lungs)


def _by_source(aliases: dict[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType(
        {"" if source == "anywhere" else source: names for source, names in aliases.items()}
    )


_FINDINGS: tuple[Finding, ...] = (
    _sct("Atelectasis", "46621007", "Atelectasis"),
    _sct("Cardiomegaly", "8186001", "Cardiomegaly", outside_lungs=True),
    _sct("Effusion", "60046008", "Pleural effusion", outside_lungs=True, anywhere=("Pleural Effusion",)),
    _uncoded("Infiltration", anywhere=("Infiltrate", "Infiltrates")),
    _sct("Mass", "309529002", "Lung mass", anywhere=("Lung Mass",)),
    Finding("Nodule", "RADLEX", "RID50149", "pulmonary nodule", MappingProxyType({"": ("Lung Nodule",)})),
    _sct("Pneumonia", "233604007", "Pneumonia"),
    _sct("Pneumothorax", "36118008", "Pneumothorax", outside_lungs=True),
    _sct("Consolidation", "95436008", "Lung consolidation"),
    _sct("Edema", "19242006", "Pulmonary edema", anywhere=("Oedema", "Pulmonary Edema", "Lung Edema")),
    _sct("Emphysema", "87433001", "Pulmonary emphysema", anywhere=("Pulmonary Emphysema",)),
    _sct("Fibrosis", "51615001", "Fibrosis of lung", anywhere=("Pulmonary Fibrosis",)),
    _uncoded("Pleural Thickening", outside_lungs=True),
    _uncoded("Hernia", outside_lungs=True),
    _uncoded("Aortic Enlargement", outside_lungs=True),
    _uncoded("Calcification"),
    _sct("Interstitial Lung Disease", "233703007", "Interstitial lung disease", anywhere=("ILD",)),
    _uncoded("Lung Opacity", anywhere=("Airspace Opacity",)),
    _uncoded("Nodule or Mass", anywhere=("Nodule/Mass", "Mass or Nodule")),
    _uncoded("Other Lesion"),
    _uncoded("Enlarged Cardiomediastinum", outside_lungs=True),
    _uncoded("Lung Lesion"),
    _uncoded("Pleural Other", outside_lungs=True),
    _uncoded("Fracture", outside_lungs=True),
    _uncoded("Support Devices", outside_lungs=True),
    _sct("Normal", "17621005", "Normal", cohen=("No Finding",), covidx_v1=("normal",)),
    _uncoded("No Finding", anywhere=("None found",)),
    _sct(
        "Bacterial Pneumonia",
        "53084003",
        "Bacterial pneumonia",
        kermany=("bacteria",),
        covidx_v1=("bacteria",),
        cohen=(
            "Bacterial",
            "E.Coli",
            "Klebsiella",
            "Legionella",
            "Mycoplasma Bacterial Pneumonia",
            "Streptococcus",
            "Chlamydophila",
        ),
    ),
    _sct(
        "Viral Pneumonia",
        "75570004",
        "Viral pneumonia",
        kermany=("virus",),
        covidx_v1=("viral",),
        cohen=("SARS", "Influenza", "Varicella", "MERS", "MERS-CoV"),
    ),
    _sct(
        "COVID-19",
        "840539006",
        "Disease caused by SARS-CoV-2",
        anywhere=("COVID",),
        cohen=("COVID-19, ARDS",),
    ),
    _sct("Tuberculosis", "56717001", "Tuberculosis", anywhere=("TB",)),
    _sct("Lung", "39607008", "Lung structure", anywhere=("Lungs",)),
    _sct("Right Lung", "3341006", "Right lung structure"),
    _sct("Left Lung", "44029006", "Left lung structure"),
    _uncoded("Diffuse Nodules", anywhere=("Diffuse Nodule",)),
)

VOCABULARY: Mapping[str, Finding] = MappingProxyType({finding.name: finding for finding in _FINDINGS})


def _key(name: str) -> str:
    """Spelling without case, underscores, hyphens or doubled spaces: `Pleural_Thickening` is `pleural
    thickening`.
    """
    return re.sub(r"[\s_\-]+", " ", name).strip().casefold()


def _index() -> dict[tuple[str, str], Finding]:
    index: dict[tuple[str, str], Finding] = {}
    for finding in _FINDINGS:
        index["", _key(finding.name)] = finding
        for source, names in finding.aliases.items():
            for name in names:
                index[source, _key(name)] = finding
    return index


_INDEX = _index()


def has_side(name: str) -> bool:
    """Does the label say left or right, so that a mirrored film would turn it into another?"""
    return bool({"left", "right"} & set(name.lower().split()))


def find(name: str, source: str | None = None) -> Finding:
    """The finding that `name` means, as spelt by `source` where given, else anywhere.

    Raises UnknownFindingError, with the nearest names, where there is none.
    """
    key = _key(name)
    found = _INDEX.get((source or "", key)) or _INDEX.get(("", key))
    if found is None:
        near = difflib.get_close_matches(name.title(), VOCABULARY, n=3, cutoff=0.5)
        where = f" (source '{source}')" if source else ""
        mend = f"Did you mean {', '.join(near)}?" if near else "hilum.findings.VOCABULARY lists the names."
        raise UnknownFindingError(f"'{name}' is no finding that Hilum knows{where}", mend=mend)
    return found


def canonical(name: str, source: str | None = None) -> str:
    """The canonical name for `name`; see `find`."""
    return find(name, source).name
