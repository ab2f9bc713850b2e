"""The node over real sockets: by pynetdicom's sender, by dcmtk's, and by peers that do what they must not (HAZARDS B, E)."""

from __future__ import annotations

import errno
import io
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from hilum.clinic.intake import Intake
from hilum.clinic.ledger import Trail
from hilum.clinic.node import Node, Peer
from hilum.clinic.node_server import Bounds
from hilum.errors import ClinicError
from hilum.images.dicom_decode import NATIVE, PLUGINS

from .helpers import a_film, files_under, wait_until

TIGHT = replace(Bounds(), film=2**20, connections=4, pdu_seconds=1.0, idle_seconds=1.5)


@pytest.fixture(scope="module")
def node(intake: Intake) -> Iterator[Node]:
    door = Node(
        intake, [Peer.of("XRAY@127.0.0.1"), Peer.of("FAR@10.0.0.0/8"), Peer.of("ANY")], port=0, bounds=TIGHT
    )
    door.port = door.start()
    yield door
    door.stop()


def send(
    node: Node, data: bytes, calling: str = "XRAY", called: str = "HILUM", syntax: uid.UID | None = None
) -> Dataset:
    """The answer to a C-STORE; an empty one where there was no association or no answer."""
    dataset = dcmread(io.BytesIO(data))
    entity = AE(ae_title=calling)
    entity.add_requested_context(dataset.SOPClassUID, syntax or dataset.file_meta.TransferSyntaxUID)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
    association = entity.associate("127.0.0.1", node.port, ae_title=called)
    if not association.is_established:
        return Dataset()
    try:
        return association.send_c_store(dataset)
    finally:
        association.release()


def denied(node: Node) -> list[tuple[str, str]]:
    return [(e.who, e.what["reason"]) for e in Trail(node.intake.ledger).entries() if e.event == "denied"]


def test_success_means_that_the_film_is_safe(node: Node) -> None:
    assert send(node, a_film(1)).Status == 0x0000
    (row,) = node.intake.instances.by_uid("1.2.3.2")
    assert (row["door"], row["sender"]) == ("node", "XRAY@127.0.0.1")
    kept = dcmread(node.intake.store.film(row["file"]))
    assert kept.SOPInstanceUID == "1.2.3.2"
    assert kept.PixelData == dcmread(io.BytesIO(a_film(1))).PixelData
    assert send(node, a_film(1)).Status == 0x0000, "47: the same again is no fault"
    assert send(node, a_film(1, pixels=1)).Status == 0x0000, "48: a conflict is kept"
    assert len(node.intake.instances.by_uid("1.2.3.2")) == 2


def test_every_syntax_that_is_read_is_taken(node: Node) -> None:
    entity = AE(ae_title="XRAY")
    syntaxes = [*NATIVE, *PLUGINS]
    for syntax in syntaxes:
        entity.add_requested_context(uid.DigitalXRayImageStorageForPresentation, syntax)
    association = entity.associate("127.0.0.1", node.port, ae_title="HILUM")
    assert {context.transfer_syntax[0] for context in association.accepted_contexts} == set(syntaxes)
    association.release()
    for seed, syntax in enumerate((uid.JPEG2000Lossless, uid.RLELossless, uid.JPEGLSLossless), 10):
        assert send(node, a_film(seed, syntax=syntax)).Status == 0x0000


def test_a_bad_film_is_refused_with_its_reason_and_nothing_of_it_is_kept(node: Node) -> None:
    before = files_under(node.intake.store.films)
    answer = send(node, a_film(20, Rows=0))
    assert answer.Status == 0xC000
    assert answer.ErrorComment == "its header gives 0 rows and 64 columns"
    assert files_under(node.intake.store.films) == before
    refused = [entry for entry in Trail(node.intake.ledger).entries() if entry.event == "refused"][-1]
    assert refused.what["instance"] == "1.2.3.21", "the trail says which film it was"


