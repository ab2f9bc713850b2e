"""A report as files in a folder: `<stem>.json`, `<stem>.html`, `<stem>.png`, masks and heatmaps beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hilum.analysis.render import pictures
from hilum.analysis.render.files import as_json, safe_name, slug, write_whole
from hilum.analysis.render.overlay import overlay
from hilum.analysis.render.page import report_html
from hilum.analysis.report import Report
from hilum.analysis.truth import Size, TrueBox
from hilum.errors import HilumError

FORMATS = ("json", "html", "png")


def write_report(report: Report, out: Path, stem: str, formats: tuple[str, ...] = FORMATS) -> dict[str, str]:
    """Write one film's report into the folder `out`; returns the names written, without their folder.

    Keys: `json`, `html`, `overlay`, and for the pictures those that `Report.as_dict` takes (`lungs:mask`,
    `lungs:left`, `lungs:right`, `heatmap:<bundle>:<finding>`). `png` writes the overlay, the lung masks (8-bit grey,
    0 or 255) and heatmaps (8-bit grey, value / 255), both on the film's own grid. Heatmaps are written for the
    positive findings (not for `Normal`), or for the one nearest its threshold where none is; the page holds those of
    all findings. `stem` is made safe by `safe_name`. Every file appears whole or not at all; the JSON comes last and
    names only what exists.

    Raises HilumError for an unknown format or a folder that cannot be written.
    """
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise HilumError(
            f"there is no report format '{unknown[0]}'", mend=f"Choose from: {', '.join(FORMATS)}."
        )
    if {"html", "png"} & set(formats):
        report = report.in_full()
    stem = safe_name(stem)
    names: dict[str, str] = {}
    try:
        out.mkdir(parents=True, exist_ok=True)
        if "png" in formats:
            for key, name, content in _pictures(report, stem):
                write_whole(out / name, content)
                names[key] = name
        if "html" in formats:
            names["html"] = f"{stem}.html"
            write_whole(out / names["html"], report_html(report).encode("utf-8"))
        if "json" in formats:
            names["json"] = f"{stem}.json"
            write_whole(out / names["json"], as_json(report.as_dict(names)))
    except OSError as error:
        raise _unwritten(error, out) from error
    return names


def write_beside(report: Report, truth: Sequence[TrueBox], size: Size | None, out: Path, stem: str) -> str:
    """Write `<stem>.beside.png`, readers' boxes and the report's side by side, into `out`; returns its name."""
    from hilum.analysis.render.beside import beside_png

    name = f"{safe_name(stem)}.beside.png"
    try:
        write_whole(out / name, beside_png(report, truth, size))
    except OSError as error:
        raise _unwritten(error, out) from error
    return name


def _unwritten(error: OSError, out: Path) -> HilumError:
    reason = error.strerror or error
    return HilumError(
        f"the report cannot be written ({reason})", path=out, mend="Check space and permissions."
    )


def _pictures(report: Report, stem: str) -> Iterable[tuple[str, str, bytes]]:
    yield "overlay", f"{stem}.png", pictures.png(overlay(report))
    if report.lungs is not None:
        yield "lungs:mask", f"{stem}.lungs.png", pictures.mask_png(report.lungs.mask)
        yield "lungs:left", f"{stem}.lung-left.png", pictures.mask_png(report.lungs.left)
        yield "lungs:right", f"{stem}.lung-right.png", pictures.mask_png(report.lungs.right)
    size = (report.film.height, report.film.width)
    for finding in pictures.shown(report):
        if finding.heatmap is not None:
            name = f"{stem}.heatmap-{slug(finding.bundle)}-{slug(finding.name)}.png"
            yield f"heatmap:{finding.bundle}:{finding.name}", name, pictures.heat_png(finding.heatmap, size)
