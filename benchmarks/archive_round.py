"""Films into an archive by storescu, results back in it: from arrival to result, with Orthanc, dcmtk and `hilum watch`.

    python -m benchmarks.archive_round ROOT/nih14/images [--films 200] [--every 2] [--interval 5]

The real film RG1 (pydicom-data) goes first, alone: its time holds the loading of the bundles. Then NIH's JPEGs, written as
digital X-ray images in seven transfer syntaxes by turns, one every `--every` seconds (0: as fast as storescu sends). Orthanc
lies on loopback ports of its own, `hilum watch` looks at it every `--interval` seconds with the built-in bundles and one
worker. A film has arrived when storescu was told so, and has its result when Orthanc has answered the STOW-RS of it. At the
end QIDO-RS says what lies beside each film; ends with 1 where a film lacks its report, or a film that could be analysed its
segmentation or its picture, or where anything lies there twice.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from tests.clinic.archives import HAS_ORTHANC, Orthanc, orthanc
from tests.clinic.helpers import wait_until
from tests.images.films import film, save, save_compressed

from hilum.clinic.dicomweb import Archive
from hilum.clinic.ledger import Deliveries, Ledger, Queue, Worklist

# What dcmtk's storescu must be told to propose so that a film goes as it is.
SYNTAXES = {
    uid.ExplicitVRLittleEndian: "-xe",
    uid.ImplicitVRLittleEndian: "-xi",
    uid.RLELossless: "-xr",
    uid.JPEG2000Lossless: "-xv",
    uid.JPEGLSLossless: "-xt",
    uid.JPEGLosslessSV1: "-xs",
    uid.JPEGBaseline8Bit: "-xy",
}
BESIDE = {"SR", "SEG", "OT", "PR"}  # modalities of the report, the lungs, the picture, the boxes


@dataclass(frozen=True)
class Sent:
    path: Path
    option: str
    sop_uid: str
    study_uid: str


def written(source: Path, number: int, folder: Path) -> Sent:
    """One of the JPEGs as a DICOM film, in the transfer syntax whose turn it is."""
    syntax, option = list(SYNTAXES.items())[number % len(SYNTAXES)]
    with Image.open(source) as opened:
        pixels = np.asarray(opened.convert("L")).astype(np.int64)
    lossy = syntax == uid.JPEGBaseline8Bit
    study = uid.generate_uid(entropy_srcs=[source.stem, "study"])
    dataset = film(
        pixels if lossy else pixels * 16 + 8,
        bits=8 if lossy else 12,
        SOPInstanceUID=uid.generate_uid(entropy_srcs=[source.stem]),
        StudyInstanceUID=study,
        SeriesInstanceUID=uid.generate_uid(entropy_srcs=[source.stem, "series"]),
        PatientID=source.stem,
        BodyPartExamined="CHEST",
        ViewPosition="PA",
    )
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    path = folder / f"{source.stem}.dcm"
    if lossy:
        coded = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(coded, "JPEG", quality=95)
        dataset.PixelData = encapsulate([coded.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)
    elif syntax.is_compressed:
        save_compressed(dataset, path, syntax)
    else:
        save(dataset, path, syntax)
    return Sent(path, option, str(dataset.SOPInstanceUID), str(study))


def store(there: Orthanc, sent: Sent) -> float:
    """Send it; the time at which storescu was told that it has arrived."""
    where = ["-aet", "MODALITY", "-aec", "ORTHANC", "127.0.0.1", str(there.dicom)]
    subprocess.run(
        ["/usr/bin/storescu", "-R", sent.option, *where, str(sent.path)], check=True, capture_output=True
    )
    return time.time()


def delivered(ledger: Ledger) -> dict[str, tuple[float, float, float, float]]:
    """Of each film whose result the archive has: when it was taken in, when its result was made, when it was there, and
    the seconds of its analysis. By SOP Instance UID."""
    there = {row["result_id"]: row["changed"] for row in Deliveries(ledger).all("done", 100_000)}
    found = {}
    for job in Queue(ledger).jobs("done", limit=100_000):
        for result in Queue(ledger).results(job["instance_id"]):
            if result["id"] in there:
                times = job["received"], result["created"], there[result["id"]], result["seconds"]
                found[job["sop_uid"]] = times
    return found


def told(name: str, seconds: list[float]) -> None:
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    print(f"{name:42s} p50 {p50:6.2f} s   p95 {p95:6.2f} s   longest {max(seconds):6.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two films")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two looks of the watch")
    options = parser.parse_args()
    if not HAS_ORTHANC:
        sys.exit("Orthanc is not installed (Debian: orthanc, orthanc-dicomweb, dcmtk)")
    names = sorted(options.images.glob("*.jpg"))
    names = [names[i] for i in np.linspace(0, len(names) - 1, options.films).astype(int)]
    with tempfile.TemporaryDirectory() as place, orthanc(Path(place) / "orthanc") as there:
        folder = Path(place) / "films"
        folder.mkdir()
        films = [written(name, number, folder) for number, name in enumerate(names)]
        real = Path(str(get_testdata_file("RG1_UNCR.dcm")))
        head = dcmread(real, stop_before_pixels=True)
        first = Sent(real, "-xe", str(head.SOPInstanceUID), str(head.StudyInstanceUID))
        root = Path(place) / "store"
        command = ["watch", there.url, "--store", str(root), "--since", "all"]
        hilum = [sys.executable, "-c", "from hilum.cli import main; main()"]
        watch = subprocess.Popen([*hilum, *command, "--interval", str(options.interval)])
        try:
            wait_until((root / "ledger.sqlite3").exists, 300)
            ledger = Ledger.open(root / "ledger.sqlite3")
            arrived = {first.sop_uid: store(there, first)}
            wait_until(lambda: first.sop_uid in delivered(ledger), 600)
            began = time.time()
            for number, each in enumerate(films):
                time.sleep(max(0.0, began + number * options.every - time.time()))
                arrived[each.sop_uid] = store(there, each)
            sending = time.time() - began
            wait_until(lambda: len(delivered(ledger)) == len(arrived), 900)
        finally:
            watch.terminate()
            watch.wait(60)
        whole = report(there, ledger, [first, *films], arrived, sending)
    sys.exit(int(not whole))


def report(
    there: Orthanc, ledger: Ledger, films: list[Sent], arrived: dict[str, float], sending: float
) -> bool:
    """Print times and what lies in the archive; is it whole?"""
    times = delivered(ledger)
    alone = times[films[0].sop_uid]
    print(
        f"RG1, the first film, its time with the loading of the bundles: {alone[2] - arrived[films[0].sop_uid]:.1f} s"
    )
    rest = [(arrived[each.sop_uid], *times[each.sop_uid]) for each in films[1:]]
    span = max(t[3] for t in rest) - min(t[0] for t in rest)
    print(f"{len(rest)} films sent within {sending:.0f} s, the last result {span:.0f} s after the first film")
    told("arrival to result in the archive", [t[3] - t[0] for t in rest])
    told("  arrival to taken in by the watch", [t[1] - t[0] for t in rest])
    told("  taken in to result made", [t[2] - t[1] for t in rest])
    told("    of that the analysis, without its files", [t[4] for t in rest])
    told("  result made to result in the archive", [t[3] - t[2] for t in rest])
    analysable = {
        row["sop_uid"]: row["result"]["summary"]["analysable"] for row in pages(ledger) if row["result"]
    }
    beside: Counter[str] = Counter()
    whole, archive = True, Archive(there.url)
    for each in films:
        kinds = Counter(found.modality or "?" for found in archive.instances(each.study_uid))
        beside.update(kinds)
        must = {"SR", "SEG", "OT"} if analysable[each.sop_uid] else {"SR"}
        whole &= all(kinds[kind] == 1 for kind in must) and max(kinds[kind] for kind in BESIDE) == 1
    print(f"found by QIDO-RS in {len(films)} studies: {dict(beside)}; {sum(analysable.values())} analysable")
    return whole


def pages(ledger: Ledger) -> list[dict[str, object]]:
    """All films of the worklist."""
    found, before = [], None
    while page := Worklist(ledger).films(limit=500, before=before):
        found += page
        before = page[-1]["id"]
    return found


if __name__ == "__main__":
    main()
