"""All of Open-I's reports: the reading held to a second one, and the agreement with tags to what the docs say."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from hilum.datasets.report_files import Report, reports
from hilum.datasets.report_labels import ReportLabels, read
from hilum.datasets.report_score_pages import markdown
from hilum.datasets.report_scores import score, tagged

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "report-labels" / "report-labels.md"


@pytest.fixture(scope="module")
def archive(real_data: Path) -> Path:
    path = real_data / "openi" / "NLMCXR_reports.tgz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


@pytest.fixture(scope="module")
def found(archive: Path) -> tuple[list[Report], dict[str, ReportLabels]]:
    count, every = reports(archive)
    known = [r for r in every if isinstance(r, Report)]
    assert len(known) == count == 3955
    return known, {r.name: read(r) for r in known}


def test_a_second_reading_without_an_xml_parser_agrees(
    archive: Path, found: tuple[list[Report], dict[str, ReportLabels]]
) -> None:
    texts, tags = 0, {"Pulmonary Atelectasis": set(), "Hernia, Hiatal": set(), "Infiltrate": set()}
    with tarfile.open(archive) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            page = file.read().decode()
            name = re.search(r'<uId id="([^"]+)"', page)
            assert name is not None
            texts += bool(re.search(r'Label="(?:FINDINGS|IMPRESSION)">\s*[^<\s]', page))
            for tag, names in tags.items():
                if re.search(rf"<major>\s*{tag}", page):
                    names.add(name[1])
    known, labels = found
    assert texts == sum(not labels[r.name].note for r in known)
    truth = {r.name: tagged(r.tags or ()) for r in known}
    for tag, finding in (
        ("Pulmonary Atelectasis", "Atelectasis"), ("Infiltrate", "Infiltration"), ("Hernia, Hiatal", "Hernia"),
    ):  # fmt: skip
        assert tags[tag] <= {name for name, t in truth.items() if t and t[finding]}


def test_the_table_of_the_documentation_is_the_one_measured(
    found: tuple[list[Report], dict[str, ReportLabels]],
) -> None:
    scores = score(*found)
    assert scores["unknown_tags"] == {}
    assert markdown(scores) == PAGE.read_text(encoding="utf-8")
    held_out = scores["halves"]["held-out"]["readings"]["uncertain as negative"]
    assert held_out["macro_f1"]["value"] > 0.85
