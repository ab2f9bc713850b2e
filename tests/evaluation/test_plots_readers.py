"""Figures of readers: what stands on their axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.evaluation import plots_readers

NAN = float("nan")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures, before they become files."""
    figures: list[Any] = []
    monkeypatch.setattr(plots_readers, "save", lambda figure, path: figures.append(figure) or path)
    return figures


def test_bars_are_stacked_by_readers_the_largest_on_top(drawn: list[Any]) -> None:
    plots_readers.plot_agreeing_readers({"Mass": [1, 2, 3], "Edema": [10, 0, 0]}, "unused.png")
    axes = drawn[0].axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["Mass", "Edema"]
    assert [bar.get_width() for bar in axes.patches] == [1, 10, 2, 0, 3, 0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["1 reader", "2 readers", "3 readers"]
    assert {t.get_text() for t in axes.texts} == {"6", "10"}


def test_areas_of_unknown_films_take_no_part(drawn: list[Any]) -> None:
    shares = {"Mass": [0.01, 0.02, NAN], "Edema": [0.2, 0.4], "Nodule": [NAN]}
    plots_readers.plot_box_areas(shares, "unused.png")
    assert [t.get_text() for t in drawn[0].axes[0].get_yticklabels()] == ["Mass (2)", "Edema (2)"]
    plots_readers.plot_area_histograms(shares, "unused.png")
    assert [a.get_title() for a in drawn[1].axes] == ["Mass\n2 boxes", "Edema\n2 boxes"]
    assert sum(bar.get_height() for bar in drawn[1].axes[0].patches) == 2


def test_panels_share_their_rows(drawn: list[Any]) -> None:
    columns = {"kappa": {"a": (0.5, 0.4, 0.6)}, "IoU": {"a": (0.7, 0.6, 0.8), "b": (0.2, NAN, NAN)}}
    plots_readers.plot_estimate_columns(columns, "unused.png")
    first, second = drawn[0].axes
    assert [t.get_text() for t in first.get_yticklabels()] == ["b", "a"]
    assert [t.get_text() for t in second.get_yticklabels()] == ["", ""]
    assert second.lines[1].get_ydata()[0] == first.lines[1].get_ydata()[0] == 1


def test_pairs_say_how_many_films_they_share(drawn: list[Any]) -> None:
    kappa, films = np.array([[NAN, 0.6], [0.6, NAN]]), np.array([[0, 12], [12, 0]])
    plots_readers.plot_reader_pairs(["R1", "R2"], {"all": (kappa, films)}, "unused.png")
    assert [t.get_text() for t in drawn[0].axes[0].texts] == ["12", "12"]


def test_a_picture_is_written(tmp_path: Path) -> None:
    path = plots_readers.plot_box_areas({"Mass": [0.1, 0.2]}, tmp_path / "deep" / "areas.png")
    assert path.stat().st_size > 4000
