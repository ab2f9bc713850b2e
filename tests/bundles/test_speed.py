"""Latencies are medians of rounds taken in turn; sizes are those of the files."""

from __future__ import annotations

import pytest

from hilum.bundles import save
from hilum.bundles.speed import latencies, one_film, size_on_disk
from tests.bundles_for_tests import classifier_bundle, unet_bundle


def test_the_median_of_rounds_without_the_first_two():
    durations = {"a": iter([900, 900, 1, 5, 3]), "b": iter([900, 900, 20, 20, 10])}
    now, order = [0.0], []

    def work(name: str):
        def run() -> None:
            order.append(name)
            now[0] += next(durations[name]) / 1000

        return run

    found = latencies({name: work(name) for name in durations}, rounds=3, clock=lambda: now[0])
    assert found == pytest.approx({"a": 3, "b": 20})
    assert order == ["a", "b"] * 5


@pytest.mark.parametrize("make", [classifier_bundle, unet_bundle])
def test_the_work_is_the_whole_model(make):
    bundle = make()
    logits = one_film(bundle)()
    assert logits.shape[:2] == (1, len(bundle.labels))


def test_size_is_that_of_the_weights(tmp_path):
    place = save(classifier_bundle(), tmp_path / "toy")
    assert size_on_disk(place) == (place / "weights.safetensors").stat().st_size
