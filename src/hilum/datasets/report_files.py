"""Reports from disk: Open-I's XML files (a folder, or the archive as published), a table with text, or .txt files."""

from __future__ import annotations

import gzip
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from hilum.datasets import disk
from hilum.datasets.report_sections import Section, is_counted, sections
from hilum.errors import DataError

ARCHIVES = (".tgz", ".tar.gz", ".tar")
TABLES = (".csv", ".csv.gz")
LARGEST = 1 << 20
"""Bytes of one report; the largest of Open-I has 21 thousand."""
_TEXT_COLUMNS = ("report", "text", "report_text", "finding labels", "findings", "impression")
_NAME_COLUMNS = ("report_id", "study_id", "image index", "image_id", "uid", "study", "id")
_TAG_COLUMN = "mesh"
_KINDS = "a folder or .tgz of Open-I's XML files, a .csv file, a .txt file, or a folder of .txt files"


@dataclass(frozen=True)
class Report:
    """One report: `name` is unique; `tags` are the headings people gave it, None where the file has no place for them."""

    name: str
    sections: tuple[Section, ...]
    tags: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        """What the sections say, without their names."""
        return "\n\n".join(part.text for part in self.sections)


@dataclass(frozen=True)
class Unread:
    """A file or a row that is no report, and why."""

    name: str
    fault: str


def reports(
    path: str | Path, *, text: Sequence[str] = (), name: str | None = None, tags: str | None = None
) -> tuple[int, Iterator[Report | Unread]]:
    """How many reports there are, and each in order of name or row.

    Parameters
    ----------
    path: as `_KINDS` says. Archives are read in place; nothing is written.
    text: of a table the columns that hold text. A column called as a section of a report ("findings", "indication") is that
        section; any other is a whole report or a list of findings. Without it, those of `_TEXT_COLUMNS` that there are.
    name, tags: of a table the column of unique names (else the row's number) and that of headings, parted by ";".

    Raises DataError where nothing can be read at all; a file that is none is an `Unread`.
    """
    path = Path(path)
    if not path.exists():
        raise DataError("no such file or folder", path=path, mend=f"Give {_KINDS}.")
    if path.is_file() and path.name.lower().endswith(TABLES):
        rows = _rows(path, text, name, tags)
        return len(rows), iter(rows)
    if text or name or tags:
        raise DataError("columns can be named for a table only", path=path, mend="Give a .csv file.")
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in (".xml", ".txt") and p.is_file()]
        if not files:
            raise DataError("no .xml and no .txt file in this folder", path=path, mend=f"Give {_KINDS}.")
        return len(files), (_file(p.relative_to(path).as_posix(), p) for p in files)
    if path.name.lower().endswith(ARCHIVES):
        return _count(path), _archive(path)
    if path.suffix.lower() in (".xml", ".txt"):
        return 1, iter([_file(path.name, path)])
    raise DataError("not a kind of file that reports are read from", path=path, mend=f"Give {_KINDS}.")


def openi_report(content: bytes, name: str) -> Report:
    """A report of Open-I from its XML; the name is its `uId`, else `name`. DataError where it is none."""
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as fault:
        raise DataError(f"not XML: {fault}", path=name) from fault
    parts = [(a.get("Label") or "text", "".join(a.itertext())) for a in root.iter("AbstractText")]
    if root.tag != "eCitation" or not parts:
        raise DataError(
            f"XML, but no report of Open-I: its root is <{root.tag}>, with {len(parts)} <AbstractText>",
            path=name,
        )
    own = root.find("uId")
    mesh = root.find("MeSH")
    given = [" ".join((tag.text or "").split()) for tag in mesh.iter("major")] if mesh is not None else None
    tags = None if given is None else tuple(tag for tag in given if tag)
    told = tuple(Section(label.strip().lower(), text.strip()) for label, text in parts if text.strip())
    return Report((own.get("id") if own is not None else None) or Path(name).stem, told, tags)


def _file(name: str, path: Path) -> Report | Unread:
    if path.stat().st_size > LARGEST:
        return Unread(name, f"{path.stat().st_size:,} bytes are no single report")
    return _report(name, path.read_bytes())


def _report(name: str, content: bytes) -> Report | Unread:
    if name.lower().endswith(".xml"):
        try:
            return openi_report(content, name)
        except DataError as error:
            return Unread(name, error.fault)
    try:
        return Report(str(Path(name).with_suffix("")), sections(content.decode("utf-8-sig")))
    except UnicodeDecodeError:
        return Unread(name, "not text in UTF-8")


def _members(path: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.lower().endswith((".xml", ".txt")):
                    yield archive, member
    except (tarfile.TarError, EOFError, OSError, gzip.BadGzipFile) as fault:
        raise DataError(
            f"not a readable archive: {fault}", path=path, mend="Fetch it again, or give a folder."
        ) from fault


def _count(path: Path) -> int:
    count = sum(1 for _ in _members(path))
    if not count:
        raise DataError("no .xml and no .txt file in this archive", path=path, mend=f"Give {_KINDS}.")
    return count


def _archive(path: Path) -> Iterator[Report | Unread]:
    for archive, member in _members(path):
        name = Path(member.name).name
        if member.size > LARGEST:
            yield Unread(name, f"{member.size:,} bytes are no single report")
            continue
        file = archive.extractfile(member)
        yield _report(name, file.read() if file is not None else b"")


def _rows(path: Path, text: Sequence[str], name: str | None, tags: str | None) -> list[Report | Unread]:
    table = disk.read_csv(path)
    chosen = [_column(table, column, path) for column in text] or _first(table, _TEXT_COLUMNS, every=True)
    if not chosen:
        raise DataError(
            "no column is known to hold reports",
            path=path,
            mend=f"Name it with --text; the table has: {', '.join(table.columns)}.",
        )
    names = [_column(table, name, path)] if name else _first(table, _NAME_COLUMNS)
    labels = table[names[0]].to_list() if names else [str(row) for row in range(1, table.height + 1)]
    twice = pl.Series(labels, dtype=pl.String)
    if twice.null_count() or twice.is_duplicated().any():
        shown = "empty" if twice.null_count() else f"'{twice.filter(twice.is_duplicated())[0]}' twice"
        raise DataError(
            f"column '{names[0]}' names a report {shown}", path=path, mend="Give another column with --name."
        )
    mesh = [_column(table, tags, path)] if tags else _first(table, (_TAG_COLUMN,))
    return [
        Report(
            label,
            tuple(part for column in chosen for part in _cell(column, row[column] or "")),
            tuple(t.strip() for t in (row[mesh[0]] or "").split(";") if t.strip()) if mesh else None,
        )
        for label, row in zip(labels, table.iter_rows(named=True), strict=True)
    ]


def _cell(column: str, text: str) -> tuple[Section, ...]:
    known = re.sub(r"_", " ", column).strip().lower()
    if known in ("text", "report", "finding labels") or is_counted(known) is None:
        return sections(text)
    return (Section(known, text.strip()),) if text.strip() else ()


def _column(table: pl.DataFrame, wanted: str, path: Path) -> str:
    disk.need_columns(table, [wanted], path)
    return wanted


def _first(table: pl.DataFrame, known: Sequence[str], *, every: bool = False) -> list[str]:
    """Columns of the table that are called so, in the order of `known`, whatever their case; the first, or every one."""
    by_name = {column.strip().lower(): column for column in table.columns}
    found = [by_name[name] for name in known if name in by_name]
    return found if every else found[:1]
