"""HAZARDS C 32, 36, 37 and B 19: a bundle that was altered, or is something else, is refused; nothing in it is run."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hilum.bundles import files as bundle_files
from hilum.bundles import load, save, verify
from hilum.errors import BundleError
from tests.bundles_for_tests import classifier_bundle, unet_bundle
from tests.models.test_pretrained import Evil


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return save(classifier_bundle(), tmp_path_factory.mktemp("bundles") / "toy")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    shutil.copytree(saved, tmp_path / "toy")
    return tmp_path / "toy"


def refused(place: Path, words: str) -> None:
    for door in (load, verify):
        with pytest.raises(BundleError, match=words) as caught:
            door(place)
        assert place.name in str(caught.value)


def zipped(folder: Path, place: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(place, "w", compression) as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    return place


def edit_json(folder: Path, change: Callable[[dict], None]) -> None:
    path = folder / "bundle.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name", ["weights.safetensors", "card.md", "patients.bin"])
def test_one_altered_byte_is_found(folder, tmp_path, name, single):
    content = bytearray((folder / name).read_bytes() or b"\0")
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    refused(zipped(folder, tmp_path / "toy.hilum") if single else folder, f"{name} was altered")


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["labels"][0]["threshold"].update(value=0.01),
        lambda raw: raw["calibration"]["slope"].__setitem__(0, 9.0),
        lambda raw: raw["preparation"].update(size=[65, 64]),
        lambda raw: raw.update(limits=[]),
        lambda raw: raw["files"].update({"weights.safetensors": "0" * 64}),
        lambda raw: raw.update(digest="0" * 64),
        lambda raw: raw["labels"].reverse(),
        lambda raw: raw["applies"].update(by_default=False),
    ],
    ids=["threshold", "calibration", "preparation", "limits", "checksum", "digest", "labels", "applies"],
)
def test_an_altered_bundle_json_is_found(folder, change):
    edit_json(folder, change)
    refused(folder, "altered")


def test_the_same_content_written_otherwise_is_accepted(folder):
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=7))
    verify(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": 1}', b'{"surprise": true}'],
)
def test_a_bundle_json_that_is_none_is_refused(folder, content):
    (folder / "bundle.json").write_bytes(content)
    refused(folder, "bundle.json is not valid")


def test_a_newer_format_says_so(folder):
    edit_json(folder, lambda raw: raw.update(format=2))
    refused(folder, "format 2, newer")


@pytest.mark.parametrize("name", ["weights.safetensors", "card.md", "patients.bin"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"{name} is missing")


def test_a_folder_without_bundle_json_is_no_bundle(tmp_path):
    refused(tmp_path, "no bundle.json")


def test_weights_that_bundle_json_does_not_list_are_not_trusted(folder):
    edit_json(folder, lambda raw: raw["files"].pop("weights.safetensors"))
    refused(folder, "altered|lists no")


def test_a_stranger_beside_the_bundle_is_not_read(folder):
    mark = folder.parent / "mark"
    (folder / "weights.pt").write_bytes(pickle.dumps(Evil(mark)))
    (folder / "recipe.yaml").write_text("not: listed")
    assert load(folder).recipe is None
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "model.hilum", "model.safetensors"])
@pytest.mark.parametrize("maker", ["pickle", "torch"])
def test_a_pickle_is_refused_and_never_run(tmp_path, name, maker):
    mark, place = tmp_path / "mark", tmp_path / name
    if maker == "pickle":
        place.write_bytes(pickle.dumps({"state_dict": Evil(mark)}))
    else:
        torch.save({"state_dict": Evil(mark)}, place)
    refused(place, "not a bundle|no bundle.json")
    assert not mark.exists()


def reseal(folder: Path, weights: bytes) -> None:
    """What an attacker does who knows the format: new weights with the checksums that fit them."""
    from hilum.bundles.bundle import _digest
    from hilum.bundles.info import Info

    (folder / "weights.safetensors").write_bytes(weights)

    def fit(raw: dict) -> None:
        raw["files"]["weights.safetensors"] = bundle_files.digest(weights)
        raw["digest"] = _digest(Info.model_validate(raw))

    edit_json(folder, fit)


def test_pickled_weights_with_checksums_that_fit_are_still_refused(folder):
    mark = folder.parent / "mark"
    reseal(folder, pickle.dumps(Evil(mark)))
    with pytest.raises(BundleError, match="weights cannot be read"):
        load(folder)
    assert not mark.exists()


def test_weights_of_another_model_are_refused(folder, tmp_path):
    other = save(unet_bundle(), tmp_path / "other")
    reseal(folder, (other / "weights.safetensors").read_bytes())
    with pytest.raises(BundleError, match="do not fit its model"):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + b"\0" * 60, b"text", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    place = tmp_path / "x.hilum"
    place.write_bytes(content)
    refused(place, "not a bundle|cannot be unpacked")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.98])
def test_a_file_cut_short_is_refused(folder, tmp_path, keep):
    whole = zipped(folder, tmp_path / "whole.hilum").read_bytes()
    place = tmp_path / "x.hilum"
    place.write_bytes(whole[: int(keep * len(whole))])
    refused(place, "not a bundle|cannot be unpacked")


def test_a_flipped_byte_anywhere_in_a_file_is_found(folder, tmp_path):
    whole = zipped(folder, tmp_path / "whole.hilum").read_bytes()
    place = tmp_path / "x.hilum"
    for at in range(100, len(whole) - 600, len(whole) // 12):
        place.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        with pytest.raises(BundleError):
            verify(place)


def test_a_compressed_member_is_refused_before_it_is_unpacked(tmp_path):
    """A zip bomb: 64 MB of zeros in 64 KB."""
    place = tmp_path / "bomb.hilum"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", "{}")
        archive.writestr("weights.safetensors", bytes(64 << 20))
    assert place.stat().st_size < 1 << 20
    refused(place, "compressed or too large")


def test_a_member_that_lies_about_its_size_is_refused(folder, tmp_path):
    place = zipped(folder, tmp_path / "lie.hilum")
    raw = bytearray(place.read_bytes())
    central = raw.find(b"PK\x01\x02")
    for field in (20, 24):  # compressed and uncompressed size of the first member
        struct.pack_into("<I", raw, central + field, 0xFFFFFF00)
    place.write_bytes(raw)
    refused(place, "cannot be unpacked|too large|altered")


def test_a_member_that_asks_for_a_password_is_refused(folder, tmp_path):
    place = zipped(folder, tmp_path / "locked.hilum")
    raw = bytearray(place.read_bytes())
    for sign, field in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the general purpose flags
        raw[raw.find(sign) + field] |= 1
    place.write_bytes(raw)
    refused(place, "cannot be unpacked")


@pytest.mark.parametrize("name", ["../escape", "/tmp/escape", "..\\escape", "a/../../escape", "C:escape"])
def test_members_with_roaming_names_are_never_written(folder, tmp_path, name):
    place = zipped(folder, tmp_path / "slip.hilum")
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr(name, b"gotcha")
    before = {p for p in tmp_path.rglob("*")}
    load(place)
    assert {p for p in tmp_path.rglob("*")} == before
    assert set(bundle_files.read(place)) <= set(bundle_files.MEMBERS)


def test_a_second_member_of_the_same_name_cannot_slip_in(folder, tmp_path):
    place = zipped(folder, tmp_path / "twice.hilum")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(place, "a") as archive:
        archive.writestr("weights.safetensors", b"other")
    refused(place, "weights.safetensors was altered")


def test_a_member_beyond_the_limit_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_files, "LARGEST", 1000)
    refused(folder, "too large")
    refused(zipped(folder, tmp_path / "x.hilum"), "too large")
