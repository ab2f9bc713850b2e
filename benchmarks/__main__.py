"""Every figure beside a peer, one benchmark after the other, and the table of docs/speed.md that they make.

    python -m benchmarks [NAME ...] [--out FOLDER] [--monai FOLDER] [--lightly FOLDER] [--list]

NAME: only these, such as `wbf` (all without any; about an hour of a quiet machine of two cores). The rows of the others stay
as they were. What each prints lies in --out as NAME.txt. Peers that are no dependencies are brought by whoever runs this, as
the head of each benchmark says; where one is absent its benchmark is named, and ends with 1 at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import NOTED, Figure, read_figures

ROOT = Path(__file__).resolve().parents[1]
PAGE, START, END = ROOT / "docs" / "speed.md", "<!-- written by python -m benchmarks -->", "<!-- to here -->"
KEPT = ROOT / "docs" / "speed.json"
# What each is called with. Data, where a benchmark wants some, is HILUM_DATA's.
RUNS: dict[str, tuple[str, ...]] = {
    "read_dicom": (),
    "film_to_scores": (),
    "full_analysis": (),
    "heatmaps": (),
    "mc_dropout": (),
    "lung_mask": (),
    "training_input": (),
    "training_loop": (
        "--dataset",
        "--workers",
        "2",
        "--backbone",
        "mobilenetv2_100",
        "--backbone",
        "mobilenetv3_small_050",
    ),
    "pretraining": (),
    "bootstrap_auc": (),
    "detection_ap": (),
    "wbf": (),
    "ray_analysis": ("--films", "400"),
    "slow_store": (),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--monai", type=Path, metavar="FOLDER", help="where MONAI was installed")
    parser.add_argument("--lightly", type=Path, metavar="FOLDER", help="where lightly was installed")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and do nothing")
    given = parser.parse_args()
    if given.list:
        print("\n".join(RUNS))
        return 0
    unknown = sorted(set(given.names) - set(RUNS))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(RUNS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    failed = []
    for name in given.names or RUNS:
        figures, code = carried_out(name, given)
        if code:
            failed.append(f"{name} ended with {code}: see {given.out / name}.txt")
        if figures:
            kept[name] = {
                "on": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": machine(),
                "figures": list(map(asdict, figures)),
            }
    KEPT.write_text(json.dumps({name: kept[name] for name in RUNS if name in kept}, indent=1) + "\n")
    write_table(kept)
    print(*failed, f"{PAGE}, {KEPT}", sep="\n")
    return int(bool(failed))


def carried_out(name: str, given: argparse.Namespace) -> tuple[list[Figure], int]:
    """What a benchmark noted, and its exit code; it runs alone, in a process of its own."""
    noted = given.out / f"{name}.jsonl"
    noted.unlink(missing_ok=True)
    words = [*RUNS[name]]
    places = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    if name == "film_to_scores" and given.monai:
        words += ["--monai", str(given.monai.absolute())]
    if name == "pretraining" and given.lightly:
        places.insert(1, str(given.lightly.absolute()))
    env = {**os.environ, NOTED: str(noted.absolute()), "PYTHONPATH": os.pathsep.join(filter(None, places))}
    print(f"{name} {' '.join(words)}", flush=True)
    with (given.out / f"{name}.txt").open("w") as log:
        code = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
        ).returncode
    return read_figures(noted), code


def machine() -> str:
    gpu = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.cuda.is_available() and torch.cuda.get_device_name())"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    return f"{os.cpu_count()} cores, {platform.machine()}" + ("" if gpu in ("", "False") else f", {gpu}")


def write_table(kept: dict[str, dict]) -> None:
    lines = ["| what | beside | measured | goal | limit | command, day |", "|---|---|---|---|---|---|"]
    for name in RUNS:
        entry = kept.get(name, {"figures": []})
        for figure in (Figure(**each) for each in entry["figures"]):
            cells = (
                figure.what,
                figure.beside,
                figure.value_in_words(),
                figure.goal_in_words(),
                figure.limit or "–",
            )
            lines.append(f"| {' | '.join(cells)} | `python -m benchmarks {name}`, {entry['on']} |")
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
