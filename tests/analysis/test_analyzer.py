"""The Analyzer: its order, which bundles run on whom, and every number of a report held to a plain computation."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import hilum
from hilum.analysis import analyzer as analyzer_module
from hilum.analysis.analyzer import Analyzer, analyze
from hilum.analysis.report import LOW_LUNG_SHARE, Report
from hilum.bundles import save
from hilum.bundles.info import Applies, Cut
from hilum.errors import BundleError, HilumError, ReadError
from hilum.images.quality import Quality
from hilum.images.radiograph import Notice, Radiograph
from tests.bundles_for_tests import Bright, bright_bundle, classifier_bundle, dark_lungs_bundle
from tests.phantom import phantom


@pytest.fixture
def film() -> Radiograph:
    return Radiograph(phantom(0, 512, 448).pixels, digest="f" * 64, age=50.0)


@pytest.fixture(autouse=True)
def gate(monkeypatch) -> list[dict]:
    """The quality gate lets everything pass, and notes what it was asked; phantoms are no judge of it."""
    asked: list[dict] = []

    def assess(film: Radiograph, lungs: np.ndarray | None = None, before: Quality | None = None) -> Quality:
        asked.append({"film": film, "lungs": lungs})
        return Quality(True, None, (Notice("gate", "The gate was here."),), {})

    monkeypatch.setattr(analyzer_module, "assess", assess)
    return asked


@pytest.fixture(autouse=True)
def no_builtins(monkeypatch) -> None:
    """These tests see only the bundles that they make."""
    monkeypatch.setattr(analyzer_module, "builtin_names", list)


def codes(report: Report) -> list[str]:
    return [w.code for w in report.warnings]


def test_every_number_is_what_the_model_says(film):
    """The `Bright` model's logit for finding k is k * (1.5 * mean brightness - 0.75), its map k * (1.5 * pixel - 0.5)."""
    bundle = bright_bundle()
    report = Analyzer([bundle, dark_lungs_bundle()], samples=40).analyze(film)
    seen = bundle.prepare(film)[0, 0].double().numpy()
    k = np.array([1, 2, 3])
    expected = 1 / (1 + np.exp(-k * (1.5 * seen.mean() - 0.75)))
    assert [f.name for f in report.findings] == bundle.labels
    np.testing.assert_allclose([f.probability for f in report.findings], expected, rtol=1e-5)
    for finding, label in zip(report.findings, bundle.info.labels, strict=True):
        assert finding.threshold == label.threshold.value
        assert finding.positive == (finding.probability >= finding.threshold)
        assert finding.outside_lungs == label.outside_lungs
        assert finding.method == "mc_dropout"
        assert finding.std > 0
        assert finding.interval[0] <= finding.probability <= finding.interval[1]
        evidence = np.maximum(1.5 * seen - 0.5, 0)
        heat = cv2.resize((evidence / evidence.max()).astype(np.float32), finding.heatmap.shape[::-1])
        assert np.abs(finding.heatmap - heat).max() < 0.02
        lungs = cv2.resize(
            report.lungs.mask.astype(np.float32), heat.shape[::-1], interpolation=cv2.INTER_AREA
        )
        assert finding.lung_share == pytest.approx(float((heat * lungs).sum() / heat.sum()), abs=0.01)
    assert report.findings[0].code["value"] == "8186001"
    assert report.findings[1].code is None
    assert report.seconds > 0


def test_heat_that_lies_outside_the_lungs_is_told_in_words(film):
    """The `Bright` model looks at what is bright, which lungs are not."""
    bundle = bright_bundle()
    called = tuple(
        x.model_copy(update={"threshold": Cut(value=0.01, rule="fixed")}) for x in bundle.info.labels
    )
    bundle.info = bundle.info.model_copy(update={"labels": called})
    report = Analyzer([bundle, dark_lungs_bundle()]).analyze(film)
    shares = {f.name: f.lung_share for f in report.findings}
    assert all(f.positive for f in report.findings)
    assert max(shares.values()) < LOW_LUNG_SHARE
    (notice,) = [w for w in report.warnings if w.code == "heat_outside_lungs"]
    assert f"lies inside the lungs (Mass {100 * shares['Mass']:.0f} %; bundle 'bright')" in notice.text
    assert "Cardiomegaly" not in notice.text  # lies outside by nature
    without = Analyzer([bundle], with_heatmaps=False).analyze(film)
    assert "heat_outside_lungs" not in codes(without)


def test_lungs_are_found_and_told_apart(film):
    report = Analyzer([bright_bundle(), dark_lungs_bundle()]).analyze(film)
    truth = phantom(0, 512, 448).lungs
    for mask, side in ((report.lungs.right, 1), (report.lungs.left, 2)):
        assert 2 * (mask & (truth == side)).sum() / (mask.sum() + (truth == side).sum()) > 0.9
    assert report.lungs.bundle == "lungs"
    assert [b.name for b in report.bundles] == ["lungs", "bright"]


