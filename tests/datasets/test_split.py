from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.datasets.manifest import Manifest
from hilum.datasets.split import (
    Split,
    fold,
    holdout,
    kfold,
    leaky_holdout,
    official,
    patients_on_two_sides,
)
from hilum.datasets.stratify import stratify
from hilum.errors import SplitError

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def films(seed: int, patients: int, labels: int = 3, most: int = 6) -> Manifest:
    """Patients with 1 to `most` films, labels of rising rarity, some unknown."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, most + 1, patients))
    n = len(patient)
    values = (rng.random((n, labels)) < np.linspace(0.5, 0.05, labels)).astype(float)
    values[rng.random((n, labels)) < 0.1] = np.nan
    return Manifest(
        pl.DataFrame(
            {
                "image_id": [f"i{k}" for k in range(n)],
                "path": [f"{k}.png" for k in range(n)],
                "patient": [f"p{k}" for k in patient],
                "view": rng.choice(["PA", "AP"], n),
            }
            | {f"label:L{j}": values[:, j] for j in range(labels)}
        )
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 60), st.integers(0, 5))
def test_no_patient_is_on_two_sides_and_no_film_is_lost(seed: int, patients: int, labels: int) -> None:
    manifest = films(seed, patients, labels)
    for split in (holdout(manifest, SHARES, seed), *kfold(manifest, 3, seed)):
        assert set(split) == set(manifest.image_ids)
        split.assert_disjoint(manifest)
        # Not by the code under test: each patient's films, and the parts they are in.
        table = manifest.with_split(split).table
        assert table.group_by("patient").agg(pl.col("split").n_unique())["split"].max() == 1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_shares_of_films_and_of_each_label_are_near_what_was_asked(seed: int) -> None:
    manifest = films(seed, 200)
    split = manifest.with_split(holdout(manifest, SHARES, seed))
    for part, share in SHARES.items():
        inside = split.filter(split=part)
        assert abs(len(inside) / len(manifest) - share) < 0.07  # labels are dealt first; films follow
        for column in range(3):
            whole = np.nansum(manifest.labels()[1][:, column])
            assert abs(np.nansum(inside.labels()[1][:, column]) - share * whole) <= max(3, 0.08 * whole)


def test_rare_labels_are_shared_better_than_by_chance() -> None:
    """The point of Sechidis 2011: against random patients, the spread of a rare label over folds shrinks."""
    ours, chance = [], []
    for seed in range(12):
        manifest = films(seed, 150, labels=6)
        rare = dict(zip(manifest.image_ids, np.nan_to_num(manifest.labels()[1][:, -1]), strict=True))
        folds = kfold(manifest, 5, seed)
        ours.append(np.std([sum(rare[i] for i in f if f[i] == "validation") for f in folds]))
        rng = np.random.default_rng(seed)
        side = {
            p: int(s)
            for p, s in zip(manifest.table["patient"].unique(), rng.integers(0, 5, 150), strict=True)
        }
        counts = np.zeros(5)
        for image_id, patient in manifest.table.select("image_id", "patient").rows():
            counts[side[patient]] += rare[image_id]
        chance.append(np.std(counts))
    assert np.mean(ours) < 0.5 * np.mean(chance)


def test_stratify_deals_single_examples_as_the_paper_says() -> None:
    """Ten examples of label A, ten of B, each alone: halves of each side exactly."""
    counts = np.zeros((20, 2))
    counts[:10, 0] = counts[10:, 1] = 1
    side = stratify(counts, np.ones(20), np.array([0.5, 0.5]), seed=3)
    assert [int((side[:10] == s).sum()) for s in (0, 1)] == [5, 5]
    assert [int((side[10:] == s).sum()) for s in (0, 1)] == [5, 5]


def test_each_film_is_in_validation_once() -> None:
    manifest = films(1, 40)
    folds = kfold(manifest, 4, 1)
    assert all(sum(f[i] == "validation" for f in folds) == 1 for i in manifest.image_ids)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_a_fold_tests_each_film_once_and_chooses_on_patients_of_neither_side(seed: int, k: int) -> None:
    manifest = films(seed, 40)
    tested: list[str] = []
    for number in range(k):
        split = fold(manifest, k, number, 0.2, seed)
        split.assert_disjoint(manifest)
        assert set(split.counts) == {"train", "validation", "test"}
        assert set(split) == set(manifest.image_ids)
        learnt = len(manifest) - split.counts["test"]
        assert abs(split.counts["validation"] / learnt - 0.2) < 0.15
        tested += [i for i in split if split[i] == "test"]
    assert sorted(tested) == sorted(manifest.image_ids)


def test_a_leaky_split_leaks_and_is_refused_where_nobody_asked_for_it() -> None:
    manifest = films(2, 40)
    split = leaky_holdout(manifest, SHARES, 1)
    assert set(split) == set(manifest.image_ids)
    sides: dict[str, set[str]] = {}
    for image_id, patient in manifest.table.select("image_id", "patient").rows():
        sides.setdefault(patient, set()).add(split[image_id])
    both = sum(len(parts) > 1 for parts in sides.values())
    assert both == patients_on_two_sides(manifest, split) > 10
    assert patients_on_two_sides(manifest, holdout(manifest, SHARES, 1)) == 0
    with pytest.raises(SplitError, match="on two sides"):
        split.assert_disjoint(manifest)
    with pytest.raises(SplitError, match="on two sides"):
        official(manifest.with_split(split))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_digest_changes_when_and_only_when_the_assignment_does(one: int, other: int) -> None:
    manifest = films(7, 30)
    a, again, b = (
        holdout(manifest, SHARES, one),
        holdout(manifest, SHARES, one),
        holdout(manifest, SHARES, other),
    )
    assert dict(a) == dict(again)
    assert a.digest == again.digest
    assert (a.digest == b.digest) == (dict(a) == dict(b))
    first = next(iter(a))
    moved = Split(dict(a) | {first: "test" if a[first] != "test" else "train"})
    assert moved.digest != a.digest
    assert Split(dict(reversed(list(a.items())))).digest == a.digest


def test_an_overlap_is_refused_and_names_the_patients() -> None:
    manifest = films(3, 20, most=3)
    half = {i: "train" if k % 2 else "test" for k, i in enumerate(manifest.image_ids)}
    with pytest.raises(SplitError, match=r"patients are on two sides: p\d+ \(test and train\)"):
        Split(half).assert_disjoint(manifest)
    with pytest.raises(SplitError, match="on two sides"):
        official(manifest.with_split(half))


def test_films_without_a_patient_are_refused_until_a_choice_is_made() -> None:
    manifest = films(3, 20)
    nobody = Manifest(manifest.table.with_columns(patient=pl.when(pl.col("view") == "PA").then("patient")))
    with pytest.raises(SplitError, match="films have no patient, the first is 'i"):
        holdout(nobody, SHARES, 1)
    split = holdout(nobody, SHARES, 1, without_patient="own")
    assert split.choices["without_patient"] == "own"
    split.assert_disjoint(nobody)
    with pytest.raises(SplitError, match="no patient"):
        Split(dict(split)).assert_disjoint(nobody)  # the choice is part of the split, not of the films


def test_validation_comes_out_of_the_official_training_set() -> None:
    manifest = films(5, 60)
    given_parts = manifest.with_split(holdout(manifest, {"train": 0.8, "test": 0.2}, 1))
    split = holdout(given_parts, {"train": 0.9, "validation": 0.1}, 2, part="train")
    before = dict(zip(given_parts.image_ids, given_parts.table["split"], strict=True))
    assert {i for i in split if split[i] == "test"} == {i for i in before if before[i] == "test"}
    assert set(split.counts) == {"train", "validation", "test"}
    assert official(given_parts).digest == Split(before).digest


@pytest.mark.parametrize("shares", [{"train": 0.5}, {"train": 1.2, "test": -0.2}, {}])
def test_shares_must_make_sense(shares: dict[str, float]) -> None:
    with pytest.raises(SplitError, match="fractions"):
        holdout(films(1, 10), shares, 1)


def test_too_few_patients_and_no_such_part_are_said() -> None:
    with pytest.raises(SplitError, match="2 patients cannot fill 3 parts"):
        holdout(films(1, 2), SHARES, 1)
    with pytest.raises(SplitError, match="no part 'train'"):
        holdout(films(1, 9), SHARES, 1, part="train")
    with pytest.raises(SplitError, match="no official split"):
        official(films(1, 9))
    with pytest.raises(SplitError, match="balance by 'hospital'"):
        holdout(films(1, 9), SHARES, 1, by=("hospital",))