def test_a_full_disk_is_out_of_resources(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert send(node, a_film(30)).Status == 0xA700
    assert not node.intake.instances.by_uid("1.2.3.31")
    assert send(node, a_film(30)).Status == 0x0000


def test_unknown_titles_are_refused_and_audited(node: Node) -> None:
    assert "Status" not in send(node, a_film(40), calling="MALLORY")
    assert "Status" not in send(node, a_film(40), called="OTHER")
    assert send(node, a_film(40), calling="FAR").Status == 0x0124, "a known title from elsewhere"
    assert send(node, a_film(41), calling="ANY").Status == 0x0000
    assert not node.intake.instances.by_uid("1.2.3.41")
    assert [(who.split("@")[0], reason) for who, reason in denied(node)][-3:] == [
        ("MALLORY", "its AE title is not known"),
        ("XRAY", "it called another AE title"),
        ("FAR", "this AE title may not send from this address"),
    ]


def test_echo_is_answered(node: Node) -> None:
    for calling, status in (("XRAY", 0x0000), ("FAR", 0x0124)):
        entity = AE(ae_title=calling)
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", node.port, ae_title="HILUM")
        assert association.send_c_echo().Status == status
        association.release()


def test_other_objects_are_not_negotiated(node: Node) -> None:
    assert "Status" not in send(node, a_film(50, SOPClassUID=uid.CTImageStorage))


def connect(node: Node) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", node.port))
    peer.settimeout(20)
    return peer


def closed(peer: socket.socket) -> bool:
    """Did the other side end it, whatever it said before?"""
    try:
        while peer.recv(4096):
            pass
    except ConnectionError:
        return True
    return True


def test_25_a_pdu_of_2_gib_is_not_waited_for(node: Node) -> None:
    with connect(node) as peer:
        peer.sendall(struct.pack(">BBL", 1, 0, 2**31 - 1) + bytes(1000))
        assert closed(peer)
        assert send(node, a_film(61)).Status == 0x0000, "what was announced keeps no room from others"
    wait_until(lambda: any("announced a PDU of 2,147,483,647" in reason for _, reason in denied(node)))


def test_26_27_idle_and_dripping_peers_are_hung_up_on(node: Node) -> None:
    started = time.monotonic()
    with connect(node) as idle, connect(node) as slow:
        slow.sendall(struct.pack(">BBL", 1, 0, 500))
        try:
            for _ in range(100):
                slow.sendall(b"x")
                time.sleep(0.1)
        except ConnectionError:
            pass
        else:
            pytest.fail("a byte each 0.1 s went on for 10 s")
        assert closed(idle)
    assert time.monotonic() - started < 60


def test_29_a_flood_of_connections_is_bounded_and_the_node_lives(node: Node) -> None:
    started = time.monotonic()
    peers = [connect(node) for _ in range(30)]
    time.sleep(0.2)
    assert node._server is not None
    assert len(node._server.active_associations) <= TIGHT.connections
    for peer in peers:
        peer.close()
    wait_until(lambda: not node._server.active_associations)  # type: ignore[union-attr]
    assert send(node, a_film(60)).Status == 0x0000
    told = [1 for _, reason in denied(node) if reason == "4 connections are open"]
    assert 1 <= len(told) <= 2 + time.monotonic() - started, "once a second at most"


def test_a_film_past_the_limit_is_cut_off(node: Node) -> None:
    big = dcmread(io.BytesIO(a_film(70)))
    big.Rows, big.Columns, big.PixelData = 2000, 2000, bytes(8_000_000)
    file = io.BytesIO()
    big.save_as(file)
    assert "Status" not in send(node, file.getvalue())
    assert not node.intake.instances.by_uid("1.2.3.71")
    wait_until(lambda: any("larger than 1,048,576 bytes" in reason for _, reason in denied(node)))
    assert send(node, a_film(71)).Status == 0x0000


def test_other_addresses_are_hung_up_on_unread(intake: Intake) -> None:
    door = Node(intake, [Peer.of("XRAY@10.0.0.0/8")], port=0)
    door.port = door.start()
    assert "Status" not in send(door, a_film(80))
    wait_until(lambda: ("127.0.0.1", "its address is not allowed") in denied(door))
    door.stop()


def test_what_would_take_films_from_anyone_does_not_start(intake: Intake) -> None:
    with pytest.raises(ClinicError, match="anyone"):
        Node(intake, host="0.0.0.0")
    for text in ("", "A" * 17, "A@nowhere", "A\\B"):
        with pytest.raises(ClinicError):
            Peer.of(text)
    taken = Node(intake, port=0)
    port = taken.start()
    with pytest.raises(ClinicError, match="cannot be listened on"):
        Node(intake, port=port).start()
    taken.stop()


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed (Debian: dcmtk)")
def test_dcmtk_sends_a_folder(node: Node, tmp_path: Path) -> None:
    films = []
    for seed in range(90, 95):
        films.append(tmp_path / f"{seed}.dcm")
        films[-1].write_bytes(a_film(seed))
    sent = subprocess.run(
        ["storescu", "-aet", "XRAY", "-aec", "HILUM", "127.0.0.1", str(node.port), *map(str, films)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert all(node.intake.instances.by_uid(f"1.2.3.{seed + 1}") for seed in range(90, 95))
    refused = subprocess.run(
        ["storescu", "-aet", "MALLORY", "-aec", "HILUM", "127.0.0.1", str(node.port), str(films[0])],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert refused.returncode != 0
