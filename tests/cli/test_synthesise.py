"""`hilum synthesise` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from click.testing import Result
from typer.testing import CliRunner

from hilum.bundles import save
from hilum.cli import app
from hilum.datasets.manifest import Manifest
from hilum.errors import HilumError
from tests.bundles_for_tests import classifier_bundle
from tests.learning.conftest import films
from tests.learning.test_generate import run as gan

__all__ = ["films", "gan"]  # fixtures


def synthesise(*words: object) -> Result:
    return CliRunner().invoke(app, ["synthesise", *map(str, words)], env={"COLUMNS": "200"})


@pytest.mark.parametrize(("bits", "kind"), [(8, "uint8"), (16, "uint16")])
def test_films_and_their_manifest(gan: Path, tmp_path: Path, bits: int, kind: str) -> None:
    out = tmp_path / "made"
    done = synthesise(
        gan / "bundle", "--films", 3, "--label", "Mass", "--bits", bits, "--seed", 5, "--out", out
    )
    assert done.exit_code == 0, done.output
    assert "3 films; their manifest: " in done.output
    place = Path(done.output.split("manifest: ")[1].strip())
    table = Manifest.load(place).table
    assert table["label:Mass"].to_list() == [1.0] * 3
    pictures = sorted((out / "films").iterdir())
    assert len(pictures) == 3
    assert {str(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).dtype) for path in pictures} == {kind}
    again = synthesise(gan / "bundle", "--films", 3, "--label", "Mass", "--bits", bits, "--seed", 5, "--out", tmp_path / "b")  # fmt: skip  # noqa: E501
    assert again.exit_code == 0
    assert [p.read_bytes() for p in sorted((tmp_path / "b" / "films").iterdir())] == [
        p.read_bytes() for p in pictures
    ]


@pytest.mark.parametrize(
    ("words", "fault"),
    [(("--films", 3, "--bits", 12), "Choose 8 or 16"), (("--films", 0), "--films")],
)
def test_what_cannot_be_made_is_said_before_anything_is(
    tmp_path: Path, words: tuple[object, ...], fault: str
) -> None:
    done = synthesise("a-bundle", *words, "--out", tmp_path / "made")
    assert done.exit_code == 2
    assert fault in done.output
    assert not (tmp_path / "made").exists()


def test_a_bundle_that_makes_no_films_and_a_finding_it_does_not_know(gan: Path, tmp_path: Path) -> None:
    reads = save(classifier_bundle(), tmp_path / "toy")
    for bundle, words in ((reads, ()), (gan / "bundle", ("--label", "Hernia"))):
        done = synthesise(bundle, "--films", 1, *words, "--out", tmp_path / "made")
        assert isinstance(done.exception, HilumError), done.output
        assert not (tmp_path / "made").exists()