def test_the_gate_is_asked_again_with_the_lungs(film, gate):
    report = Analyzer([bright_bundle(), dark_lungs_bundle()]).analyze(film)
    assert [a["lungs"] is not None for a in gate] == [False, True]
    np.testing.assert_array_equal(gate[1]["lungs"], report.lungs.right + 2 * report.lungs.left)
    assert codes(report).count("gate") == 1


@pytest.mark.parametrize("late", [False, True])
def test_a_film_that_is_not_analysable_gets_a_reason_and_no_findings(film, monkeypatch, late):
    def assess(film: Radiograph, lungs: np.ndarray | None = None, before: Quality | None = None) -> Quality:
        bad = (lungs is not None) == late
        return Quality(not bad, "It is a hand." if bad else None, (), {})

    monkeypatch.setattr(analyzer_module, "assess", assess)
    report = Analyzer([bright_bundle(), dark_lungs_bundle()]).analyze(film)
    assert not report.analysable
    assert report.reason == "It is a hand."
    assert report.findings == ()
    assert (report.lungs is not None) == late


def test_it_is_deterministic_and_films_do_not_touch_each_other(film):
    other = Radiograph(phantom(9, 300, 300).pixels, digest="e" * 64)
    bundles = [classifier_bundle(), dark_lungs_bundle()]
    once = Analyzer(bundles, seed=7)
    first = once.analyze(film)
    once.analyze(other)
    again = once.analyze(film)
    assert first.findings == again.findings
    assert Analyzer(bundles, seed=7).analyze(film).findings == first.findings
    different = Analyzer(bundles, seed=8).analyze(film).findings
    assert [f.probability for f in different] == [f.probability for f in first.findings]
    assert [f.std for f in different] != [f.std for f in first.findings]


def test_a_film_without_a_file_has_its_pixels_for_a_digest(film):
    one = Analyzer([classifier_bundle()])
    bare = replace(film, digest=None)
    assert one.analyze(bare).findings == one.analyze(replace(bare, pixels=film.pixels.copy())).findings


def test_a_group_of_classes_has_one_that_is_most_probable(film):
    report = Analyzer([classifier_bundle(group="pneumonia")]).analyze(film)
    assert sum(f.probability for f in report.findings) == pytest.approx(1)
    assert [f.positive for f in report.findings].count(True) == 1
    best = max(report.findings, key=lambda f: f.probability)
    assert best.positive
    assert {f.group for f in report.findings} == {"pneumonia"}
    assert {f.threshold for f in report.findings} == {None}


def test_a_head_that_is_not_linear_has_heatmaps_too(film):
    """relu(4 * brightness) lights up where the film is bright, -relu(4 * brightness) nowhere."""
    bundle = bright_bundle()
    bundle.model.head = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU(), torch.nn.Linear(1, 3))
    with torch.no_grad():
        bundle.model.head[0].weight.copy_(torch.tensor([[4.0, 0.0]]))
        bundle.model.head[0].bias.zero_()
        bundle.model.head[2].weight.copy_(torch.tensor([[1.0], [-1.0], [0.5]]))
    report = Analyzer([bundle, dark_lungs_bundle()]).analyze(film)
    lit, dark, same = report.findings
    assert lit.heatmap.max() > 0.9
    assert not dark.heatmap.any()
    assert dark.lung_share is None
    np.testing.assert_allclose(lit.heatmap, same.heatmap, atol=1e-6)
    assert all(f.method == "none" and np.isfinite(f.probability) for f in report.findings)


def test_heatmaps_can_be_left_out(film):
    report = Analyzer([bright_bundle()], with_heatmaps=False).analyze(film)
    assert all(f.heatmap is None for f in report.findings)


def for_children(name: str = "child"):
    return classifier_bundle(name, group="pneumonia", applies=Applies(ages=(0, 17)))


@pytest.fixture
def builtins(tmp_path, monkeypatch):
    """Two built-in bundles: one for all, one for children."""
    for bundle in (
        classifier_bundle("all"),
        for_children(),
        classifier_bundle("rare", applies=Applies(by_default=False)),
    ):
        save(bundle, tmp_path / bundle.info.name)
    monkeypatch.setattr(analyzer_module, "builtin_names", lambda: sorted(p.name for p in tmp_path.iterdir()))
    real = analyzer_module.load
    monkeypatch.setattr(analyzer_module, "load", lambda name, *_: real(tmp_path / name))
    analyzer_module._builtin.cache_clear()
    yield
    analyzer_module._builtin.cache_clear()


@pytest.mark.parametrize(
    ("age", "ran", "warned"),
    [(5.0, ["all", "child"], []), (50.0, ["all"], []), (None, ["all"], ["bundle_skipped"])],
)
def test_by_default_a_bundle_for_children_runs_on_children_only(film, builtins, age, ran, warned):
    report = analyze(replace(film, age=age))
    assert [b.name for b in report.bundles] == ran
    assert [c for c in codes(report) if c not in ("gate", "small_film")] == warned


@pytest.mark.parametrize(
    ("age", "warned"), [(5.0, []), (50.0, ["age_outside_bundle"]), (None, ["age_outside_bundle"])]
)
def test_asked_for_by_name_it_runs_on_everyone_and_says_so(film, age, warned):
    report = Analyzer([for_children()]).analyze(replace(film, age=age))
    assert [b.name for b in report.bundles] == ["child"]
    assert [c for c in codes(report) if c != "gate"] == warned


