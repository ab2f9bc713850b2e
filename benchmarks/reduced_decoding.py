"""What it changes in a probability that a film is decoded at the resolution that is needed, and how long it takes.

    python -m benchmarks.reduced_decoding [--made 24] [--bundles findings pneumonia]

Films: RG1 of pydicom-data (1,955 x 1,841 pixels, JPEG 2000 as its maker wrote it), the twelve films of 1,024 pixels of
VinBigData (HILUM_DATA), and half of `--made` real films enlarged to 2,048 pixels with noise (`film_to_scores` leaves the
other half uncompressed), the last two as JPEG 2000 lossless of 12 bits. Each is decoded whole and at the level that analysis
takes, and run through the bundles. Beside it stand changes of the whole film that nobody would call another film: one row
and one column less, and white noise of one grey level of 256.
Printed: median, 95th percentile and largest over films of the largest change of a probability of a film,
the mean change, the calls that turned, and how much of the lungs overlaps.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from benchmarks.film_to_scores import made_films
from pydicom import uid
from pydicom.data import get_testdata_file
from tests.images.films import film as dicom_film
from tests.images.films import save_compressed

from hilum.analysis.analyzer import Analyzer, needed
from hilum.bundles import Bundle
from hilum.bundles.lungs import outline
from hilum.images.radiograph import Radiograph
from hilum.images.read import read


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--made", type=int, default=24)
    parser.add_argument("--bundles", nargs="*", default=["findings", "pneumonia"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    analyzer = Analyzer([*options.bundles, "lungs"])
    bundles, lungs = analyzer.finders, analyzer.segmenters[0]
    least = needed([*bundles, lungs])
    changes: dict[tuple[str, str, str], list[np.ndarray]] = defaultdict(list)
    turned: dict[tuple[str, str, str], int] = defaultdict(int)
    overlap, taken = defaultdict(list), defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films(Path(folder), options.made):
            started = time.process_time()
            whole = read(path)
            between = time.process_time()
            small = read(path, least)
            taken[name].append((between - started, time.process_time() - between))
            assert small.whole is not None, path
            overlap[name].append(shared(lungs, whole, small))
            for kind, other in {"decoded at less": small, **alike(whole)}.items():
                for bundle in bundles:
                    before, after = probabilities(bundle, whole), probabilities(bundle, other)
                    key = name, bundle.info.name, kind
                    changes[key].append(np.abs(after - before))
                    turned[key] += int((called(bundle, before) != called(bundle, after)).sum())
    for name, pairs in taken.items():
        full, less = (1000 * median(times) for times in zip(*pairs, strict=True))
        worst = min(overlap[name])
        print(
            f"{name}: {len(pairs)} films, {full:.0f} ms whole, {less:.0f} ms at less; least IoU of lungs {worst:.3f}"
        )
    print(
        "\n| films | bundle | change | median | 95 % | largest | mean | calls turned |\n|---|---|---|--:|--:|--:|--:|--:|"
    )
    for (name, bundle_name, kind), found in changes.items():
        each = np.array([values.max() for values in found])
        numbers = np.median(each), np.percentile(each, 95), each.max(), np.mean(found)
        cells = " | ".join(f"{n:.4f}" for n in numbers)
        calls = sum(len(values) for values in found)
        print(f"| {name} | {bundle_name} | {kind} | {cells} | {turned[name, bundle_name, kind]} of {calls} |")


def films(folder: Path, made: int) -> Iterator[tuple[str, Path]]:
    yield "RG1", Path(str(get_testdata_file("RG1_J2KR.dcm")))
    root = os.environ.get("HILUM_DATA")
    for number, path in enumerate(sorted(Path(root).glob("vinbig/images/*.jpg")) if root else []):
        values = np.rint(read(path).pixels * 4095).astype(np.int64)
        dataset = dicom_film(values, 12, WindowCenter=2048, WindowWidth=4096)
        yield "VinBigData, 1,024 px", save_compressed(dataset, folder / f"{number}.dcm", uid.JPEG2000Lossless)
    if made:
        for path in made_films(folder / "made", made)[1::2]:
            yield "made, 2,048 px", path


def alike(film: Radiograph) -> dict[str, Radiograph]:
    noise = np.random.default_rng(0).normal(size=film.pixels.shape).astype(np.float32) / 256
    return {
        "a row and a column less": replace(film, pixels=np.ascontiguousarray(film.pixels[1:, 1:])),
        "noise of a grey level": replace(film, pixels=np.clip(film.pixels + noise, 0, 1)),
    }


@torch.inference_mode()
def probabilities(bundle: Bundle, film: Radiograph) -> np.ndarray:
    images = bundle.prepare(film).to(memory_format=torch.channels_last)
    return bundle.probabilities(bundle(images))[0].double().numpy()


def called(bundle: Bundle, found: np.ndarray) -> np.ndarray:
    if bundle.info.group is not None:
        return found == found.max()
    return found >= [label.threshold.value if label.threshold else 2.0 for label in bundle.info.labels]


def shared(lungs: Bundle, whole: Radiograph, small: Radiograph) -> float:
    """IoU of the lungs of both, on the whole film's grid."""
    one, other = (outline(lungs, film).on(whole.size).mask > 0 for film in (whole, small))
    return float((one & other).sum() / max(1, (one | other).sum()))


if __name__ == "__main__":
    main()
