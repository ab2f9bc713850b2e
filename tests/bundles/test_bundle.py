"""A bundle comes back as it was saved, from a folder and from one file, and says what it is."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.bundles import builtin_folder, builtin_names, load, save, verify
from hilum.bundles import files as bundle_files
from hilum.bundles.bundle import patient_hash
from hilum.bundles.info import Applies, Cut, Info, Label
from hilum.errors import BundleError
from hilum.images.radiograph import Radiograph
from tests.bundles_for_tests import bright_bundle, classifier_bundle, unet_bundle
from tests.phantom import phantom

PLACES = pytest.mark.parametrize("place", ["toy", "toy.hilum"])


@pytest.fixture(scope="module")
def film() -> Radiograph:
    return Radiograph(phantom(0, 200, 180).pixels)


@PLACES
@pytest.mark.parametrize("make", [classifier_bundle, unet_bundle])
@torch.no_grad()
def test_it_comes_back_as_it_was_saved(tmp_path, film, place, make):
    bundle = make()
    saved = save(bundle, tmp_path / place)
    again = load(saved)
    assert again.info.model_dump(mode="json") == bundle.info.model_dump(mode="json")
    assert again.labels == bundle.labels
    assert not again.training
    kept = {k: v.half().float() if v.is_floating_point() and "running" not in k else v
            for k, v in bundle.model.state_dict().items()}  # fmt: skip
    for name, value in again.model.state_dict().items():
        assert torch.equal(value, kept[name]), name
        assert value.dtype == bundle.model.state_dict()[name].dtype
    assert torch.allclose(again(again.prepare(film)), bundle(bundle.prepare(film)), atol=0.05)


@PLACES
def test_saving_a_loaded_bundle_gives_the_same_bytes(tmp_path, place):
    bundle = classifier_bundle()
    bundle.recipe = b"seed: 1\n"
    first = save(bundle, tmp_path / "a" / place)
    second = save(load(first), tmp_path / "b" / place)
    assert bundle_files.read(first) == bundle_files.read(second)
    if place.endswith(".hilum"):
        assert first.read_bytes() == second.read_bytes()


def test_a_folder_and_a_file_hold_the_same(tmp_path):
    bundle = classifier_bundle()
    folder, single = save(bundle, tmp_path / "toy"), save(bundle, tmp_path / "toy.hilum")
    assert bundle_files.read(folder) == bundle_files.read(single)
    assert verify(folder) == verify(single)


@torch.no_grad()
def test_probabilities_are_platt_scaled_sigmoids_or_softmax():
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    z = np.array([0.3, -1.0, 2.0]) * [1.5, 0.5, 2.0] + [0.1, -0.2, 0.3]
    sigmoid, softmax = 1 / (1 + np.exp(-z)), np.exp(z) / np.exp(z).sum()
    np.testing.assert_allclose(classifier_bundle().probabilities(logits)[0], sigmoid, rtol=1e-6)
    np.testing.assert_allclose(classifier_bundle(group="kind").probabilities(logits)[0], softmax, rtol=1e-6)
    plain = 1 / (1 + np.exp(-np.array([0.3, -1.0, 2.0])))
    np.testing.assert_allclose(bright_bundle().probabilities(logits)[0], plain, rtol=1e-6)


@pytest.mark.parametrize("half_at", [None, (0.2, 0.5, 0.7)])
@pytest.mark.parametrize("group", [None, "kind"])
@torch.no_grad()
def test_a_margin_is_above_0_where_and_only_where_a_label_is_called(group, half_at):
    bundle = classifier_bundle(group=group)
    if half_at and not group:
        scaling = bundle.info.calibration.model_copy(update={"half_at": half_at})
        bundle.info = bundle.info.model_copy(update={"calibration": scaling})
    logits = 3 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    found, margins = bundle.probabilities(logits), bundle.margins(logits)
    if group:
        called = found == found.amax(1, keepdim=True)
    else:
        called = found >= torch.tensor(
            [0.5 if c.threshold is None else c.threshold.value for c in bundle.info.labels]
        )
    assert called.any(0).all()
    assert not called.all(0).any()
    assert torch.equal(margins > 0, called)
    # A logit moved by its margin lies at the point of the call.
    moved = bundle.probabilities(logits - margins * (1 + 1e-4 * margins.sign()))
    edge = bundle.probabilities(logits - margins * (1 - 1e-4 * margins.sign()))
    assert torch.allclose(moved, edge, atol=1e-2)


@torch.no_grad()
def test_a_calibration_that_turns_logits_round_gives_no_margin():
    bundle = classifier_bundle()
    scaling = bundle.info.calibration.model_copy(update={"slope": (0.0, -1.0, 2.0)})
    bundle.info = bundle.info.model_copy(update={"calibration": scaling})
    margins = bundle.margins(torch.tensor([[0.3, -1.0, 2.0]]))
    assert margins[0, :2].tolist() == [0, 0]
    assert margins[0, 2] != 0


def test_it_prepares_a_film_as_it_says(film):
    bundle = classifier_bundle()
    tensor = bundle.prepare(film)
    assert tensor.shape == (1, 1, 64, 64)
    stored = bundle.info.preparation.pixels(film.pixels).astype(np.float32) / 255
    np.testing.assert_allclose(tensor[0, 0], (stored - 0.5) / 0.25, atol=1e-6)


def test_results_in_a_folder_of_a_builtins_name_do_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = builtin_names()[0]
    (tmp_path / name).mkdir()
    (tmp_path / name / "audit.json").write_text("{}")
    assert bundle_files.locate(name) == builtin_folder() / name
    (tmp_path / name / "audit.json").unlink()
    save(classifier_bundle(), tmp_path / name)
    assert bundle_files.locate(name) == Path(name)


def test_it_remembers_its_patients_and_no_others(tmp_path):
    bundle = classifier_bundle()
    bundle.patients = np.array([patient_hash("nih14|7"), patient_hash("nih14|12")], np.uint32)
    again = load(save(bundle, tmp_path / "toy"))
    assert again.trained_on(["nih14|12", "nih14|3", "kermany|7"]) == ["nih14|12"]
    assert b"nih14" not in (tmp_path / "toy" / "patients.bin").read_bytes()


def test_its_card_says_what_a_user_must_know(tmp_path):
    save(classifier_bundle(), tmp_path / "toy")
    card = (tmp_path / "toy" / "card.md").read_text()
    for words in (
        "Research use only",
        "Its weights are random.",
        "Cardiomegaly",
        "0.400",
        "0.500 (0.400–0.600)",
        "phantoms",
    ):
        assert words in card


def test_it_cites_its_licence_and_data(tmp_path):
    raw = json.loads((save(classifier_bundle(), tmp_path / "toy") / "bundle.json").read_text())
    assert raw["provenance"]["licence"] == "Apache-2.0"
    assert raw["provenance"]["data"] == ["phantoms"]
    assert len(raw["digest"]) == 64


@pytest.mark.parametrize(
    ("applies", "age", "expected"),
    [
        (Applies(), None, True),
        (Applies(ages=(0, 17)), None, False),
        (Applies(ages=(0, 17)), 17.0, True),
        (Applies(ages=(0, 17)), 17.5, False),
        (Applies(ages=(0, 17)), 0.0, True),
        (Applies(by_default=False), 40.0, False),
    ],
)
def test_whom_it_applies_to(applies, age, expected):
    assert applies.suits(age) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": ()},
        {"labels": (Label(name="A"), Label(name="A"), Label(name="B"))},
        {"name": "../evil"},
        {"name": ""},
        {"group": "kind"},
        {"task": "multiclass"},
        {"calibration": {"kind": "platt", "slope": [1, 1], "intercept": [0]}},
        {"format": 2},
        {"surprise": 1},
    ],
)
def test_contradictions_are_refused(changes):
    fields = classifier_bundle().info.model_dump()
    with pytest.raises(ValueError):
        Info.model_validate(fields | changes)


def test_a_threshold_is_a_probability():
    with pytest.raises(ValueError):
        Cut(value=1.2, rule="youden")


def test_saving_again_replaces_all_of_the_old(tmp_path):
    place = tmp_path / "toy"
    bundle = classifier_bundle()
    bundle.recipe = b"seed: 1\n"
    save(bundle, place)
    save(classifier_bundle(seed=5), place)
    assert not (place / "recipe.yaml").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["toy"]
    verify(place)


@PLACES
@pytest.mark.parametrize("moment", ["write", "move"])
def test_a_kill_in_the_middle_of_a_save_leaves_the_old_bundle(tmp_path, monkeypatch, place, moment):
    old = classifier_bundle(seed=1)
    save(old, tmp_path / place)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if moment == "write":
        monkeypatch.setattr(Path, "write_bytes", killed)
        monkeypatch.setattr(zipfile.ZipFile, "writestr", killed)
    else:
        monkeypatch.setattr(Path, "rename", killed)
        monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        save(classifier_bundle(seed=2), tmp_path / place)
    monkeypatch.undo()
    assert verify(tmp_path / place).digest == old.info.digest
    load(tmp_path / place)
    save(classifier_bundle(seed=3), tmp_path / place)
    verify(tmp_path / place)


def test_built_in_bundles_are_whole():
    assert builtin_names() == sorted(builtin_names())
    for name in builtin_names():
        assert verify(name).name == name
        assert (builtin_folder() / name / "card.md").is_file()


def test_an_unknown_name_lists_the_built_in_ones():
    with pytest.raises(BundleError, match="no such bundle") as caught:
        load("no-such-bundle")
    assert all(name in str(caught.value) for name in builtin_names())
