"""`hilum bundle ensemble` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hilum import cli
from hilum.bundles import load, save
from hilum.errors import BundleError
from tests.bundles_for_tests import classifier_bundle


def test_bundles_are_joined_into_one_that_loads_and_shows_its_members(tmp_path: Path):
    paths = [str(save(classifier_bundle(f"m{seed}", seed=seed), tmp_path / f"m{seed}")) for seed in (0, 1)]
    out = tmp_path / "both.hilum"
    result = CliRunner().invoke(cli.app, ["bundle", "ensemble", *paths, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert load(out).info.name == "both"
    shown = CliRunner().invoke(cli.app, ["bundle", "show", str(out)]).output
    assert "Members" in shown
    assert "m1" in shown


def test_unlike_bundles_are_refused_and_nothing_is_written(tmp_path: Path):
    paths = [str(save(classifier_bundle("a"), tmp_path / "a")),
             str(save(classifier_bundle("b", group="kind"), tmp_path / "b"))]  # fmt: skip
    result = CliRunner().invoke(cli.app, ["bundle", "ensemble", *paths, "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, BundleError)
    with pytest.raises(BundleError, match=r"^b \([0-9a-f]{8}\): it cannot join 'a': another task"):
        raise result.exception
    assert not (tmp_path / "x").exists()
