"""What a drift is measured against: made by an analysis of known films, carried by the bundle, handed on by the worker."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hilum.analysis import reference
from hilum.analysis.analyzer import Analyzer
from hilum.analysis.reference import reference_of
from hilum.bundles import Bundle, load, save
from hilum.bundles.reference import Distribution
from hilum.clinic.analysing import Analysing, Task
from hilum.errors import BundleError, ManifestError
from hilum.images.grey_facts import grey_facts
from hilum.images.read import read
from tests.bundles_for_tests import classifier_bundle, dark_lungs_bundle
from tests.phantom import phantom


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five phantoms, and a file that is no film."""
    folder = tmp_path_factory.mktemp("films")
    for seed in range(5):
        cv2.imwrite(
            str(folder / f"{seed}.png"), np.rint(phantom(seed, 200, 180).pixels * 255).astype(np.uint8)
        )
    (folder / "none.png").write_bytes(b"no film")
    return sorted(folder.iterdir())


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "FEWEST", 4)
    monkeypatch.setattr(
        "hilum.analysis.analyzer.load",
        lambda name, *more: dark_lungs_bundle() if name == "lungs" else load(name, *more),
    )


def referred(films: list[Path]) -> Bundle:
    bundle = classifier_bundle()
    known = reference_of(bundle, films, "five phantoms", samples=4)
    bundle.info = bundle.info.model_copy(update={"reference": known})
    return bundle


def test_the_reference_is_of_what_an_analysis_gives(films: list[Path], few: None) -> None:
    known = referred(films).info.reference
    assert known is not None
    assert (known.films, known.note) == (5, "five phantoms")
    analyzer = Analyzer([classifier_bundle()], samples=4, with_heatmaps=False)
    reports = [analyzer.analyze(path) for path in films[:5]]
    for position, name in enumerate(classifier_bundle().labels):
        assert known.scores[name] == Distribution.of([r.findings[position].probability for r in reports])
    facts = [grey_facts(read(path)) for path in films[:5]]
    assert known.pixels == {name: Distribution.of([f[name] for f in facts]) for name in facts[0]}


def test_it_survives_the_file_and_stands_on_the_card(films: list[Path], few: None, tmp_path: Path) -> None:
    bundle = referred(films)
    without = save(classifier_bundle(), tmp_path / "without")
    place = save(bundle, tmp_path / "with")
    again = load(place).info
    assert again.reference == bundle.info.reference
    assert again.behaviour == load(without).info.behaviour
    assert again.digest != load(without).info.digest
    assert "grey values of 5 films: five phantoms" in (place / "card.md").read_text()
    assert '"reference"' not in (without / "bundle.json").read_text(), "bundles of before keep their digest"


def test_the_worker_hands_it_on(films: list[Path], few: None, tmp_path: Path) -> None:
    place = save(referred(films), tmp_path / "toy")
    (tmp_path / "out").mkdir()
    done = Analysing((str(place),), samples=0)()(Task(films[0], "1.2.3", tmp_path / "out"))
    known = load(place).info.reference
    assert known is not None
    assert done.references == {"toy": known.model_dump(mode="json")}
    maps = [name for key, name in done.files.items() if key.startswith("map:toy:")]
    assert maps
    assert all((tmp_path / "out" / name).is_file() for name in maps)


def test_what_gives_no_reference_is_said(films: list[Path]) -> None:
    with pytest.raises(BundleError, match="no probabilities"):
        reference_of(dark_lungs_bundle(), films, "")
    with pytest.raises(ManifestError, match="only 0 films"):
        reference_of(classifier_bundle(), films[5:], "")


def test_a_distribution_counts_in_rising_bins() -> None:
    known = Distribution.of([0.1, 0.1, 0.1, 0.9])
    assert sum(known.counts) == 4
    assert known.count([0.0, 1.0, 1.0])[-1] >= 1
    for edges, counts in (((0.5, 0.5), (1, 1, 1)), ((0.5,), (1,)), ((), (0,)), ((0.5,), (-1, 2))):
        with pytest.raises(ValueError):
            Distribution(edges=edges, counts=counts)
    with pytest.raises(ValueError):
        Distribution.of([])
