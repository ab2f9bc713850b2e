"""From DICOM files to scores: `hilum analyze` beside torchxrayvision, a plain PyTorch and pydicom loop, and MONAI.

    python -m benchmarks.film_to_scores [--films 200] [--peer-films 40] [--jobs 2] [--monai FOLDER] [--work FOLDER] ...

The films: 2,048 pixels a side, 12 bits, half of them JPEG 2000 lossless, the others uncompressed, made of real ones
(HILUM_DATA; phantoms without it), enlarged, with noise that brings the streams to about 5 bits a pixel (the real film RG1,
of 15 bits, has 9.5). `DISTINCT` are made and the others are links to them. The network is the same for all:
torchxrayvision's DenseNet121 at 224 pixels with random weights, which cost what trained ones do; Hilum runs it imported, in
torch, in OpenVINO and as INT8, and the built-in lungs in the same form, as `hilum bundle tune` chooses on this kind of
machine. Each program runs in processes of its own and may use all cores; peers are timed without their start, Hilum with and
without. Hilum's command does more than the others: quality gate, lungs (a U-Net beside the DenseNet), a report of each film
on disk.

Printed: processor milliseconds a film, which repeat where other programs take their share of the machine, films a second
by the clock on the wall, the ratio of each of Hilum's to each peer by both, share of the cores in use, milliseconds of one
film alone, and what the work costs at least here: bytes to decode and operations to do, measured on one core. MONAI is
optional: `pip install --no-deps --target FOLDER monai`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from benchmarks.figures import Figure, tell
from pydicom import uid
from tests.images.films import film, save, save_compressed
from tests.phantom import phantom

from hilum.analysis.analyzer import Analyzer
from hilum.analysis.render import write_report
from hilum.bundles import load
from hilum.bundles.export import export
from hilum.bundles.importing import import_weights
from hilum.bundles.speed import latencies, one_film
from hilum.datasets.disk import images
from hilum.images.radiograph import Radiograph
from hilum.images.read import read

DISTINCT, SIDE = 24, 2048
PEERS = ("torchxrayvision", "torchxrayvision, OpenCV", "plain loop", "MONAI")
GOALS = {"torchxrayvision": 8, "torchxrayvision, OpenCV": 8, "plain loop": 6, "MONAI": 5}
WINDOW = {"WindowCenter": 2000, "WindowWidth": 3600, "BodyPartExamined": "CHEST", "ViewPosition": "PA"}
COMMAND = (sys.executable, "-c", "from hilum.cli import main; main()", "analyze")
FORMS = {"torch": "torch", "OpenVINO": "openvino", "INT8": "int8"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=200)
    parser.add_argument("--peer-films", type=int, default=40, help="of these, for the peers, which are slow")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--monai", type=Path, metavar="FOLDER", help="where MONAI was installed")
    parser.add_argument("--work", type=Path, metavar="FOLDER", help="keeps films and bundle for the next run")
    parser.add_argument("--runtimes", nargs="*", choices=FORMS, default=list(FORMS))
    parser.add_argument(
        "--only", choices=("make", "process", "hilum", "peers"), help="a part, where time is short"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        paths = made_films(work / "films", options.films)
        bundle, weights = densenet(work)
        lungs = lungs_in_forms(work)
        if options.only == "make":
            return
        found: dict[str, dict[str, Any]] = {}
        most = float("nan")
        if options.only in (None, "process"):
            most = print_limits(bundle, lungs, paths)
            print_process(bundle, lungs, paths)
        if options.only in (None, "hilum"):
            for name in options.runtimes:
                found[f"hilum, {name}"] = hilum(work, [bundle, lungs], FORMS[name], paths, options.jobs)
                show(f"hilum, {name}", found[f"hilum, {name}"])
        if options.only in (None, "peers"):
            for name in PEERS:
                found[name] = peer(name, weights, paths[: options.peer_films], options.monai)
                show(name, found[name])
        print_ratios(found, most)


def made_films(folder: Path, count: int) -> list[Path]:
    """So many files, uncompressed and JPEG 2000 in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04}.dcm" for number in range(count)]
    if paths[-1].exists():
        return paths
    chosen = real_films(DISTINCT // 2)
    for number in range(min(DISTINCT, count)):
        pair = number // 2
        source = read(chosen[pair]).pixels if chosen else phantom(pair, SIDE, SIDE).pixels
        large = cv2.resize(source, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        values = np.clip(large, 0, 1) * 3600 + 200
        noise = np.random.default_rng(pair).normal(size=values.shape) * (2 + values * 0.002)
        dataset = film(np.rint(np.clip(values + noise, 0, 4095)).astype(np.int64), 12, **WINDOW)
        if number % 2:
            save_compressed(dataset, paths[number], uid.JPEG2000Lossless)
        else:
            save(dataset, paths[number])
    for number in range(DISTINCT, count):
        paths[number].unlink(missing_ok=True)
        os.link(paths[number % DISTINCT], paths[number])
    return paths


def real_films(count: int) -> list[Path]:
    """So many, evenly spread; none without HILUM_DATA."""
    root = os.environ.get("HILUM_DATA")
    real = images(Path(root) / "nih14" / "images") if root else []
    return real[:: max(1, len(real) // count)][:count]


def densenet(work: Path) -> tuple[Path, Path]:
    """The bundle in every form, and the weights file that it was made of."""
    import hilum.models  # noqa: F401  before torchxrayvision, which imports torchvision

    place, weights = work / "densenet", work / "weights.pt"
    if (place / "bundle.json").exists():
        return place, weights
    import torchxrayvision as xrv

    torch.manual_seed(0)
    torch.save(xrv.models.DenseNet(num_classes=18).state_dict(), weights)
    import_weights(weights, "torchxrayvision", place, "random", "densenet121-res224-all")
    for form in ("openvino", "int8"):
        export(place, form, place, [Radiograph(phantom(seed, 300, 280).pixels) for seed in range(8)])
    return place, weights


def lungs_in_forms(work: Path) -> Path:
    """The built-in lungs in every form."""
    place = work / "lungs"
    if not (place / "bundle.json").exists():
        films = real_films(100) or [Radiograph(phantom(seed, 300, 280).pixels) for seed in range(8)]
        export("lungs", "openvino", place)
        export(place, "int8", place, films)
    return place


def hilum(work: Path, bundles: list[Path], runtime: str, paths: list[Path], jobs: int) -> dict[str, Any]:
    """The command, start to end; `films` a second between the first report and the last, when all workers run."""
    with tempfile.TemporaryDirectory(dir=work) as out:
        named = [word for bundle in bundles for word in ("--bundle", bundle)]
        rest = ["--format", "json", "--jobs", str(jobs), *named, "--runtime", runtime]
        _, start = timed([*COMMAND, *paths[: 2 * jobs], "--out", Path(out) / "few", *rest])
        wall, used = timed([*COMMAND, *paths, "--out", out, *rest])
        index = json.loads((Path(out) / "index.json").read_text())
        assert index["counts"]["failed"] == 0
        seen = sum(entry["analysable"] for entry in index["reports"])
        times = sorted(path.stat().st_mtime for path in Path(out).glob("[0-9]*.json"))
    warm = times[2 * jobs :]  # the first films of each worker warm it
    alone = alone_ms(Analyzer(bundles, runtime=runtime, with_heatmaps=False), paths)
    return {
        "films": (len(warm) - 1) / (warm[-1] - warm[0]),
        "ms": 1000 * (used - start) / (len(times) - 2 * jobs),
        "with start": len(times) / wall,
        "use": used / wall / (os.cpu_count() or 1),
        "alone": alone,
        "analysable": seen,
    }


def timed(words: list[Any]) -> tuple[float, float]:
    """Seconds on the wall, and of the processor, that a command takes."""
    started, before = time.perf_counter(), cpu_seconds()
    subprocess.run([str(w) for w in words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started, cpu_seconds() - before


def alone_ms(analyzer: Analyzer, paths: list[Path]) -> list[float]:
    """Milliseconds of an uncompressed and of a JPEG 2000 film, one at a time, all cores."""
    taken: list[list[float]] = [[], []]
    for number, path in enumerate(paths[:12]):
        started = time.perf_counter()
        analyzer.analyze(path)
        taken[number % 2].append(1000 * (time.perf_counter() - started))
    return [median(times[1:]) for times in taken]


def peer(name: str, weights: Path, paths: list[Path], monai: Path | None) -> dict[str, Any]:
    words = [sys.executable, "-m", "benchmarks.film_to_scores_peers", name, str(weights), *map(str, paths)]
    roots = [*([str(monai)] if monai else []), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(roots)}
    )
    if done.returncode:
        return {"absent": (done.stderr.strip().splitlines() or ["it ended"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def print_process(bundle: Path, lungs: Path, paths: list[Path]) -> None:
    """Processor time of one process and one thread, warm: from a path to the report's JSON on disk."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for name, form in FORMS.items():
        loaded = [load(place, form, threads=1) for place in (bundle, lungs)]
        for whole in (False, True) if form == "int8" else (False,):
            analyzer = Analyzer(loaded, with_heatmaps=False, whole=whole)
            taken: list[list[float]] = [[], []]
            with tempfile.TemporaryDirectory() as out:
                for number, path in enumerate(paths[:12]):
                    started = time.process_time()
                    write_report(analyzer.analyze(path), Path(out), "film", ("json",))
                    taken[number % 2].append(1000 * (time.process_time() - started))
            plain, wavelets = (median(times[1:]) for times in taken)
            kind = f"{name}, decoded whole" if whole else name
            print(
                f"{kind:40} {plain:6.0f} ms uncompressed, {wavelets:6.0f} ms JPEG 2000, {(plain + wavelets) / 2:6.0f} both"
            )
    torch.set_num_threads(os.cpu_count() or 1)
    cv2.setNumThreads(os.cpu_count() or 1)


def print_limits(bundle: Path, lungs: Path, paths: list[Path]) -> float:
    """What a film costs at least on one core: its bytes, its decoding at the resolution needed, the networks.

    Returns films a second that reading and DenseNet121 as INT8 allow."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    work = {
        "read, uncompressed": lambda: read(paths[0], 448),
        "read, JPEG 2000 at a quarter": lambda: read(paths[1], 448),
        "read, JPEG 2000 whole": lambda: read(paths[1]),
        **{f"lungs (U-Net), {name}": one_film(load(lungs, form, threads=1)) for name, form in FORMS.items()},
        **{f"DenseNet121, {name}": one_film(load(bundle, form, threads=1)) for name, form in FORMS.items()},
    }
    taken = latencies(work, 5, time.process_time)
    torch.set_num_threads(os.cpu_count() or 1)
    cv2.setNumThreads(os.cpu_count() or 1)
    megabytes = [path.stat().st_size / 1e6 for path in paths[:2]]
    print(f"{len(paths)} films; {megabytes[0]:.1f} MB uncompressed, {megabytes[1]:.1f} MB as JPEG 2000")
    print("DenseNet121 at 224 pixels: 2.8 thousand million multiplications and additions a film\n")
    for name, ms in taken.items():
        print(f"{name:32} {ms:8.1f} ms on one core")
    reading = (taken["read, uncompressed"] + taken["read, JPEG 2000 at a quarter"]) / 2
    least = reading + taken["DenseNet121, INT8"]
    cores = os.cpu_count() or 1
    print(
        f"\nreading and DenseNet121 as INT8 alone: {least:.1f} ms, at most {1000 * cores / least:.1f} films/s"
    )
    print(
        f"with the lungs too: at most {1000 * cores / (least + taken['lungs (U-Net), INT8']):.1f} films/s\n"
    )
    return 1000 * cores / least


def show(name: str, found: dict[str, Any]) -> None:
    if "absent" in found:
        print(f"{name:26} not measured: {found['absent']}", flush=True)
        return
    start = f" ({found['with start']:.2f} with its start)" if "with start" in found else ""
    seen = f", {found['analysable']} analysable" if "analysable" in found else ""
    plain, wavelets = found["alone"]
    speed = f"{found['ms']:7.0f} ms of a core a film, {found['films']:6.2f} films/s{start}, {found['use']:4.0%} of the cores"
    print(
        f"{name:26} {speed}; alone {plain:.0f} ms uncompressed, {wavelets:.0f} ms JPEG 2000{seen}",
        flush=True,
    )


def print_ratios(found: dict[str, dict[str, Any]], most: float) -> None:
    """`most`: films a second that reading and the network as INT8 alone would allow."""
    ours = {name: f for name, f in found.items() if name.startswith("hilum")}
    for name in PEERS:
        if ours and "films" in found.get(name, {}):
            other = found[name]
            by_core = ", ".join(f"{other['ms'] / mine['ms']:.1f} ({n[7:]})" for n, mine in ours.items())
            by_wall = ", ".join(f"{mine['films'] / other['films']:.1f}" for mine in ours.values())
            print(f"Hilum to {name}: {by_core} by processor time, {by_wall} on the wall; goal {GOALS[name]}")
            best = max(ours.values(), key=lambda mine: mine["films"])
            goal, limit = GOALS[name], f"{best['films']:.2f} films/s of at most {most:.1f}"
            what, times = "DICOM to scores and a report, on the wall", best["films"] / other["films"]
            tell(Figure(what, name, times, goal=goal, limit=limit))
            alone = [theirs / mine for mine, theirs in zip(best["alone"], other["alone"], strict=True)]
            for kind, times in zip(("uncompressed", "JPEG 2000"), alone, strict=True):
                tell(Figure(f"one film alone, {kind}", name, times))
    for name, mine in ours.items():
        tell(Figure(f"share of the cores in use, {name}", "all of them", 100 * mine["use"], "%", goal=90))


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
