"""Figures of several arms: what their legends say of the films."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.evaluation import plots_arms

TRUTH = np.array([[0, 1], [1, 0], [1, np.nan], [0, 1]])
SCORES = np.array([[0.1, 0.8], [0.7, 0.3], [0.6, 0.5], [0.4, 0.9]])


def legend(monkeypatch: pytest.MonkeyPatch, truth: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(plots_arms, "panels", lambda *given: seen.extend(mark[0] for mark in given[-1]))
    plots_arms.plot_roc_arms(truth, scores, "unused.png", ("Mass", "Edema"))
    return seen


def test_arms_on_the_same_films_are_named_alone(monkeypatch: pytest.MonkeyPatch):
    assert legend(monkeypatch, {"a": TRUTH, "b": TRUTH}, {"a": SCORES, "b": SCORES}) == ["a", "b"]


def test_arms_on_different_films_say_how_many(monkeypatch: pytest.MonkeyPatch):
    found = legend(monkeypatch, {"a": TRUTH, "b": TRUTH[:3]}, {"a": SCORES, "b": SCORES[:3]})
    assert found == ["a (4 films)", "b (3 films)"]


def test_a_picture_is_written(tmp_path: Path):
    path = plots_arms.plot_roc_arms({"a": TRUTH}, {"a": SCORES}, tmp_path / "roc.png", ("Mass", "Edema"))
    assert path.stat().st_size > 2000


def test_texts_under_films_stay_under_their_own(monkeypatch: pytest.MonkeyPatch):
    drawn: list[Any] = []
    monkeypatch.setattr(plots_arms, "save", lambda figure, path: drawn.append(figure) or path)
    text = "truth: Mass, Nodule\nSSGAN + EfficientNet-Lite0: Pleural Thickening 13 %, Consolidation 11 %, Effusion 9 %"
    plots_arms.plot_films([(np.zeros((8, 8)), text)] * 3, "none.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
    assert min(box.y0 for box in boxes) >= 0
