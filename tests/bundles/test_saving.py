"""A save that is stopped, or has no room, leaves the bundle that was there; a folder that is no bundle is never replaced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.bundles import files, load, save, verify
from hilum.errors import BundleError
from tests.bundles_for_tests import classifier_bundle

PLACES = pytest.mark.parametrize("place", ["toy", "toy.hilum"])


def nth(method: Callable, n: int, error: BaseException) -> Callable:
    """`method`, which raises `error` at its n-th call."""
    calls = iter(range(1, 1000))

    def call(*given, **options):
        if next(calls) == n:
            raise error
        return method(*given, **options)

    return call


@pytest.mark.parametrize("n", [1, 2])
def test_a_kill_between_the_two_renames_leaves_a_whole_bundle_under_its_name(tmp_path, monkeypatch, n):
    """A folder cannot be swapped for another in one step everywhere: between two renames the old one waits aside."""
    old, new = classifier_bundle(seed=1), classifier_bundle(seed=2)
    place = save(old, tmp_path / "toy")
    monkeypatch.setattr(Path, "rename", nth(Path.rename, n, KeyboardInterrupt()))
    monkeypatch.setattr(files, "_undo", lambda *_: None)  # a kill leaves no time to put it back
    with pytest.raises(KeyboardInterrupt):
        save(new, place)
    monkeypatch.undo()
    assert place.exists() == (n == 1)
    for look in (verify, lambda p: load(p).info):
        assert look(place).digest == old.info.digest
    assert verify(save(new, place)).digest == new.info.digest
    assert not files.aside(place).exists()
    assert verify(place).digest == new.info.digest


def test_a_bundle_that_was_set_aside_is_kept_until_the_new_one_stands(tmp_path, monkeypatch):
    """Killed between the renames, then without room: the old bundle is still there."""
    old = classifier_bundle(seed=1)
    place = save(old, tmp_path / "toy")
    place.rename(files.aside(place))
    monkeypatch.setattr(Path, "write_bytes", nth(Path.write_bytes, 1, OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(BundleError, match="No space left"):
        save(classifier_bundle(seed=2), place)
    assert verify(place).digest == old.info.digest


@PLACES
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_is_said_and_leaves_nothing_behind(tmp_path, monkeypatch, place, before):
    old = classifier_bundle(seed=1)
    if before:
        save(old, tmp_path / place)
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(files.os, "fsync", nth(os.fsync, 2 if place == "toy" else 1, full))
    with pytest.raises(BundleError, match=r"cannot be written \(No space left on device\)") as caught:
        save(classifier_bundle(seed=2), tmp_path / place)
    assert str(tmp_path / place) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ([place] if before else [])
    if before:
        assert verify(tmp_path / place).digest == old.info.digest


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="cannot be written"):
        save(classifier_bundle(), tmp_path / "file" / "toy")


@pytest.mark.parametrize("make", ["folder", "file"])
def test_what_is_no_bundle_is_not_replaced(tmp_path, make):
    place = tmp_path / "films"
    if make == "folder":
        place.mkdir()
        (place / "film.dcm").write_text("dear to someone")
    else:
        place.write_text("dear to someone")
    with pytest.raises(BundleError, match="no bundle"):
        save(classifier_bundle(), place)
    assert (place / "film.dcm" if make == "folder" else place).read_text() == "dear to someone"
    assert [p.name for p in tmp_path.iterdir()] == ["films"]


def test_an_empty_folder_is_a_place_for_a_bundle(tmp_path):
    (tmp_path / "toy").mkdir()
    verify(save(classifier_bundle(), tmp_path / "toy"))
