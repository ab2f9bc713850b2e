"""A DICOM film to a 224 x 224 tensor: Hilum, torchxrayvision's reader, and a plain pydicom chain.

    python -m benchmarks.read_dicom [--rounds N]

Films: the real RG1 of pydicom-data (uncompressed and JPEG 2000) and a phantom of 2,500 x 2,048 pixels at 12 bits in five
transfer syntaxes. For each chain two numbers: `film`, the decoded and windowed image, and `tensor`, resized and ready for
a network, in CPU milliseconds of one thread (median of rounds taken in turn). The ratio is the plain chain over Hilum.
torchxrayvision is optional: pip install --no-deps torchxrayvision scikit-image imageio lazy-loader
(and pandas, requests, tqdm where they are absent).
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import pydicom
import torch
from benchmarks.figures import Figure, tell
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from tests.images.films import film, save, save_compressed
from tests.phantom import phantom

import hilum.models  # noqa: F401  before torchxrayvision, which imports torchvision
from hilum.images.preparation import Preparation
from hilum.images.read import read

Chain = tuple[Callable[[Path], object], Callable[[Path], torch.Tensor]]
SYNTAXES = {
    "RLE": uid.RLELossless,
    "JPEG Lossless": uid.JPEGLosslessSV1,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}
PREPARATION = Preparation(size=(224, 224), channels=1, mean=(0.5,), std=(0.25,))


def hilum_tensor(path: Path) -> torch.Tensor:
    return PREPARATION.tensor(PREPARATION.pixels(read(path).pixels)[None])


def plain_film(path: Path) -> np.ndarray:
    """What most scripts do: pydicom's pixel array, its LUTs, inversion, range to [0, 1]."""
    ds = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds).astype(np.float32)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        values = values.max() - values
    return (values - values.min()) / (values.max() - values.min())


def plain_tensor(path: Path) -> torch.Tensor:
    small = cv2.resize(plain_film(path), (224, 224), interpolation=cv2.INTER_AREA)
    return torch.from_numpy((small[None, None] - 0.5) / 0.25)


def torchxrayvision_chain() -> Chain | None:
    try:
        import torchxrayvision as xrv
        from torchxrayvision.utils import read_xray_dcm
    except ImportError as error:
        print(f"torchxrayvision is not measured ({error}); see the top of this file for how to install it")
        return None
    resize = xrv.datasets.XRayResizer(224)

    def tensor(path: Path) -> torch.Tensor:
        return torch.from_numpy(resize(read_xray_dcm(path, voi_lut=True)[None])[None])

    return lambda path: read_xray_dcm(path, voi_lut=True), tensor


def cpu_milliseconds(call: Callable[[Path], object], path: Path) -> float:
    start = time.process_time()
    call(path)
    return (time.process_time() - start) * 1000


def measured(chains: dict[str, Chain], path: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds (film, tensor) of each chain; NaN where it refuses the film."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in chains}
    for turn in range(rounds + 1):
        for name, (to_film, to_tensor) in chains.items():
            try:
                pair = (cpu_milliseconds(to_film, path), cpu_milliseconds(to_tensor, path))
            except Exception:
                pair = (float("nan"), float("nan"))
            if turn:  # the first is for warming up
                times[name].append(pair)
    return {name: (median(a for a, _ in pairs), median(b for _, b in pairs)) for name, pairs in times.items()}


def films(folder: Path) -> dict[str, Path]:
    out = {
        f"RG1, {kind}": Path(get_testdata_file(f"RG1_{code}.dcm"))
        for kind, code in (("uncompressed", "UNCR"), ("JPEG 2000", "J2KR"))
    }
    stored = np.rint(phantom(0, 2500, 2048, 3).pixels * 4095).astype(np.int64)
    elements = {"WindowCenter": 2048, "WindowWidth": 3600, "RescaleSlope": 1, "RescaleIntercept": 0}
    out["2500 x 2048, uncompressed"] = save(film(stored, **elements), folder / "plain.dcm")
    for name, syntax in SYNTAXES.items():
        out[f"2500 x 2048, {name}"] = save_compressed(
            film(stored, **elements), folder / f"{name}.dcm", syntax
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chains: dict[str, Chain] = {"Hilum": (read, hilum_tensor)}
    other = torchxrayvision_chain()
    if other is not None:
        chains["torchxrayvision"] = other
    chains["plain pydicom"] = (plain_film, plain_tensor)
    print(f"{'film':28}" + "".join(f"{name + ' film/tensor':>32}" for name in chains) + f"{'ratio':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for name, path in films(Path(folder)).items():
            found = measured(chains, path, options.rounds)
            cells = "".join(f"{a:>22.1f} / {b:>7.1f}" for a, b in found.values())
            print(f"{name:28}{cells}{found['plain pydicom'][1] / found['Hilum'][1]:>12.2f}", flush=True)
            if name.startswith("RG1"):
                for peer, (_, tensor) in list(found.items())[1:]:
                    tell(Figure(f"{name}, to a tensor of 224 pixels", peer, tensor / found["Hilum"][1]))


if __name__ == "__main__":
    main()