def test_the_builtin_lungs_run_beside_named_bundles_unless_one_segments(film, monkeypatch):
    monkeypatch.setattr(analyzer_module, "builtin_names", lambda: ["lungs"])
    monkeypatch.setattr(analyzer_module, "load", lambda name, *_: dark_lungs_bundle(name))
    beside = Analyzer([bright_bundle()]).analyze(film)
    assert [b.name for b in beside.bundles] == ["lungs", bright_bundle().info.name]
    assert beside.lungs is not None
    own = Analyzer([bright_bundle(), dark_lungs_bundle("own-lungs")]).analyze(film)
    assert own.lungs is not None
    assert own.lungs.bundle == "own-lungs"


def test_a_small_film_is_called_small():
    assert "small_film" in codes(Analyzer([bright_bundle()]).analyze(Radiograph(phantom(0, 40, 36).pixels)))
    assert "small_film" not in codes(
        Analyzer([bright_bundle()]).analyze(Radiograph(phantom(0, 64, 60).pixels))
    )


def test_warnings_of_the_reader_come_first_and_once(film):
    report = Analyzer([bright_bundle()]).analyze(
        film.with_notice("burned_in_annotation", "x").with_notice("gate", "y")
    )
    assert codes(report) == ["burned_in_annotation", "gate", "gate"]


def test_a_report_cites_its_bundles(film):
    used = Analyzer([classifier_bundle()]).analyze(film).bundles[0]
    assert used.limits == ("Its weights are random.",)
    assert used.licence == "Apache-2.0"
    assert used.measured == {"AUC": "0.500 (0.400–0.600)", "films": "4"}


def test_it_reads_files_and_names_what_it_cannot_read(tmp_path):
    cv2.imwrite(str(tmp_path / "film.png"), (phantom(3).pixels * 255).astype(np.uint8))
    report = analyze(tmp_path / "film.png", [bright_bundle()])
    assert report.film.path == tmp_path / "film.png"
    assert len(report.film.digest) == 64
    (tmp_path / "text.dcm").write_text("no film")
    with pytest.raises(ReadError, match=r"text\.dcm"):
        analyze(tmp_path / "text.dcm", [bright_bundle()])


def test_the_report_is_strict_json(film):
    text = json.dumps(
        Analyzer([classifier_bundle(), dark_lungs_bundle()]).analyze(film).as_dict(), allow_nan=False
    )
    assert json.loads(text)["findings"][0]["name"] == "Cardiomegaly"


def test_a_probability_that_is_no_number_is_an_error(film):
    bundle = bright_bundle()
    with torch.no_grad():
        bundle.model.head[1].bias[0] = float("nan")
    with pytest.raises(HilumError, match="not a number"):
        Analyzer([bundle]).analyze(film)


def hand_lungs():
    bundle = dark_lungs_bundle("hand")
    bundle.info = bundle.info.model_copy(
        update={"labels": (bundle.info.labels[0].model_copy(update={"name": "Hand"}),)}
    )
    return bundle


@pytest.mark.parametrize(
    ("bundles", "words"),
    [
        (lambda: [], "no bundle"),
        (lambda: [classifier_bundle(), classifier_bundle(seed=1)], "same name"),
        (lambda: [dark_lungs_bundle(), dark_lungs_bundle("more")], "segment the lungs"),
        (lambda: [hand_lungs()], "segments Hand"),
        (lambda: ["no-such-bundle"], "no such bundle"),
    ],
)
def test_bundles_that_do_not_fit_are_refused_at_once(bundles, words):
    with pytest.raises(BundleError, match=words):
        Analyzer(bundles())


def test_models_stay_in_eval_mode(film):
    bundle = bright_bundle()
    bundle.train()
    one = Analyzer([bundle])
    one.analyze(film)
    assert isinstance(bundle.model, Bright)
    assert not any(m.training for m in bundle.modules())


def test_import_is_light_and_the_three_lines_are_there():
    code = (
        "import sys, hilum; assert not {'torch', 'numpy', 'pydicom'} & set(sys.modules), 'heavy';"
        "assert {'read', 'load', 'analyze', 'Report', 'Analyzer'} <= set(dir(hilum));"
        "hilum.Report; assert 'torch' not in sys.modules, 'Report needs torch'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(hilum.__file__).parents[1])
    assert hilum.analyze is analyze
    assert hilum.Report is Report
    with pytest.raises(AttributeError, match="nonsense"):
        hilum.nonsense  # noqa: B018


def test_probabilities_uncertainty_and_heatmaps_cost_one_pass_of_the_encoder(film, monkeypatch):
    bundle = bright_bundle()
    passes = []
    seen = bundle.model.feature_map
    monkeypatch.setattr(
        bundle.model, "feature_map", lambda images: passes.append(len(images)) or seen(images)
    )
    report = Analyzer([bundle], samples=30).analyze(film)
    assert passes == [1]
    assert all(f.std is not None and f.heatmap is not None for f in report.findings)
