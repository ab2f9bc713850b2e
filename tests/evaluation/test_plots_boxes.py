"""The figures are drawn, and the same numbers give the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.evaluation.plots_boxes import plot_box_reliability, plot_class_films, plot_froc
from tests.evaluation.boxes_for_tests import drawn


@pytest.mark.parametrize("plot", [plot_froc, plot_box_reliability])
def test_a_figure_is_drawn_from_the_numbers(tmp_path: Path, plot):
    boxes = drawn(5, films=20)
    first = plot(boxes, tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert plot(boxes, tmp_path / "b.png").read_bytes() == first
    assert plot(replace(boxes, scores=boxes.scores[::-1]), tmp_path / "c.png").read_bytes() != first


def test_without_any_prediction_froc_is_an_empty_curve(tmp_path: Path):
    none = np.empty(0, int)
    blind = replace(drawn(5), boxes=np.empty((0, 4)), scores=none, film=none, kind=none)
    assert plot_froc(blind, tmp_path / "a.png").is_file()


def test_films_of_each_class_are_drawn_predicted_beside_true(tmp_path: Path):
    path = plot_class_films({"Mass": 3, "Nodule": 1}, {"Mass": 2, "Effusion": 5}, tmp_path / "c.png", 9)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert plot_class_films({}, {}, tmp_path / "none.png", 0).is_file()
