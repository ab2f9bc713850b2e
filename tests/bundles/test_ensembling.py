"""An ensemble bundle: the mean of its members by hand, whole after saving, and refused where members are unlike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hilum.bundles import load, save
from hilum.bundles.bundle import patient_hash
from hilum.bundles.card import card
from hilum.bundles.ensembling import OWN_SPLITS, ensemble
from hilum.bundles.info import Applies, Cut, Label, Scaling
from hilum.errors import BundleError
from hilum.images.preparation import Preparation
from tests.bundles_for_tests import MADE, bright_bundle, classifier_bundle, unet_bundle


def members(tmp_path, count: int = 3, **changes):
    """Saved and read again, as a user has them."""
    found = []
    for seed in range(count):
        scaling = None
        if seed:
            width = 1 if "group" in changes else 3
            scaling = Scaling(kind="platt", slope=(0.123456789 + seed,) * width, intercept=(-0.5,) * width)
        bundle = classifier_bundle(f"m{seed}", seed=seed, calibration=scaling, **changes)
        bundle.patients = np.array([patient_hash(f"p{seed}"), patient_hash("all")], np.uint32)
        found.append(load(save(bundle, tmp_path / f"m{seed}")))
    return found


def images() -> torch.Tensor:
    return torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("group", [None, "pneumonia"])
def test_its_probability_is_the_mean_of_the_members(tmp_path, group):
    parts = members(tmp_path, **({"group": group} if group else {}))
    joined = load(save(ensemble(parts, "three"), tmp_path / "three.hilum"))
    expected = torch.stack([b.probabilities(b(images())) for b in parts]).mean(0)
    assert torch.allclose(joined.probabilities(joined(images())), expected, atol=1e-6)
    assert joined.info.group == group
    assert joined.labels == parts[0].labels


def test_it_remembers_the_patients_of_all_members(tmp_path):
    joined = load(save(ensemble(members(tmp_path), "three"), tmp_path / "three"))
    assert joined.trained_on(["p0", "p1", "p2", "p3", "all"]) == ["p0", "p1", "p2", "all"]


def test_thresholds_are_the_members_mean_and_say_so(tmp_path):
    parts = members(tmp_path, 2)
    labels = tuple(
        label.model_copy(update={"threshold": Cut(value=0.2, rule="f1")}) for label in parts[1].info.labels
    )
    bare = (labels[0], labels[1], labels[2].model_copy(update={"threshold": None}))
    parts[1].info = parts[1].info.model_copy(update={"labels": bare})
    cuts = [label.threshold for label in ensemble(parts, "two").info.labels]
    assert cuts[0].value == pytest.approx((0.4 + 0.2) / 2)
    assert cuts[1].value == pytest.approx((0.5 + 0.2) / 2)
    assert cuts[0].rule == "mean of youden and f1"
    assert "mean of the members' thresholds" in cuts[0].note
    assert cuts[2] is None


def test_the_card_names_members_and_says_when_no_film_was_held_out_from_all(tmp_path):
    parts = members(tmp_path, 2)
    joined = ensemble(parts, "two")
    text = card(joined.info)
    for bundle in parts:
        assert f"| {bundle.info.name} | 1.0 | `{bundle.info.digest[:16]}` |" in text
    assert OWN_SPLITS not in joined.info.limits
    assert joined.info.provenance.split_digest == MADE.split_digest
    other = MADE.model_copy(update={"split_digest": "1" * 64, "licence": "CC BY 4.0"})
    parts[1].info = parts[1].info.model_copy(update={"provenance": other})
    apart = ensemble(parts, "two").info
    assert OWN_SPLITS in apart.limits
    assert apart.provenance.split_digest not in (MADE.split_digest, other.split_digest)
    assert apart.provenance.films == {"train, member 1": 4, "train, member 2": 4}
    assert apart.provenance.licence == "Apache-2.0; CC BY 4.0"
    assert set(parts[0].info.limits) <= set(apart.limits)
    assert not apart.metrics


UNLIKE = {
    "labels": {"labels": tuple(Label(name=n) for n in ("Mass", "Effusion", "Cardiomegaly"))},
    "preparation": {"preparation": Preparation(size=(64, 64), aspect="pad", channels=1, mean=(0.5,), std=(0.25,))},
    "films that it is for": {"applies": Applies(ages=(0, 5))},
}  # fmt: skip


@pytest.mark.parametrize("what", UNLIKE)
def test_a_member_that_is_unlike_is_named_and_refused(what):
    parts = [classifier_bundle("a"), classifier_bundle("b", seed=1), classifier_bundle("c", **UNLIKE[what])]
    with pytest.raises(BundleError, match=rf"^c \(not saved\): it cannot join 'a': another {what}"):
        ensemble(parts, "x")


def test_members_of_another_group_task_or_architecture_are_refused():
    one = classifier_bundle("a", group="pneumonia")
    with pytest.raises(BundleError, match="another group"):
        ensemble([one, classifier_bundle("b", group="colour")], "x")
    with pytest.raises(BundleError, match="another task"):
        ensemble([one, classifier_bundle("b")], "x")
    other = classifier_bundle("b", group="pneumonia")
    options = {**other.info.model.options, "dropout": 0.1}
    other.info = other.info.model_copy(
        update={"model": other.info.model.model_copy(update={"options": options})}
    )
    with pytest.raises(BundleError, match=r"another architecture .*'dropout': 0.1"):
        ensemble([one, other], "x")


def test_what_makes_no_ensemble_is_refused(tmp_path):
    parts = members(tmp_path, 2)
    with pytest.raises(BundleError, match="two members or more"):
        ensemble(parts[:1], "x")
    with pytest.raises(BundleError, match="stands there twice"):
        ensemble([*parts, parts[0]], "x")
    with pytest.raises(BundleError, match="segmenter or an ensemble"):
        ensemble([unet_bundle("a"), unet_bundle("b")], "x")
    with pytest.raises(BundleError, match="segmenter or an ensemble"):
        ensemble([ensemble(parts, "two"), parts[0]], "x")
    bent = bright_bundle()
    scaling = Scaling(kind="op", slope=(1.0,), intercept=(0.0,), half_at=(0.3, 0.3, 0.3))
    bent.info = bent.info.model_copy(update={"calibration": scaling})
    with pytest.raises(BundleError, match="no plain mean"):
        ensemble([bent, bent], "x")
