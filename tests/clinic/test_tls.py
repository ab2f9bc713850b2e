"""C-STORE by TLS: into the node by pynetdicom's and dcmtk's senders, out of it as deliveries, and whom it does not hear."""

from __future__ import annotations

import io
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE

from hilum.clinic.deliver import Target
from hilum.clinic.intake import Intake
from hilum.clinic.node import Node
from hilum.clinic.node_server import Bounds
from hilum.clinic.tls import of_a_node
from hilum.errors import ClinicError
from tests.cli.test_cli import run

from .helpers import a_film, wait_until
from .test_node import denied

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="there is no openssl to make certificates"
)


@dataclass(frozen=True)
class Papers:
    """PEM files: an authority, and a certificate with its key that it signed for this host."""

    authority: Path
    cert: Path
    key: Path


def make_papers(folder: Path) -> Papers:
    folder.mkdir()

    def openssl(*words: object) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 2)
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=A hospital")
    openssl("req", *new, "-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=127.0.0.1")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "own.csr", "-days", 2, *signed, "-out", "own.pem")
    return Papers(folder / "ca.pem", folder / "own.pem", folder / "own.key")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return make_papers(tmp_path_factory.mktemp("papers") / "one")


@contextmanager
def node(intake: Intake, papers: Papers, clients: Path | None = None) -> Iterator[Node]:
    bounds = Bounds(pdu_seconds=1.0, connections=3)
    door = Node(intake, port=0, bounds=bounds, tls=of_a_node(papers.cert, papers.key, clients))
    door.port = door.start()
    yield door
    door.stop()


def sender(papers: Papers, own: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=papers.authority)
    if own:
        context.load_cert_chain(papers.cert, papers.key)
    return context


def send(port: int, seed: int, tls: ssl.SSLContext | None) -> int | None:
    """The status of a C-STORE, or None where there was no association."""
    dataset = dcmread(io.BytesIO(a_film(seed)))
    entity = AE(ae_title="XRAY")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    secured = (tls, "127.0.0.1") if tls is not None else None
    association = entity.associate("127.0.0.1", port, ae_title="HILUM", tls_args=secured)
    if not association.is_established:
        return None
    status = association.send_c_store(dataset).get("Status")
    association.release()
    return status


def test_films_come_by_tls_and_nothing_comes_without(intake: Intake, papers: Papers) -> None:
    with node(intake, papers) as door:
        assert send(door.port, 400, sender(papers)) == 0x0000
        assert intake.instances.by_uid("1.2.3.401")
        assert send(door.port, 401, None) is None
        assert not intake.instances.by_uid("1.2.3.402")
        wait_until(lambda: ("127.0.0.1", "its connection broke while it was set up") in denied(door))


def test_only_senders_with_a_certificate_of_the_hospital_are_heard(
    intake: Intake, papers: Papers, tmp_path: Path
) -> None:
    stranger = make_papers(tmp_path / "stranger")
    theirs = sender(papers)
    theirs.load_cert_chain(stranger.cert, stranger.key)
    with node(intake, papers, clients=papers.authority) as door:
        assert send(door.port, 410, sender(papers)) is None
        assert send(door.port, 410, theirs) is None
        assert not intake.instances.by_uid("1.2.3.411")
        assert send(door.port, 410, sender(papers, own=True)) == 0x0000


def test_who_is_slow_to_shake_hands_keeps_no_one_waiting_and_is_hung_up_on(
    intake: Intake, papers: Papers
) -> None:
    with node(intake, papers) as door, socket.create_connection(("127.0.0.1", door.port)) as slow:
        assert send(door.port, 420, sender(papers)) == 0x0000
        slow.settimeout(20)
        assert slow.recv(1) == b"", "it says nothing, and is closed after the time of a PDU"
        peers = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(6)]
        wait_until(lambda: ("127.0.0.1", "3 connections are open") in denied(door))
        for peer in peers:
            peer.close()
        wait_until(lambda: send(door.port, 421, sender(papers)) == 0x0000)


def test_results_are_sent_by_tls(
    intake: Intake, papers: Papers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(a_film(430))
    with node(intake, papers, clients=papers.authority) as door:
        target = Target(f"dicoms://HILUM@127.0.0.1:{door.port}")
        with pytest.raises(ClinicError, match="does not take a connection"):
            target.send([film])  # the authority is not known
        monkeypatch.setenv("HILUM_ARCHIVE_CA", str(papers.authority))
        monkeypatch.setenv("HILUM_ARCHIVE_CERT", str(papers.cert))
        monkeypatch.setenv("HILUM_ARCHIVE_KEY", str(papers.key))
        target.send([film])
        assert intake.instances.by_uid("1.2.3.431")
        monkeypatch.setenv("HILUM_ARCHIVE_CERT", str(tmp_path / "none.pem"))
        with pytest.raises(ClinicError, match="certificate cannot be loaded"):
            target.send([film])


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed (Debian: dcmtk)")
def test_dcmtk_sends_by_tls(intake: Intake, papers: Papers, tmp_path: Path) -> None:
    film = tmp_path / "film.dcm"
    film.write_bytes(a_film(440))
    with node(intake, papers) as door:
        trusted = ["+tla", "+cf", str(papers.authority)]
        sent = subprocess.run(
            ["storescu", *trusted, "-aec", "HILUM", "127.0.0.1", str(door.port), str(film)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr
        assert intake.instances.by_uid("1.2.3.441")


def test_certificates_that_are_none_are_said(tmp_path: Path) -> None:
    paper = tmp_path / "cert.pem"
    paper.write_text("no certificate")
    with pytest.raises(ClinicError, match="certificate cannot be loaded"):
        of_a_node(paper, paper)
    with pytest.raises(ClinicError, match="certificate cannot be loaded"):
        of_a_node(tmp_path / "none", tmp_path / "none")
    for words in (["--tls-cert", paper], ["--tls-clients", paper]):
        code, said = run("node", "--store", tmp_path / "clinic", "--workers", 0, *words)
        assert (code, "both --tls-cert" in said) == (2, True), said
