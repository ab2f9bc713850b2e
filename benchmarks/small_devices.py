"""INT8, OpenVINO and ONNX beside torch on one and two cores: latency, size, and what INT8 costs in AUC.

    python -m benchmarks.small_devices [--bundle findings] [--films 300] [--rounds 30] [--cores 1 2] [--clock wall|cpu]

The bundle is exported into a temporary folder, INT8 with ranges from the training part of its own recipe's data
(HILUM_DATA). Accuracy is that of the validation part, by patient, with the paired bootstrap's interval of the
difference; test films are never opened. Latency is of one film at the bundle's size, logits and all, the processes held
to as many cores as said, rounds taken in turn: the bundle in torch as its model comes (eager, NCHW), as Hilum runs it
(channels last), and in every other runtime; and torchxrayvision's DenseNet121 at 224 pixels, eager, beside the same
network imported into Hilum and exported. `--clock cpu` counts processor time in place of wall time, for a machine that
others use too; then only one core means anything.

Goals: INT8 five times as fast as torch eager; macro AUC at most 0.005 lower. torchxrayvision is optional (see
read_dicom.py).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tests.phantom import phantom

from hilum.bundles import load, verify
from hilum.bundles.export import export
from hilum.bundles.files import EXPORTED, locate
from hilum.bundles.importing import import_weights
from hilum.bundles.speed import latencies, one_film, size_on_disk
from hilum.datasets.manifest import Manifest
from hilum.errors import BundleError
from hilum.evaluation.auc_bootstrap import auc_replicates
from hilum.evaluation.ranking import auc
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from hilum.learning.material import manifest_of, parted, patient_keys
from hilum.learning.recipe_files import load_recipe
from hilum.learning.targets import truth_of

Work = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", default="findings")
    parser.add_argument(
        "--films", type=int, default=300, help="training films that INT8 takes its ranges from"
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--cores", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--skip-accuracy", action="store_true", help="ranges from phantoms: latency alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "small"
        if options.skip_accuracy:
            films = [Radiograph(phantom(seed, 300, 280).pixels) for seed in range(8)]
            validation = None
        else:
            train, validation = parts(options.bundle)
            chosen = np.unique(np.linspace(0, len(train) - 1, options.films).round().astype(int))
            films = [train.paths()[i] for i in chosen]
        export(options.bundle, "onnx", place)
        for form in ("openvino", "int8"):
            export(place, form, place, films if form == "int8" else ())
        sizes(place)
        if validation is not None:
            accuracy(place, validation)
        theirs = their_densenet(Path(folder))
        for cores in options.cores:
            speed(place, theirs, cores, options.rounds, options.clock)


def parts(bundle: str) -> tuple[Manifest, Manifest]:
    """The training and validation films of the bundle's own data with all its labels, by its recipe and split."""
    recipe = load_recipe(locate(bundle) / "recipe.yaml")
    manifest = manifest_of(recipe.data)
    split = parted(recipe.data, manifest)
    if split.digest != verify(bundle).provenance.split_digest:
        raise BundleError("the data at hand is not split as the bundle's was", path=bundle)
    films = manifest.with_split(split).filter(source=recipe.data.sources[0].source)
    return films.filter(split="train"), films.filter(split="validation")


def sizes(place: Path) -> None:
    print("form        MB on disk   largest change of a probability on films of the ranges, or noise")
    exports = verify(place).exports
    for name in ("torch", *EXPORTED):
        drift = f"{exports[name].drift:.2g}" if name in exports else "–"
        print(f"{name:10} {size_on_disk(place, name) / 1e6:10.2f}   {drift}")


