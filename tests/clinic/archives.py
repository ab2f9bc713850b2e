"""Archives for tests: Orthanc where it is installed, and a small DICOMweb server that also misbehaves when told to."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import dcmread
from pydicom.dataset import Dataset

from hilum.clinic.multipart import read_parts

from .helpers import free_port, wait_until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
HAS_ORTHANC = shutil.which("Orthanc") is not None and PLUGIN.exists()


@dataclass
class Orthanc:
    http: int
    dicom: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=30) as answer:
            return json.load(answer)

    def store(self, data: bytes) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/instances", data, method="POST")
        urllib.request.urlopen(request, timeout=30).read()


@contextmanager
def orthanc(folder: Path, **more: Any) -> Iterator[Orthanc]:
    """An empty Orthanc with DICOMweb on free loopback ports; `more` of its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    here = Orthanc(free_port(), free_port())
    configuration = {
        "Name": "TEST",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": here.http,
        "DicomPort": here.dicom,
        "DicomAet": "ORTHANC",
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomCheckCalledAet": False,
        "StableAge": 1,
        "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
        **more,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = (folder / "log").open("wb")
    process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            try:
                return bool(here.get("/system"))
            except OSError:
                return False

        wait_until(answers, 60)
        yield here
    finally:
        process.terminate()
        process.wait(30)
        log.close()


PAGINGS: dict[str, Callable[[int, int], slice]] = {
    "as PS3.18 says": lambda offset, limit: slice(offset, offset + limit),
    "limit counts what is passed over, as Orthanc's": lambda offset, limit: slice(offset, limit),
    "three at most": lambda offset, limit: slice(offset, offset + min(limit, 3)),
    "offset unknown": lambda offset, limit: slice(0, limit),
    "neither known": lambda offset, limit: slice(None),
}


@dataclass
class Small:
    """A DICOMweb server in this process. `mood`: `well`, or how it misbehaves; `stored`: bodies by SOP Instance UID.

    `paging`: what it makes of `limit` and `offset`, see `PAGINGS`; `told`: what a search says of an instance, where its
    body's header does not say it; `sent`: how an instance is sent, where not as it lies."""

    url: str = ""
    mood: str = "well"
    paging: str = "as PS3.18 says"
    stored: dict[str, bytes] = field(default_factory=dict)
    told: dict[str, Dataset] = field(default_factory=dict)
    sent: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)  # matches in each answer to a search


def _json(dataset: Any, *keywords: str) -> dict[str, Any]:
    values = {keyword: dataset[keyword] for keyword in keywords}
    return {f"{v.tag:08X}": {"vr": v.VR, "Value": [str(v.value)]} for v in values.values()}


@contextmanager
def small_archive() -> Iterator[Small]:
    here = Small()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, body: bytes, kind: str, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            steps, query = asked.path.strip("/").split("/"), parse_qs(asked.query)
            match here.mood:
                case "away":
                    return self.answer(b"", "text/plain", 503)
                case "elsewhere":
                    self.send_response(302)
                    self.send_header("Location", "http://127.0.0.1:9/secret")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                case "nonsense":
                    return self.answer(b"<html>", "application/dicom+json")
                case "endless" if "series" in steps or steps == ["studies"]:
                    self.send_response(200)
                    kind = (
                        "application/dicom+json"
                        if steps == ["studies"]
                        else 'multipart/related; boundary="x"'
                    )
                    self.send_header("Content-Type", kind)
                    self.end_headers()
                    try:
                        self.wfile.write(b"--x\r\n\r\n" if "series" in steps else b"[")
                        for _ in range(4096):
                            self.wfile.write(bytes(2**16) if "series" in steps else b" " * 2**16)
                    except OSError:
                        pass
                    self.close_connection = True
                    return None
            sets = {
                uid: here.told[uid] if uid in here.told else dcmread(BytesIO(data))
                for uid, data in here.stored.items()
            }
            if steps[-1] == "studies":
                wanted = [d for d in sets.values() if d.Modality in query["ModalitiesInStudy"]]
                studies = {str(d.StudyInstanceUID): d for d in wanted}
                found = []
                for uid, dataset in studies.items():
                    count = sum(1 for d in sets.values() if d.StudyInstanceUID == uid)
                    entry = {**_json(dataset, "StudyInstanceUID"), "00201208": {"vr": "IS", "Value": [count]}}
                    found.append(entry)
            elif steps[-1] == "instances":
                kept = [d for d in sets.values() if d.StudyInstanceUID == steps[1]]
                found = [
                    _json(d, "SOPInstanceUID", "SOPClassUID", "SeriesInstanceUID", "Modality") for d in kept
                ]
                if here.mood == "traversal":
                    for entry in found:
                        entry["00080018"]["Value"] = ["../../../etc/passwd"]
            else:
                here.fetched.append(steps[-1])
                if steps[-1] in here.sent:
                    return here.sent[steps[-1]](self)
                boundary = secrets.token_hex(8)
                head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
                body = head + here.stored[steps[-1]] + f"\r\n--{boundary}--\r\n".encode()
                body = body[:-200] if here.mood == "cut" else body
                return self.answer(body, f'multipart/related; type="application/dicom"; boundary={boundary}')
            first, most = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["1000"])[0])
            page = found[PAGINGS[here.paging](first, most)]
            here.pages.append(len(page))
            return self.answer(json.dumps(page).encode(), "application/dicom+json")

        def do_POST(self) -> None:
            length = self.headers["Content-Length"]
            body = self.rfile.read(int(length)) if length else _chunks(self.rfile)
            if here.mood == "away":
                return self.answer(b"", "text/plain", 503)
            parts: list[BytesIO] = []

            def begin() -> BytesIO:
                parts.append(BytesIO())
                return parts[-1]

            read_parts(self.headers["Content-Type"], [body], begin, lambda _: None, 2**26)
            for part in parts:
                here.stored[str(dcmread(BytesIO(part.getvalue())).SOPInstanceUID)] = part.getvalue()
            return self.answer(b"{}", "application/dicom+json")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()


def _chunks(stream: Any) -> bytes:
    body = bytearray()
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return bytes(body)
