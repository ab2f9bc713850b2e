"""`hilum serve` as a user starts it: a process, a token, a real film, its results."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from typer.testing import CliRunner

from hilum.cli import app
from tests.clinic.helpers import wait_until


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_tokens_by_command(tmp_path: Path) -> None:
    store = tmp_path / "clinic"
    made = run("serve", "token", "make", "anna", "--store", store, "--scope", "read", "--scope", "review")
    assert made.exit_code == 0
    secret = made.output.strip()
    assert secret.startswith("hilum_")
    assert secret.encode() not in (store / "ledger.sqlite3").read_bytes()
    listed = run("serve", "token", "list", "--store", store).output
    assert re.match(r"anna  read review  until \d{4}-", listed)
    assert secret not in listed
    (told,) = json.loads(run("serve", "token", "list", "--store", store, "--json").output)
    assert told["scopes"] == ["read", "review"]
    assert "hash" not in told
    assert run("serve", "token", "revoke", "anna", "--store", store).exit_code == 0
    assert "revoked" in run("serve", "token", "list", "--store", store).output


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--host", "0.0.0.0"], "in the clear"),
        (["--tls-cert", "cert.pem"], "both"),
        (["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--workers", "0"], "certificate"),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path: Path, words: list[str], fault: str) -> None:
    result = run("serve", "--store", tmp_path / "clinic", *words)
    assert result.exit_code != 0
    assert fault in f"{result.output} {result.exception}"


@pytest.mark.slow
def test_from_upload_to_results(tmp_path: Path) -> None:
    store = tmp_path / "clinic"
    secret = run(
        "serve", "token", "make", "me", "--store", store, "--scope", "submit", "--scope", "read"
    ).output.strip()
    command = [
        sys.executable,
        "-c",
        "from hilum.cli import main; main()",
        "serve",
        "--store",
        str(store),
        "--port",
        "0",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--samples", "2"], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        try:
            assert process.stdout is not None
            base = re.search(r"http://\S+", process.stdout.readline())
            assert base is not None

            def call(path: str, data: bytes | None = None) -> bytes:
                headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/dicom"}
                asked = urllib.request.Request(f"{base[0]}/api/v1/films{path}", data, headers)
                with urllib.request.urlopen(asked, timeout=60) as answer:
                    content: bytes = answer.read()
                    return content

            film = Path(str(get_testdata_file("RG1_UNCR.dcm"))).read_bytes()
            number = json.loads(call("", film))["films"][0]["id"]
            wait_until(lambda: json.loads(call(f"/{number}"))["state"] == "done", 120)
            told = json.loads(call(f"/{number}"))
            assert told["analysable"]
            assert told["results"] == ["sr", "seg", "sc", "gsps"]
            assert call(f"/{number}/results/sr.dcm")[128:132] == b"DICM"
            assert b"Research use only" in call(f"/{number}/report.html")
            assert json.loads(call("", film))["films"][0]["kind"] == "known"
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
