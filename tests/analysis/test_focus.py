"""An Analyzer with a bundle that looks at the lungs: whose lungs, and what it says where there are none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.examine import NONE, examine
from hilum.analysis.notices import mismatches
from hilum.bundles import Bundle, load, save
from hilum.bundles import focus as focusing
from hilum.bundles.focus import pinned, window_of
from hilum.errors import BundleError
from hilum.images.crop import Window
from hilum.images.preparation import Focus
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from tests.audit.shortcuts import films
from tests.bundles_for_tests import bright_bundle, dark_lungs_bundle, unet_bundle
from tests.phantom import phantom

FILM = Radiograph(phantom(3, 300, 260).pixels)


def looking(focus: Focus, name: str = "looking") -> Bundle:
    bundle = bright_bundle(name=name)
    steps = bundle.info.preparation.model_copy(update={"focus": focus})
    bundle.info = bundle.info.model_copy(update={"preparation": steps})
    return bundle


def test_the_analyzers_own_lungs_are_taken_where_they_are_the_ones(monkeypatch: pytest.MonkeyPatch):
    bundle = looking(pinned(Focus()))
    calls: list[Focus] = []
    original = focusing.segmenter
    monkeypatch.setattr(focusing, "segmenter", lambda focus: calls.append(focus) or original(focus))
    own = Analyzer([bundle, "lungs"], samples=0).analyze(FILM)
    assert not calls
    others = Analyzer([bundle, dark_lungs_bundle("dark")], samples=0).analyze(FILM)
    assert len(calls) == 1, "by the lungs that it was trained around, not by those at hand"
    faster = load("lungs")
    faster.started = SimpleNamespace(  # type: ignore[assignment]
        name="int8", logits=faster.runtime.logits, features=None
    )
    Analyzer([bundle, faster], samples=0).analyze(FILM)
    assert len(calls) == 2, "another runtime moves edges"
    with torch.inference_mode():
        alone = bundle.probabilities(bundle(bundle.prepare(FILM, window_of(bundle, FILM))))[0]
    for report in (own, others):
        assert [f.probability for f in report.findings] == pytest.approx(alone.tolist(), abs=1e-6)
        assert "focus_without_lungs" not in {w.code for w in report.warnings}
    whole = Analyzer([bright_bundle(), "lungs"], samples=0).analyze(FILM)
    assert whole.findings[0].probability != pytest.approx(alone[0].item(), abs=1e-3)


def test_heat_lies_in_the_window(monkeypatch: pytest.MonkeyPatch):
    bundle = looking(pinned(Focus(margin=0)))
    report = Analyzer([bundle, "lungs"], samples=0).analyze(FILM)
    window = window_of(bundle, FILM)
    outside = np.ones((FILM.height, FILM.width), bool)
    window.cut(outside)[...] = False
    maps = [f.heatmap for f in report.findings]
    assert any(heat.any() for heat in maps)
    assert not any(heat[outside].any() for heat in maps)


def test_without_lungs_the_whole_film_is_seen_and_the_report_says_so(tmp_path: Path):
    blind = unet_bundle("blind")
    with torch.no_grad():
        list(blind.model.parameters())[-1].fill_(-100)
    focus = pinned(Focus(segmenter=str(save(blind, tmp_path / "blind"))))
    report = Analyzer([looking(focus), "lungs"], samples=0).analyze(FILM)
    assert "focus_without_lungs" in {w.code for w in report.warnings}
    whole = Analyzer([bright_bundle(name="looking"), "lungs"], samples=0).analyze(FILM)
    assert [f.probability for f in report.findings] == [f.probability for f in whole.findings]


def test_a_segmenter_that_is_gone_is_refused_before_the_first_film():
    with pytest.raises(BundleError, match="sees films around the lungs"):
        Analyzer([looking(Focus(segmenter="gone", digest="0" * 64)), "lungs"])


def test_a_small_window_is_called_small():
    info = looking(Focus()).info
    said = [
        n.text for n in mismatches(info, FILM, Window((300, 260), 10, 10, 40, 40)) if n.code == "small_film"
    ]
    assert len(said) == 1
    assert "40 x 40 pixels around the lungs" in said[0]
    assert not list(mismatches(info, FILM, Window((300, 260), 10, 10, 200, 200)))


def test_covers_leave_the_window_where_it_is(tmp_path: Path):
    few = films(tmp_path, patients=2)
    bundle = looking(pinned(Focus()))
    (seen,) = examine([bundle], few, load("lungs"))
    film = read(few.paths()[1])
    with torch.inference_mode():
        alone = bundle(bundle.prepare(film))[0].numpy()
    np.testing.assert_allclose(seen.logits[NONE][1], alone, atol=1e-4)
    assert not np.allclose(seen.logits["lungs"][1], alone, atol=1e-4)
