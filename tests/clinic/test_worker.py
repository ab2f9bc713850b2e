"""The worker: results appear whole, a film that breaks its process costs itself, and the real analyzer runs behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilum.bundles import save
from hilum.clinic.analysing import Analysing
from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Ledger, Queue
from hilum.clinic.store import Store
from hilum.clinic.worker import Worker
from hilum.errors import BundleError
from tests.bundles_for_tests import classifier_bundle
from tests.phantom import phantom

from .helpers import StandIn, a_film, facts, files_under, film_of


@pytest.fixture(scope="module")
def worker(intake: Intake) -> Iterator[Worker]:
    with Worker(intake.store, intake.ledger, StandIn(), timeout=3.0, memory=2**29) as opened:
        yield opened


def done(worker: Worker) -> None:
    assert worker.run(threading.Event(), until_empty=True) >= 1
    assert not files_under(worker.store.work)


def test_a_result_is_there_whole(intake: Intake, worker: Worker) -> None:
    outcome = intake.accept([a_film(1)], "cli", "me")
    done(worker)
    queue = Queue(intake.ledger)
    assert (queue.job(outcome.job_id or 0) or {})["state"] == "done"
    (result,) = queue.results(outcome.instance_id or 0)
    folder = intake.store.result(result["folder"])
    assert json.loads((folder / result["files"]["json"]).read_text()) == {"findings": []}
    queue.retry(outcome.job_id or 0, "me")
    done(worker)
    assert len(queue.results(outcome.instance_id or 0)) == 1
    assert len(files_under(intake.store.results)) == 1, "what came second was removed"


@pytest.mark.parametrize(
    ("uid", "attempts", "words"),
    [("9.666", 3, "exit code 9"), ("9.667", 3, "longer than 3 seconds"), ("9.668", 1, "MemoryError")],
)
def test_a_film_that_breaks_its_process_costs_itself(
    intake: Intake, worker: Worker, uid: str, attempts: int, words: str
) -> None:
    seed = 10 + int(uid[-1])
    bad = intake.accept([a_film(seed, SOPInstanceUID=uid)], "cli", "me")
    good = intake.accept([a_film(seed + 10)], "cli", "me")
    done(worker)
    queue = Queue(intake.ledger)
    job = queue.job(bad.job_id or 0) or {}
    assert (job["state"], job["attempts"]) == ("failed", attempts)
    assert words in job["reason"]
    assert len(queue.results(good.instance_id or 0)) == 1


def test_a_film_that_is_gone_is_a_failure(intake: Intake, worker: Worker) -> None:
    gone = worker.store, intake.instances.admit(facts(40), "e" * 64, 1, "cli", "me")
    done(worker)
    assert "not in the store" in (Queue(intake.ledger).job(gone[1].job_id) or {})["reason"]


def test_a_worker_without_its_bundle_says_so_and_gives_the_job_back(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    store = Store(tmp_path / "store", reserve=0)
    with store.receiving() as part:
        part.write(b"film")
        part.close()
        store.keep(part)
    Worker(store, ledger, StandIn()).close()
    from hilum.clinic.ledger import Instances

    Instances(ledger).admit(facts(), part.digest, 4, "cli", "me")
    with (
        Worker(store, ledger, Analysing(("no-such-bundle",))) as worker,
        pytest.raises(BundleError, match="no such"),
    ):
        worker.one()
    (job,) = Queue(ledger).jobs("queued")
    assert job["attempts"] == 0
    ledger.close()


def test_the_real_analyzer_reads_a_film_behind_it(intake: Intake, tmp_path: Path) -> None:
    bundle = save(classifier_bundle(), tmp_path / "toy")
    pixels = np.rint(phantom(0, 160, 144).pixels * 4095).astype(np.int64)
    outcome = intake.accept([film_of(pixels, 60)], "cli", "me")
    with Worker(intake.store, intake.ledger, Analysing((str(bundle),), samples=2, threads=1)) as worker:
        done(worker)
    (result,) = Queue(intake.ledger).results(outcome.instance_id or 0)
    assert set(result["files"]) >= {"json", "html", "overlay", "dicom"}
    assert [f["name"] for f in result["summary"]["findings"]] or result["summary"]["reason"]
    folder = intake.store.result(result["folder"])
    report = json.loads((folder / "report.json").read_text())
    assert report["source"]["path"] == outcome.sop_uid
    assert report["source"]["headers"]["SOPInstanceUID"] == outcome.sop_uid
    for path in files_under(folder):
        assert str(intake.store.root).encode() not in path.read_bytes(), path.name
