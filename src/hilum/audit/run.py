"""`hilum audit`: the films are chosen, examined once, measured, judged, and the report is written."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.analysis.examine import check, examine
from hilum.analysis.render.page import render
from hilum.analysis.render.pictures import data_uri
from hilum.audit import figures
from hilum.audit.films import chosen
from hilum.audit.measures import Measures, measure
from hilum.audit.sections import Section, cell, markdown, sections
from hilum.audit.statement import Statement
from hilum.audit.twins import Twins, twins
from hilum.audit.verdict import headline, verdict
from hilum.bundles import Bundle, load
from hilum.bundles.card import RESEARCH_USE
from hilum.datasets.manifest import Manifest
from hilum.learning.writing import named, write_whole

logger = logging.getLogger(__name__)

LUNGS = "lungs"
DONE = "audit.json"


def audit(
    bundle: str | Path | Bundle,
    manifest: str | Path | Manifest,
    out: str | Path,
    *,
    split: str | None = None,
    where: str | None = None,
    limit: int | None = None,
    lungs: str | Path | Bundle = LUNGS,
    human_masks: bool = False,
    duplicates: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Ask a classification bundle for shortcuts on films it has not seen; write the report to `out` and return it.

    `out` gets `audit.json` (written last: where it is, the rest is whole), `audit.md`, `audit.html` (of one piece) and the
    figures. No file tells where films lie on this machine.

    Parameters
    ----------
    split, where: which films, as in `evaluate`. limit: at most so many, of patients drawn with `seed`.
    lungs: the bundle that outlines the lungs. human_masks: where the manifest has a film's mask, take that.
    duplicates: whether to look, in the whole manifest, for films that stand twice.
    seed: of the patients drawn and of the probe's folds.

    Raises BundleError where the bundle does not classify, ManifestError where no film has a label that it gives, SplitError
    where films belong to patients that it learnt from, ReadError where none can be read, WriteError where `out` cannot be.
    """
    loaded, segmenter = (b if isinstance(b, Bundle) else load(b) for b in (bundle, lungs))
    check([loaded], segmenter)
    films = manifest if isinstance(manifest, Manifest) else Manifest.load(manifest)
    asked = chosen(loaded, films, split, where, limit, seed)
    folder = Path(out)
    with named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DONE).unlink(missing_ok=True)
    (seen,) = examine([loaded], asked.films, segmenter, human_masks=human_masks)
    found = measure(loaded, seen, seed)
    same = twins(loaded, films, seen.films, seen.embedding, seed) if duplicates else None
    statements = verdict(loaded.info, found, same)
    with named(folder):
        drawn = figures.draw(found, folder)
    facts = {
        "bundle": {"name": loaded.info.name, "version": loaded.info.version, "digest": loaded.info.digest},
        "lungs": {"name": segmenter.info.name, "digest": segmenter.info.digest, "human_masks": human_masks},
        "manifest": films.digest,
        "examined": seen.films.digest,
        "choice": asked.choice,
        "films": len(seen.films),
        "patients": found.patients,
        "seed": seed,
        "hilum": __version__,
        "made": datetime.now(UTC).date().isoformat(),
    }
    content = _content(facts, found, same, statements, seen.failures)
    parts = sections(asked, found, same, seen.failures, drawn)
    _write(folder, loaded, facts, statements, parts)
    write_whole(folder / DONE, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return content


def _content(
    facts: dict[str, Any],
    found: Measures,
    same: Twins | None,
    statements: Sequence[Statement],
    failures: Sequence[str],
) -> dict[str, Any]:
    """`audit.json`."""
    return {
        "note": RESEARCH_USE,
        **facts,
        "headline": headline(tuple(statements)),
        "verdict": [s.as_dict() for s in statements],
        "covers": [c.as_dict() for c in found.covers],
        "covers_inside": [c.as_dict() for c in found.inside],
        "attributes": {
            name: {
                "films": it.films,
                "positives": it.positives,
                "probe": it.probe.as_dict(),
                "told": {label: e.as_dict() for label, e in it.told.items()},
                "within": {label: w.as_dict() for label, w in it.within.items()},
                "gap": it.gap.as_dict(),
            }
            for name, it in found.attributes.items()
        },
        "not_measurable": found.not_asked,
        "subgroups": [part.as_dict() for part in found.subgroups],
        "gaps": {name: gap.as_dict() for name, gap in found.gaps.items()},
        "letters": {
            "films": found.letters.as_dict(),
            "labels": {
                row.label: {key: getattr(row, key).as_dict() for key in ("positives", "negatives", "auc")}
                for row in found.lettered
            },
            "by": {
                name: {value: e.as_dict() for value, e in shares.items()}
                for name, shares in found.letters_by.items()
            },
        },
        "duplicates": None if same is None else same.as_dict(),
        "heat": {
            row.label: {
                "inside": row.inside.as_dict(),
                "pointing": row.pointing.as_dict(),
                "even": None if row.even != row.even else row.even,
                "outside_by_nature": row.outside_by_nature,
            }
            for row in found.heat
        },
        "lung_area": found.lung_area,
        "unreadable": list(failures),
    }


def _write(
    folder: Path,
    bundle: Bundle,
    facts: dict[str, Any],
    statements: Sequence[Statement],
    parts: Sequence[Section],
) -> None:
    title = f"Shortcut audit: {bundle.info.title}"
    said = headline(tuple(statements))
    told = [
        f"Bundle `{bundle.info.name}` {bundle.info.version}, SHA-256 `{bundle.info.digest[:16]}`",
        f"Films: {facts['films']:,} of {facts['patients']:,} patients ({facts['choice']}); manifest SHA-256"
        f" `{facts['manifest'][:16]}`",
        f"Lungs by `{facts['lungs']['name']}`, SHA-256 `{facts['lungs']['digest'][:16]}`"
        + (", or by the manifest's own masks" if facts["lungs"]["human_masks"] else ""),
        f"Made {facts['made']} by Hilum {facts['hilum']}, seed {facts['seed']}; intervals are 95 %, by patient",
    ]
    rows = [{"level": s.level, "question": s.title, "said": s.words, "rule": s.rule} for s in statements]
    write_whole(folder / "audit.md", markdown(title, told, said, rows, parts))
    page = render(
        "audit.html",
        styles=("base.css", "audit.css"),
        scripts=(),
        title=title,
        facts=[fact.replace("`", "") for fact in told],
        headline=said,
        statements=rows,
        sections=[_shown(part) for part in parts],
    )
    write_whole(folder / "audit.html", page)


def _shown(part: Section) -> dict[str, Any]:
    """A section as the page takes it: cells as text, figures inlined."""
    return {
        "title": part.title,
        "prose": part.prose,
        "tables": [
            {
                "caption": caption,
                "heads": list(rows[0]),
                "rows": [[cell(v) for v in row.values()] for row in rows],
            }
            for caption, rows in part.tables
            if rows
        ],
        "figures": [(caption, data_uri(path.read_bytes(), "image/png")) for caption, path in part.figures],
    }
