"""Reports from disk, good and bad."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from hilum.datasets.report_files import LARGEST, Report, Unread, openi_report, reports
from hilum.errors import DataError


def xml(
    name: str, findings: str = "", impression: str = "", tags: tuple[str, ...] = (), indication: str = ""
) -> str:
    """A report as Open-I publishes them, without what is not read."""
    parts = {"INDICATION": indication, "FINDINGS": findings, "IMPRESSION": impression}
    texts = "".join(f'<AbstractText Label="{label}">{text}</AbstractText>' for label, text in parts.items())
    mesh = "".join(f"<major>{tag}</major>" for tag in tags)
    return (
        f'<?xml version="1.0"?><eCitation><uId id="{name}"/><MedlineCitation><Abstract>{texts}</Abstract>'
        f"</MedlineCitation><MeSH>{mesh}<automatic>nothing</automatic></MeSH></eCitation>"
    )


def archive(path: Path, files: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"ecgen-radiology/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return path


def read(path: Path, **columns: object) -> list[Report | Unread]:
    count, found = reports(path, **columns)  # type: ignore[arg-type]
    every = list(found)
    assert count == len(every)
    return every


def test_openi_from_folder_and_archive(tmp_path: Path) -> None:
    files = {
        "1.xml": xml("CXR1", "No effusion.", "Cardiomegaly.", ("Cardiomegaly/mild",), "pneumonia"),
        "2.xml": xml("CXR2"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    folder = read(tmp_path)
    assert folder == read(archive(tmp_path / "reports.tgz", files))
    first, second = folder
    assert isinstance(first, Report)
    assert isinstance(second, Report)
    assert (first.name, first.tags) == ("CXR1", ("Cardiomegaly/mild",))
    assert [(s.name, s.counts) for s in first.sections] == [
        ("indication", False), ("findings", True), ("impression", True),
    ]  # fmt: skip
    assert second.sections == ()
    assert "No effusion." in first.text


def test_text_files_are_reports(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("FINDINGS: Effusion.")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\x00bad")
    found = read(tmp_path)
    assert [r.name for r in found] == ["a/1", "b.txt"]
    assert found[1] == Unread("b.txt", "not text in UTF-8")


def test_what_is_no_report_is_named_and_the_next_one_read(tmp_path: Path) -> None:
    (tmp_path / "1.xml").write_text("<eCitation>")
    (tmp_path / "2.xml").write_text("<other/>")
    (tmp_path / "3.xml").write_bytes(b" " * (LARGEST + 1))
    (tmp_path / "4.xml").write_text(xml("CXR4", "Effusion."))
    bombs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "ha" * 50}">' for i in range(9))
    (tmp_path / "5.xml").write_text(f"<!DOCTYPE x [{bombs}]><eCitation>&a8;</eCitation>")
    first, second, third, fourth, bomb = read(tmp_path)
    assert isinstance(first, Unread)
    assert first.fault.startswith("not XML")
    assert isinstance(second, Unread)
    assert "its root is <other>" in second.fault
    assert isinstance(third, Unread)
    assert "no single report" in third.fault
    assert isinstance(fourth, Report)
    assert isinstance(bomb, Unread)


def test_tables(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "uid,MeSH,findings,impression,indication\n7,Mass/lung;normal,No effusion,A mass,pneumonia\n8,,,,\n"
    )
    first, second = read(path)
    assert isinstance(first, Report)
    assert isinstance(second, Report)
    assert (first.name, first.tags) == ("7", ("Mass/lung", "normal"))
    assert [s.name for s in first.sections] == ["findings", "impression"]
    assert second.sections == ()
    assert second.tags == ()
    only = read(path, text=["indication", "findings"])
    assert [s.counts for s in only[0].sections] == [False, True]  # type: ignore[union-attr]
    path.write_text("words\nFINDINGS: Effusion.\n")
    (report,) = read(path, text=["words"])
    assert isinstance(report, Report)
    assert (report.name, report.sections[0].text, report.tags) == ("1", "Effusion.", None)


def test_errors_say_file_fault_and_mend(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: no such file or folder. Give a folder"):
        reports(tmp_path / "none")
    with pytest.raises(DataError, match=r"no \.xml and no \.txt file in this folder"):
        reports(tmp_path)
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"no column is known to hold reports.*--text.*a, b"):
        reports(table)
    with pytest.raises(DataError, match="no column 'c'"):
        reports(table, text=["c"])
    table.write_text("id,report\n1,x\n1,y\n")
    with pytest.raises(DataError, match="names a report '1' twice"):
        reports(table)
    broken = tmp_path / "x.tgz"
    broken.write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(DataError, match="not a readable archive"):
        reports(broken)
    with pytest.raises(DataError, match=r"no \.xml and no \.txt file in this archive"):
        reports(archive(tmp_path / "y.tgz", {"z.png": "no"}))
    with pytest.raises(DataError, match="for a table only"):
        reports(broken, text=["a"])
    (tmp_path / "film.png").write_bytes(b"")
    with pytest.raises(DataError, match="not a kind of file"):
        reports(tmp_path / "film.png")
    with pytest.raises(DataError, match="not XML"):
        openi_report(b"nothing", "n.xml")
