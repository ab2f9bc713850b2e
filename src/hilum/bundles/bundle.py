"""The Bundle: one artifact that carries weights, preparation, labels, thresholds and calibration together.

On disk it is a folder, or one `.hilum` file (an uncompressed zip), of

    bundle.json           everything but the weights, with a SHA-256 of every other file and of itself
    weights.safetensors   tensors; floats at 16 bit, batch-norm statistics at 32 (all at 32 where `precision` says so)
    card.md               for people
    recipe.yaml           the recipe that trained it
    patients.bin          32-bit hashes of the patients in training and validation, so that an evaluation can refuse them
    model.onnx, ...       the model again, in forms for other runtimes (`export`)

Never a pickle: nothing in a bundle can execute code, and a file that its `bundle.json` does not list is not read.
"""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from hilum.bundles import files
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.info import WEIGHTS, Info
from hilum.bundles.runtimes import Runtime, TorchRuntime, start
from hilum.errors import BundleError
from hilum.models import Model, build

if TYPE_CHECKING:
    from hilum.images.crop import Window
    from hilum.images.placement import Placement
    from hilum.images.radiograph import Radiograph

CARD = "card.md"
PATIENTS = "patients.bin"
RECIPE = "recipe.yaml"
INFO = "bundle.json"


class Bundle(nn.Module):
    """A model with its preparation, labels, thresholds and calibration.

    `bundle(bundle.prepare(film))` gives logits; `bundle.probabilities(logits)` calibrated probabilities.
    """

    def __init__(
        self,
        info: Info,
        model: Model,
        patients: NDArray[np.uint32] | None = None,
        recipe: bytes | None = None,
        exported: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.info = info
        self.model = model
        self.patients = patients if patients is not None else np.zeros(0, np.uint32)
        self.recipe = recipe
        self.exported = exported or {}
        self.started: Runtime | None = None
        self.eval()

    @property
    def runtime(self) -> Runtime:
        """What runs the model: torch, unless the bundle was loaded for another."""
        return self.started or TorchRuntime(self.model)

    @property
    def labels(self) -> list[str]:
        return [label.name for label in self.info.labels]

    def prepare(self, film: Radiograph, window: Window | None = None) -> Tensor:
        """A film to the model's input, float32 (1, channels, height, width).

        `window`: the part of the film that the model sees; None takes what `focus.window_of` says.
        """
        steps = self.info.preparation
        return steps.tensor(steps.pixels(film.pixels, self._window(film, window))[None])

    def place(self, film: Radiograph, window: Window | None = None) -> Placement:
        """Where what `prepare` gives of a film, with the same window, lies on it."""
        return self.info.preparation.place((film.height, film.width), self._window(film, window))

    def _window(self, film: Radiograph, window: Window | None) -> Window | None:
        from hilum.bundles.focus import window_of

        return window_of(self, film) if window is None else window

    def forward(self, images: Tensor) -> Tensor:
        """Prepared images (n, channels, h, w) to logits (n, labels), or (n, labels, h, w) for a segmenter; of an encoder to
        embeddings (n, features).
        """
        return self.runtime.logits(images)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., labels) of a classifier to calibrated probabilities of the same shape."""
        refuse_encoder(self.info)
        scaling = self.info.calibration
        if scaling is not None:
            logits = logits * logits.new_tensor(scaling.slope) + logits.new_tensor(scaling.intercept)
        found = logits.softmax(-1) if self.info.task == "multiclass" else logits.sigmoid()
        if scaling is None or scaling.half_at is None:
            return found
        at = found.new_tensor(scaling.half_at)
        return torch.where(found < at, found / (2 * at), 1 - (1 - found) / (2 * (1 - at)))

    def margins(self, logits: Tensor) -> Tensor:
        """How far each of a classifier's logits (n, labels) lies above the point at which its label is called, in logits.

        That point is the label's threshold, 0.5 where it has none; of exclusive classes the best of the others. 0 where a
        calibration turned the order of a label's logits round, or knows none.
        """
        scaling = self.info.calibration
        ones = torch.ones_like(logits)
        slope = ones if scaling is None else ones * logits.new_tensor(scaling.slope)
        shift = 0 * ones if scaling is None else ones * logits.new_tensor(scaling.intercept)
        scaled = logits * slope + shift
        if self.info.task == "multiclass":
            best, second = scaled.topk(2).values.unbind(-1)
            cut = torch.where(scaled == best[..., None], second[..., None], best[..., None])
        else:
            values = [0.5 if label.threshold is None else label.threshold.value for label in self.info.labels]
            at = logits.new_tensor(0.5 if scaling is None or scaling.half_at is None else scaling.half_at)
            point = logits.new_tensor(values)
            point = torch.where(point < 0.5, 2 * at * point, 1 - 2 * (1 - at) * (1 - point))
            cut = torch.logit(point.double(), eps=1e-12).to(logits.dtype)
        return torch.where(slope > 0, (scaled - cut) / slope, 0.0)

    def trained_on(self, patients: list[str]) -> list[str]:
        """Those of `patients` (as the manifest names them) that took part in training or validation.

        Hashes have 32 bits: a stranger is taken for a known patient once in 4e9 / (patients in training) times.
        """
        known = set(self.patients.tolist())
        return [p for p in patients if int(patient_hash(p)) in known]


def patient_hash(patient: str) -> np.uint32:
    """The 32-bit hash by which a bundle remembers a patient."""
    return np.frombuffer(hashlib.sha256(patient.encode()).digest()[:4], "<u4")[0]


def load(path: str | Path, runtime: str = "torch", threads: int | None = None) -> Bundle:
    """A bundle from a folder, a `.hilum` file, or the name of a built-in one; every checksum is verified first.

    `runtime`: what runs the model, one of `runtimes.CHOICES`; all but torch need that form in the bundle
    (`export`), `tuned` takes what was chosen for this machine, torch where nothing was.
    `threads`: of such a runtime; None takes torch's number.

    Raises BundleError where it is incomplete, altered, not a bundle, made for a newer Hilum, or lacks the
    form asked for, and MissingExtraError where the runtime is not installed.
    """
    place = files.locate(path)
    info, members = _verified(place)
    model = build(info.model.name, **{**info.model.options, "outputs": len(info.labels)})
    try:
        tensors = load_tensors(members[WEIGHTS])
    except (SafetensorError, ValueError, OverflowError) as error:
        raise BundleError(f"its weights cannot be read ({error})", path=place) from error
    wanted = model.state_dict()
    unlike = {k for k in wanted if k not in tensors or tensors[k].shape != wanted[k].shape} ^ (
        set(tensors) - set(wanted)
    )
    if unlike:
        raise BundleError(
            f"its weights do not fit its model ({len(unlike)} tensors, such as {min(unlike)})", path=place
        )
    model.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()})
    known = np.frombuffer(members.get(PATIENTS, b""), "<u4")
    exported = {name: members[name] for form in info.exports.values() for name in form.files}
    bundle = Bundle(info, model, known, members.get(RECIPE), exported)
    bundle.started = start(bundle, runtime, place, threads)
    return bundle


def verify(path: str | Path) -> Info:
    """Check every checksum of a bundle and return what its `bundle.json` holds. Raises BundleError."""
    return _verified(files.locate(path))[0]


def save(bundle: Bundle, path: str | Path) -> Path:
    """Write `bundle` to `path`: one file where the name ends in `.hilum`, else a folder. Returns the path."""
    from hilum.bundles.card import card

    weights = weights_file(bundle)
    if any(form.weights != files.digest(weights) for form in bundle.info.exports.values()):
        raise BundleError(
            "its exported forms were made from other weights", path=path, mend="Export it again"
        )
    members = {
        WEIGHTS: weights,
        CARD: card(bundle.info).encode(),
        PATIENTS: np.sort(bundle.patients).astype("<u4").tobytes(),
    }
    if bundle.recipe is not None:
        members[RECIPE] = bundle.recipe
    members |= bundle.exported
    info = bundle.info.model_copy(
        update={"files": {k: files.digest(v) for k, v in members.items()}, "digest": ""}
    )
    info = info.model_copy(update={"digest": _digest(info)})
    bundle.info = info
    members[INFO] = (json.dumps(info.model_dump(mode="json"), indent=2, allow_nan=False) + "\n").encode()
    return files.write(Path(path), members)


def weights_file(bundle: Bundle) -> bytes:
    """The weights of `bundle` as `save` writes them."""
    keep = bundle.info.precision == "float32"
    state = bundle.model.state_dict()
    return save_tensors({k: _plain(v) if keep else _half(k, v) for k, v in state.items()})


def as_written(bundle: Bundle) -> Model:
    """A copy of the bundle's model in eval mode, its weights rounded as the file has them."""
    model = copy.deepcopy(bundle.model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    wanted = model.state_dict()
    found = load_tensors(weights_file(bundle))
    model.load_state_dict({name: tensor.to(wanted[name].dtype) for name, tensor in found.items()})
    return cast(Model, model.eval())


def _verified(place: Path) -> tuple[Info, dict[str, bytes]]:
    members = files.read(place)
    if INFO not in members:
        raise BundleError(
            "this is not a bundle: it holds no bundle.json", path=place, mend="See: hilum bundle show"
        )
    try:
        raw = json.loads(members[INFO])
        if isinstance(raw, dict) and raw.get("format", 1) != 1:
            raise BundleError(
                f"it is of format {raw['format']}, newer than this Hilum", path=place, mend="Upgrade Hilum"
            )
        info = Info.model_validate(raw)
    except (ValueError, ValidationError, RecursionError) as error:
        raise BundleError(f"its bundle.json is not valid: {error}", path=place) from error
    if info.digest != _digest(info):
        raise BundleError(
            "its bundle.json was altered: the checksum is wrong", path=place, mend="Get the bundle again"
        )
    for name in (WEIGHTS, CARD):
        if name not in info.files:
            raise BundleError(f"its bundle.json lists no {name}", path=place)
    for name in set(members) - set(info.files) - {INFO}:
        del members[name]  # not listed, so not part of the bundle
    for name, expected in info.files.items():
        if name not in members:
            raise BundleError(f"{name} is missing", path=place, mend="Get the bundle again")
        if files.digest(members[name]) != expected:
            raise BundleError(
                f"{name} was altered: the checksum is wrong", path=place, mend="Get the bundle again"
            )
    for kind, form in info.exports.items():
        if form.files != files.EXPORTED[kind] or set(form.files) - set(info.files):
            raise BundleError(f"its bundle.json lists no files for its form {kind}", path=place)
        if form.weights != info.files[WEIGHTS]:
            raise BundleError(
                f"its form {kind} was made from other weights", path=place, mend="Export it again"
            )
    return info, members


def _digest(info: Info) -> str:
    content = info.model_dump(mode="json", exclude={"digest"})
    return files.digest(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())


def _half(name: str, tensor: Tensor) -> Tensor:
    """16-bit floats, but for batch-norm statistics, whose range 16 bits cannot hold."""
    tensor = _plain(tensor)
    keep = not tensor.is_floating_point() or name.endswith(("running_mean", "running_var"))
    return tensor if keep else tensor.to(torch.float16)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()
