"""Analysis of films that are decoded at the resolution that is needed, beside that of whole ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from hilum.analysis.analyzer import Analyzer, needed
from hilum.analysis.render import write_report
from hilum.bundles import builtin_names, load
from hilum.errors import ReadError
from hilum.images.preparation import Body
from hilum.images.read import read
from tests.bundles_for_tests import classifier_bundle

BOUND = 0.05  # of a probability of the built-in findings; docs/speed.md has what was measured on more films
REAL = get_testdata_file("RG1_J2KR.dcm")

pytestmark = pytest.mark.skipif("findings" not in builtin_names(), reason="no built-in bundle 'findings'")


@pytest.fixture(scope="module")
def reports():
    bundles = ["findings", "lungs"]
    return [Analyzer(bundles, whole=whole).analyze(REAL) for whole in (False, True)]


def test_no_probability_moves_by_more_than_the_bound(reports):
    small, whole = reports
    assert small.film.pixels.shape == (489, 461)
    assert small.analysable
    moved = [abs(a.probability - b.probability) for a, b in zip(small.findings, whole.findings, strict=True)]
    assert 0 < max(moved) <= BOUND
    assert small.lungs.area_share == pytest.approx(whole.lungs.area_share, abs=0.01)
    assert {w.code for w in small.warnings} == {w.code for w in whole.warnings}


def test_the_report_names_the_film_s_own_size_and_what_was_decoded(reports):
    small, whole = (r.as_dict()["source"] for r in reports)
    assert (small["width"], small["height"], small["decoded"]) == (1841, 1955, [461, 489])
    assert whole["decoded"] is None
    assert {k: v for k, v in small.items() if k != "decoded"} == {
        k: v for k, v in whole.items() if k != "decoded"
    }


def test_pictures_show_the_whole_film(reports, tmp_path):
    small, whole = reports
    full = small.in_full()
    assert (full.film.pixels == read(REAL).pixels).all()
    assert full.lungs.mask.shape == full.lungs.left.shape == (1955, 1841)
    both = np.count_nonzero(full.lungs.mask & whole.lungs.mask)
    assert both / np.count_nonzero(full.lungs.mask | whole.lungs.mask) > 0.98
    assert full.lungs.area_share == small.lungs.area_share
    names = write_report(small, tmp_path, "film")
    again = write_report(small, tmp_path / "json", "film", ("json",))
    told, alone = (
        json.loads((place / n["json"]).read_bytes())
        for place, n in ((tmp_path, names), (tmp_path / "json", again))
    )
    for key in ("source", "warnings", "analysable"):
        assert told[key] == alone[key]
    for one, other in zip(told["findings"], alone["findings"], strict=True):
        assert {**one, "heatmap": None} == {**other, "heatmap": None}


def test_a_film_that_changed_meanwhile_is_not_shown_as_the_one_analysed(tmp_path):
    place = tmp_path / "film.dcm"
    place.write_bytes(Path(REAL).read_bytes())
    report = Analyzer(["findings"], with_heatmaps=False).analyze(place)
    place.write_bytes(Path(get_testdata_file("RG3_J2KR.dcm")).read_bytes())
    with pytest.raises(ReadError, match="changed while"):
        report.in_full()


def test_bundles_that_look_at_the_film_s_own_pixels_get_them():
    plain = classifier_bundle()
    steps = plain.info.preparation.model_copy(update={"masking": Body(letters=True)})
    masked = classifier_bundle("masked", preparation=steps)
    assert needed([plain]) == 128
    assert needed([plain, load("lungs")]) == 448
    assert needed([plain, masked]) is None
