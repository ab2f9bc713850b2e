"""`hilum queue`, `watch`, `node` and `worker`: what they print, and how they end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hilum.bundles import save
from hilum.cli import app
from hilum.clinic import analysing
from hilum.errors import ClinicError, HilumError
from tests.bundles_for_tests import classifier_bundle
from tests.clinic.archives import small_archive
from tests.clinic.helpers import a_film


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, HilumError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def test_a_film_through_the_queue(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name, data in {"a": a_film(0), "b": a_film(0, pixels=1), "c": b"no film"}.items():
        (tmp_path / f"{name}.dcm").write_bytes(data)
    films = [tmp_path / f"{name}.dcm" for name in "abc"]
    assert "the queue is empty" in run("queue", "list", "--store", store)
    said = run("queue", "add", *films, "--store", store, "--json", code=1)
    assert [json.loads(line)["kind"] for line in said.splitlines()] == ["queued", "conflict", "refused"]
    assert run("queue", "list", "--store", store).startswith("1 queued, 1 held\n")
    run("queue", "release", 2, "--store", store)
    with pytest.raises(ClinicError, match="job 2 is queued"):
        run("queue", "retry", 2, "--store", store)
    listed = json.loads(run("queue", "list", "--store", store, "--state", "queued", "--json"))
    assert [job["id"] for job in listed["jobs"]] == [2, 1]
    events = [json.loads(line)["event"] for line in run("queue", "trail", "--store", store).splitlines()]
    assert events == ["received", "conflict", "refused", "released"]
    last = run("queue", "trail", "--store", store, "--format", "xml").splitlines()[-1]
    assert last.startswith("<AuditMessage>")
    assert "110101" in last, "reading the trail is in the trail"
    for wrong in (("list", "--state", "odd"), ("trail", "--format", "csv")):
        run("queue", *wrong, "--store", store, code=2)


def test_watch_once_and_worker_once(tmp_path: Path) -> None:
    bundle = save(classifier_bundle(), tmp_path / "toy")
    store = tmp_path / "store"
    with small_archive() as archive:
        archive.stored["1.2.3.1"] = a_film(0)
        ways = (archive.url, "--store", store, "--once", "--since", "all", "--workers", 0)
        assert run("watch", *ways).strip() == "1 new studies; 1 queued"
        assert run("watch", *ways, "--study", "1.2.4.1").strip() == "0 new studies; no new films"
    run("worker", "--store", store, "--once", "--bundle", bundle, "--samples", 0)
    counts = json.loads(run("queue", "list", "--store", store, "--json"))["counts"]
    assert counts["done"] == 1
    run("watch", "http://127.0.0.1:1", "--store", store, "--since", "yesterday", code=2)
    with pytest.raises(ClinicError, match="cannot be reached"):
        run("watch", "http://127.0.0.1:1", "--store", store, "--once")


def test_wrong_addresses_are_said_before_anything_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ClinicError, match="anyone"):
        run("node", "--store", tmp_path, "--host", "0.0.0.0")
    with pytest.raises(ClinicError, match=r"no archive's address|no DICOM results"):
        run("worker", "--store", tmp_path, "--once", "--deliver", "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(ClinicError, match="cannot be made"):
        run("worker", "--store", tmp_path / "file" / "store", "--once")


def test_nothing_is_promised_that_cannot_be_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where highdicom is not installed."""
    monkeypatch.setattr(analysing, "dicom_writer", lambda: None)
    with pytest.raises(ClinicError, match="no DICOM results"):
        run("worker", "--store", tmp_path, "--once", "--deliver", "http://127.0.0.1:1")


def test_the_node_stops_when_it_is_told_to(tmp_path: Path) -> None:
    node = subprocess.Popen(
        [sys.executable, "-c", "from hilum.cli import main; main()", "node", "--store", str(tmp_path / "s"),
         "--port", "0", "--workers", "0"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert node.stdout is not None
    assert re.fullmatch(r"HILUM listens on 127.0.0.1:\d+\n", node.stdout.readline())
    node.send_signal(signal.SIGTERM)
    assert node.wait(60) == 0
    events = [
        json.loads(line)["event"] for line in run("queue", "trail", "--store", tmp_path / "s").splitlines()
    ]
    assert events == ["started", "stopped"]
