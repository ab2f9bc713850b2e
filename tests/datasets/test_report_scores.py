"""Labels from text against tags, held to scikit-learn and to counts by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from hilum.datasets.report_files import Report
from hilum.datasets.report_labels import ReportLabels, read
from hilum.datasets.report_score_pages import write
from hilum.datasets.report_scores import HALVES, half, score, tagged, unknown_tags
from hilum.datasets.report_sections import sections
from hilum.errors import DataError
from hilum.findings import NIH14

TEXTS = (
    ("No effusion.", ("normal",)),
    ("Small effusion.", ("Pleural Effusion/left/small",)),
    ("Possible effusion. Hiatal hernia.", ("Hernia, Hiatal",)),
    ("Possible effusion.", ("Pleural  Effusion",)),
    ("Cardiomegaly.", ("Cardiac Shadow/enlarged/mild", "Never Heard Of/lung")),
    ("A mass.", ("Mass/breast/large",)),
    ("A nodule.", ()),
    ("", ("Pneumonia",)),
)


@pytest.fixture(scope="module")
def given() -> tuple[list[Report], dict[str, ReportLabels]]:
    chance = np.random.default_rng(0)
    reports = [
        Report(f"r{i}", sections(TEXTS[k][0]), TEXTS[k][1])
        for i, k in enumerate(chance.integers(0, len(TEXTS), 300))
    ]
    return reports, {r.name: read(r) for r in reports}


def test_tags() -> None:
    found = tagged(("Cardiac Shadow/enlarged/borderline", "Thickening/bronchi", "Hydropneumothorax/right"))
    assert found is not None
    assert {f for f, there in found.items() if there} == {"Cardiomegaly", "Effusion", "Pneumothorax"}
    assert tagged(("No Indexing",)) is None
    assert tagged(()) is None
    none = tagged(("normal",))
    assert none is not None
    assert not any(none.values())
    assert unknown_tags(("normal", "Mass/breast", "never heard of/x")) == ["never heard of/x"]


def test_halves_are_halves_and_stay() -> None:
    names = [f"CXR{i}" for i in range(4000)]
    assert abs(sum(half(n) == HALVES[0] for n in names) - 2000) < 150
    first = [half(f"CXR{i}") for i in range(1, 6)]  # what the table of the documentation rests on
    assert first == ["development", "held-out", "held-out", "held-out", "held-out"]


def test_scores_are_scikit_learns(given: tuple[list[Report], dict[str, ReportLabels]]) -> None:
    reports, labels = given
    found = score(reports, labels, replicates=50)
    for name in HALVES:
        part = found["halves"][name]
        mine = [r for r in reports if half(r.name) == name]
        kept = [r for r in mine if r.sections and r.tags]
        assert part["reports"] == len(mine)
        assert part["without_text"] == sum(not r.sections for r in mine)
        assert part["untagged"] == sum(bool(r.sections) and not r.tags for r in mine)
        assert part["scored"] == len(kept)
        for reading, values in (
            ("uncertain as positive", ("positive", "uncertain")),
            ("uncertain as negative", ("positive",)),
        ):
            rates = part["readings"][reading]["findings"]
            for finding in ("Effusion", "Cardiomegaly", "Hernia"):
                truth = [bool(t and t[finding]) for t in (tagged(r.tags or ()) for r in kept)]
                called = [labels[r.name].values[finding] in values for r in kept]
                for key, judge in (
                    ("sensitivity", recall_score),
                    ("precision", precision_score),
                    ("f1", f1_score),
                ):
                    assert rates[finding][key]["value"] == pytest.approx(judge(truth, called))
                    assert (
                        rates[finding][key]["low"]
                        <= rates[finding][key]["value"]
                        <= rates[finding][key]["high"]
                    )
            assert rates["Fibrosis"]["f1"]["value"] is None
        for row in part["cells"].values():
            assert sum(map(sum, row.values())) == part["scored"]
    assert sum(found["unknown_tags"].values()) == sum(
        "Never Heard Of/lung" in (r.tags or ()) for r in reports
    )


def test_the_page(given: tuple[list[Report], dict[str, ReportLabels]], tmp_path: Path) -> None:
    found = write(*given, tmp_path / "score")
    page = (tmp_path / "score" / "report-labels.md").read_text()
    assert json.loads((tmp_path / "score" / "report-labels.json").read_text()) == found
    assert "Headings that are not known: Never Heard Of/lung (" in page
    for name in HALVES:
        assert page.count(f"## {name.capitalize()} half") == 3
    assert page.count("| Effusion |") == 6
    assert all(f"| {finding} |" in page for finding in NIH14)


def test_without_tags_nothing_is_scored() -> None:
    report = Report("a", sections("Effusion."))
    with pytest.raises(DataError, match="no report has tags"):
        score([report], {"a": read(report)})


def test_the_documentation_tells_the_figures_that_were_measured() -> None:
    docs = Path(__file__).resolve().parents[2] / "docs"
    measured = json.loads((docs / "results" / "report-labels" / "report-labels.json").read_text())
    page = (docs / "reports.md").read_text()

    def told(estimate: dict[str, float]) -> str:
        return f"{estimate['value']:.3f} ({estimate['low']:.3f}–{estimate['high']:.3f})"

    for name in HALVES:
        assert told(measured["halves"][name]["readings"]["uncertain as negative"]["macro_f1"]) in page
    for finding, row in measured["halves"]["held-out"]["readings"]["uncertain as negative"][
        "findings"
    ].items():
        count = sum(there for there, _ in measured["halves"]["held-out"]["cells"][finding].values())
        rates = " | ".join(told(row[rate]) for rate in ("sensitivity", "precision", "f1"))
        assert f"| {finding} | {count} | {rates} |" in page
