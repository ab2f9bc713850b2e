"""Twenty clients at once: no error, and one result of each film. `benchmarks.many_clients` in short form."""

from __future__ import annotations

import os
import threading

from benchmarks.many_clients import go_round_together, memory

from hilum.clinic.ledger import Queue
from hilum.clinic.worker import Worker
from hilum.service.app import create_app
from hilum.service.server import Server
from tests.clinic.helpers import StandIn, a_film

from .conftest import make_secrets, open_desk

CLIENTS, ROUNDS = 20, 3


def test_twenty_clients_at_once_have_no_error() -> None:
    with open_desk() as desk, Worker(desk.store, desk.ledger, StandIn()) as worker:
        server, stop = Server(create_app(desk), "127.0.0.1", 0), threading.Event()
        working = threading.Thread(target=worker.run, args=(stop,))
        working.start()
        answers = go_round_together(
            server.start(),
            make_secrets(desk)["all"],
            CLIENTS,
            lambda own, done: a_film(10_000 + 100 * own + done),
            lambda done: done < ROUNDS,
        )
        stop.set()
        working.join()
        server.stop()
        assert [fault for each in answers for fault in each.faults] == []
        assert [each.films for each in answers] == [ROUNDS] * CLIENTS
        jobs = Queue(desk.ledger).jobs(limit=1000)
        assert len(jobs) == len({job["sop_uid"] for job in jobs}) == CLIENTS * ROUNDS
        assert all(len(desk.queue.results(job["instance_id"])) == 1 for job in jobs)


def test_memory_is_that_of_a_process_and_what_it_started() -> None:
    assert memory(os.getpid()) > 10 * 2**20