def accuracy(place: Path, validation: Manifest) -> None:
    """Macro AUC of every form on the validation films, and the difference from torch."""
    bundle = load(place)
    truth = np.asarray(truth_of(validation, "multilabel", tuple(bundle.labels)))
    patients = np.unique(patient_keys(validation), return_inverse=True)[1]
    images = torch.cat([bundle.prepare(read(path)) for path in validation.paths()])
    scores = {name: logits(place, name, images) for name in ("torch", *EXPORTED)}
    base, drawn = auc(truth, scores["torch"]), auc_replicates(truth, scores["torch"], patients)
    print(f"\n{len(images)} validation films of {patients.max() + 1} patients")
    print("form       macro AUC   difference from torch (95 % interval)   largest of a finding")
    for name, values in scores.items():
        found = auc(truth, values)
        change = np.nanmean(auc_replicates(truth, values, patients) - drawn, 1)
        low, high = np.percentile(change, [2.5, 97.5])
        print(
            f"{name:10} {np.nanmean(found):9.4f}   {np.nanmean(found - base):+.4f} ({low:+.4f} to {high:+.4f})"
            f"{np.nanmin(found - base):+22.4f}"
        )


@torch.inference_mode()
def logits(place: Path, runtime: str, images: torch.Tensor) -> NDArray[np.float32]:
    bundle = load(place, runtime)
    return torch.cat([bundle(part) for part in images.split(16)]).numpy()


def their_densenet(folder: Path) -> Path | None:
    """torchxrayvision's DenseNet121 with random weights, imported and exported; None where it is not installed."""
    try:
        import torchxrayvision as xrv
    except ImportError as error:
        print(f"\ntorchxrayvision is not measured ({error})")
        return None
    torch.manual_seed(0)
    model = xrv.models.DenseNet(num_classes=18)
    torch.save(model.state_dict(), folder / "weights.pt")
    place = import_weights(
        folder / "weights.pt", "torchxrayvision", folder / "xrv", "random", "densenet121-res224-all"
    )
    films = [Radiograph(phantom(seed, 300, 280).pixels) for seed in range(8)]
    return export(place, "int8", place, films)


def speed(place: Path, theirs: Path | None, cores: int, rounds: int, clock: str) -> None:
    available = os.sched_getaffinity(0)
    if cores > len(available):
        print(f"\n{cores} cores: there are {len(available)}")
        return
    os.sched_setaffinity(0, sorted(available)[:cores])
    torch.set_num_threads(cores)
    try:
        work = pieces(place, theirs, cores)
        found = latencies(work, rounds, time.process_time if clock == "cpu" else time.perf_counter)
    finally:
        os.sched_setaffinity(0, available)
    base = found["torch eager"]
    print(f"\n{cores} core{'s' * (cores > 1)}: ms a film ({clock} time, median of {rounds}), times as fast as torch eager"
          + (" and as torchxrayvision's DenseNet121" if theirs else ""))  # fmt: skip
    other = found.get("torchxrayvision DenseNet121, torch eager")
    for name, value in found.items():
        beside = f"{other / value:8.2f}" if other else ""
        print(f"{name:44} {value:8.1f} {base / value:8.2f}{beside}")


def pieces(place: Path, theirs: Path | None, cores: int) -> Work:
    eager = load(place)
    steps = eager.info.preparation
    image = torch.randn(1, steps.channels, *steps.size)
    work: Work = {
        "torch eager": inference(lambda: eager.model(image)),
        "torch, channels last": one_film(load(place)),
    }
    work |= {name: one_film(load(place, name, threads=cores)) for name in EXPORTED}
    if theirs is not None:
        import torchxrayvision as xrv

        model, grey = xrv.models.DenseNet(num_classes=18).eval(), torch.rand(1, 1, 224, 224) * 2048 - 1024
        work["torchxrayvision DenseNet121, torch eager"] = inference(lambda: model(grey))
        work["the same imported, torch channels last"] = one_film(load(theirs))
        work["the same imported, int8"] = one_film(load(theirs, "int8", threads=cores))
    return work


def inference(run: Callable[[], object]) -> Callable[[], object]:
    def work() -> object:
        with torch.inference_mode():
            return run()

    return work


if __name__ == "__main__":
    main()
