"""Health, metrics and drift."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

from hilum.bundles.reference import Distribution, Reference
from hilum.clinic.ledger import Instances, Ledger, Queue
from hilum.clinic.ledger.queue import Made, reference_name
from hilum.service import drift
from hilum.service.desk import Desk
from hilum.service.drift import Drift, Index, drifts, psi
from hilum.service.metrics import exposition
from tests.clinic.helpers import BUNDLES, facts

LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? -?[0-9.e+-]+')


def test_metrics_are_what_prometheus_reads(api: TestClient, desk: Desk, film: int) -> None:
    api.get("/no/such/path")
    lines = api.get("/metrics").text.splitlines()
    values = [line for line in lines if not line.startswith("#")]
    assert all(LINE.fullmatch(line) for line in values), [x for x in values if not LINE.fullmatch(x)]
    found = dict(line.rsplit(" ", 1) for line in values)
    assert len(found) == len(values), "each is there once"
    assert float(found['hilum_jobs{state="done"}']) == desk.queue.counts()["done"]
    buckets = [float(v) for k, v in found.items() if k.startswith("hilum_analysis_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == float(found["hilum_analysis_seconds_count"]) >= 1
    assert float(found["hilum_turnaround_seconds_sum"]) > 0
    assert 'route="none",status="404"' in "".join(found)
    assert "hilum_drift_films" in "".join(found)
    assert "/no/such" not in "".join(found)


def test_psi_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    then, now = rng.random(500), rng.random(300) ** 2
    edges = np.quantile(then, np.arange(1, 10) / 10)
    total = 0.0
    for low, high in zip([-math.inf, *edges], [*edges, math.inf], strict=True):
        p = (sum(low <= v < high for v in then) + 0.5) / (500 + 5)
        q = (sum(low <= v < high for v in now) + 0.5) / (300 + 5)
        total += (q - p) * math.log(q / p)
    known = Distribution.of(then)
    assert psi(known, now) == pytest.approx(total)
    assert psi(known, then) == pytest.approx(0)
    assert psi(known, rng.random(500)) < 0.1 < 0.25 < psi(known, now)
    assert psi(Distribution.of([0.5] * 9), [0.5] * 9) == 0
    with pytest.raises(ValueError):
        psi(known, [])


@pytest.fixture
def read_films(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Ledger, Callable[[int, float], None]]]:
    """A ledger, and what adds a film with a score to it; 8 films are enough for a drift, of which 4 are the fewest."""
    monkeypatch.setattr(drift, "FILMS", 8)
    monkeypatch.setattr(drift, "FEWEST", 4)
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    queue, instances = Queue(ledger), Instances(ledger)

    def film(number: int, score: float) -> None:
        instances.admit(facts(number), "f" * 64, 1, "cli", "me")
        claim = queue.claim("w")
        assert claim is not None
        finding = {"name": "Mass", "bundle": "b", "probability": score, "positive": False}
        summary = {"findings": [finding], "pixels": {"mean": 0.5}}
        queue.finish(claim, Made(BUNDLES, f"f{number}", {}, summary))

    yield ledger, film
    ledger.close()


def test_without_a_reference_drift_is_of_the_last_films_against_the_first(read_films) -> None:
    ledger, film = read_films
    assert drifts(ledger) == []
    for number in range(10):
        film(number, number / 20)
    assert drifts(ledger) == [Drift("b", "first films", 8, 2)]
    for number in range(10, 18):
        film(number, 0.9)
    (found,) = drifts(ledger)
    assert (found.against, found.reference, found.recent) == ("first films", 8, 8)
    by_name = {(i.kind, i.name): i.psi for i in found.indices}
    assert by_name[("score", "Mass")] > 0.25
    assert by_name[("pixels", "mean")] == 0


def test_drift_is_against_the_reference_that_a_bundle_carries(read_films) -> None:
    ledger, film = read_films
    scores = Distribution.of(list(np.linspace(0, 1, 300)))
    known = Reference(note="validation films", films=300, scores={"Mass": scores}, pixels={})
    ledger.set(reference_name(BUNDLES), {"b": known.model_dump(mode="json")})
    for number in range(3):
        film(number, 0.9)
    assert drifts(ledger) == [Drift("b", "bundle", 300, 3)], "too few, and no first films are waited for"
    film(3, 0.9)
    (found,) = drifts(ledger)
    assert (found.against, found.reference, found.recent) == ("bundle", 300, 4)
    assert found.indices == (Index("score", "Mass", psi(scores, [0.9] * 4)),)
    text = exposition(ledger, {})
    assert 'hilum_drift_films{bundle="b",against="bundle",side="reference"} 300' in text
    assert f'hilum_drift_psi{{kind="score",bundle="b",name="Mass"}} {found.indices[0].psi}' in text
