"""Others' weights as Hilum bundles: torchxrayvision's classifiers and CheXNet.

Each kind is a description: which timm backbone the tensors belong to, how a film was prepared for it, what its outputs
are called. The tensors are read without executing anything (`checkpoints`), renamed, held to the architecture one by
one, and kept at 32 bit, so that the bundle gives what the original gives.

torchxrayvision (Cohen 2022): one channel in [-1024, 1024], which is 2048 * (p - 0.5) for p in [0, 1]; a centred square
of the film. Its outputs are stretched so that each finding's operating point lies at 0.5 (`Scaling.half_at`). CheXNet
(Rajpurkar 2017, in the PyTorch form by A. Weng): ImageNet's mean and std on the film's centred square at 256 pixels.
The published figures average ten crops of 224 of it; the bundle looks at all of it at once, which the averaged features
allow.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from hilum import __version__
from hilum.bundles.bundle import Bundle, save
from hilum.bundles.checkpoints import read_tensors
from hilum.bundles.info import Applies, Architecture, Code, Cut, Info, Label, Provenance, Scaling
from hilum.errors import BundleError
from hilum.findings import NIH14, UnknownFindingError, find
from hilum.images.preparation import Preparation
from hilum.models import Model, build

KINDS = ("torchxrayvision", "chexnet")
WRAPPERS = ("module.", "model.", "densenet121.")  # what other programs put around a network
OLD_NAMES = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.")  # of torchvision before 2018
OPERATING_POINTS = "op_threshs"
COUNTER = "num_batches_tracked"  # old files lack it, and nothing depends on it

UNKNOWN_PATIENTS = (
    "Hilum does not know which patients these weights have seen: an evaluation on the data sets named above proves"
    " nothing."
)


@dataclass(frozen=True)
class Source:
    """What the tensors are, before they are Hilum's."""

    backbone: str
    classifier: str
    names: tuple[str, ...]
    points: tuple[float, ...] | None
    preparation: Preparation
    title: str
    data: tuple[str, ...]


def import_weights(
    path: str | Path,
    kind: str,
    out: str | Path,
    licence: str,
    variant: str | None = None,
    name: str | None = None,
) -> Path:
    """Write the weights at `path` as a bundle to `out` (a folder or a `.hilum` file) and return where.

    `kind`: one of `KINDS`. `licence`: of the weights, as their makers say; it stands on the card and in every report.
    `variant`: which of torchxrayvision's published weights they are (`variants()`), where the file's name does not tell
    and it holds no operating points. `name`: of the bundle.

    Raises BundleError where the file cannot be read, or names the first tensor that does not fit.
    """
    path = Path(path)
    if kind not in KINDS:
        raise BundleError(f"there is no import '{kind}'", mend=f"Choose from: {', '.join(KINDS)}")
    if not licence.strip():
        raise BundleError(
            "the licence of the weights is not told", path=path, mend="Say what their makers allow"
        )
    tensors = _unwrapped(read_tensors(path))
    points = tensors.pop(OPERATING_POINTS, None)
    source = _chexnet(tensors) if kind == "chexnet" else _torchxrayvision(tensors, points, path, variant)
    keep = [
        i for i, n in enumerate(source.names) if n and not (source.points and math.isnan(source.points[i]))
    ]
    options = {
        "name": source.backbone,
        "dropout": 0.0,
        "channels": source.preparation.channels,
        "size": source.preparation.size,
    }
    model = build("timm", outputs=len(keep), **options)
    _fill(model, tensors, source, keep, path)
    info = Info(
        name=name or _name(kind, variant or _variant_of(path)),
        version="1",
        title=source.title,
        task="multilabel",
        model=Architecture(name="timm", options=options),
        preparation=source.preparation,
        labels=tuple(_label(source.names[i], source.points is not None) for i in keep),
        calibration=_scaling([source.points[i] for i in keep]) if source.points else None,
        applies=Applies(by_default=False),
        provenance=_provenance(path, source, licence),
        limits=_limits(source, keep),
        precision="float32",
    )
    return save(Bundle(info, model), out)


def variants() -> list[str]:
    """Names of torchxrayvision's published weights, as its documentation has them."""
    return sorted(_published())


def _torchxrayvision(
    tensors: Mapping[str, Tensor], points: Tensor | None, path: Path, variant: str | None
) -> Source:
    dense = any(name.startswith("features.") for name in tensors)
    known = _known(path, variant, told=points is not None)
    size = (224, 224) if dense else (512, 512)
    return Source(
        backbone="densenet121" if dense else "resnet50",
        classifier="classifier" if dense else "fc",
        names=tuple(known["labels"]),
        points=_numbers(points) if points is not None else _numbers(known[OPERATING_POINTS]),
        preparation=Preparation(size=size, aspect="crop", bits=16, channels=1, mean=(0.5,), std=(1 / 2048,)),
        title=f"torchxrayvision {variant or _variant_of(path) or 'DenseNet121' if dense else 'ResNet50'}",
        data=tuple(known["data"]),
    )


def _known(path: Path, variant: str | None, told: bool) -> dict[str, Any]:
    """What is published about the weights; of unnamed ones that tell their own operating points only the order of
    outputs."""
    published = _published()
    variant = variant or _variant_of(path)
    if variant is None and told:
        return {**published["densenet121-res224-all"], "data": ["not known to Hilum"]}
    if variant not in published:
        raise BundleError(
            f"which of torchxrayvision's weights these are is not known ({variant or 'its name does not tell'})",
            path=path,
            mend=f"Name them with --variant: {', '.join(variants())}",
        )
    return published[variant]


def _variant_of(path: Path) -> str | None:
    return next((name for name, known in _published().items() if known["file"] == path.name), None)


def _chexnet(tensors: Mapping[str, Tensor]) -> Source:
    return Source(
        backbone="densenet121",
        classifier="classifier.0" if "classifier.0.weight" in tensors else "classifier",
        names=NIH14,
        points=None,
        preparation=Preparation(size=(256, 256), aspect="crop", bits=8),
        title="CheXNet",
        data=("nih14",),
    )


@cache
def _published() -> dict[str, dict[str, Any]]:
    """Facts that torchxrayvision (Apache-2.0) publishes of its weights: file, data sets, outputs, operating points."""
    return dict(json.loads(Path(__file__).with_name("torchxrayvision.json").read_text()))


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names that torchvision gives them today."""
    names = {name: OLD_NAMES.sub(r"\1\2.", name) for name in tensors}
    while wrapper := next((w for w in WRAPPERS if all(_within(n, w) for n in names.values())), None):
        names = {old: name.removeprefix(wrapper) for old, name in names.items()}
    return {names[old]: tensor for old, tensor in tensors.items()}


def _within(name: str, wrapper: str) -> bool:
    return name.startswith(wrapper) or name == OPERATING_POINTS


def _fill(model: Model, tensors: dict[str, Tensor], source: Source, keep: list[int], path: Path) -> None:
    """Load the tensors; BundleError names the first one that is missing, of another shape, or strange."""
    wanted = model.state_dict()
    filled = {}
    for name, ours in wanted.items():
        theirs = _their_name(name, source.classifier)
        if name.endswith(COUNTER):
            filled[name] = ours
            continue
        if theirs not in tensors:
            raise _misfit(f"it has no tensor '{theirs}'", source, path)
        given = tensors[theirs]
        shape = (
            tuple(ours.shape)
            if theirs == name.removeprefix("backbone.")
            else (len(source.names), *ours.shape[1:])
        )
        if tuple(given.shape) != shape:
            raise _misfit(
                f"its tensor '{theirs}' has the shape {tuple(given.shape)}, not {shape}", source, path
            )
        filled[name] = (given if theirs == name.removeprefix("backbone.") else given[keep]).to(ours.dtype)
    known = {_their_name(name, source.classifier) for name in wanted}
    strange = next((name for name in tensors if name not in known and not name.endswith(COUNTER)), None)
    if strange is not None:
        raise _misfit(f"it has a tensor '{strange}' too many", source, path)
    model.load_state_dict(filled)


def _their_name(name: str, classifier: str) -> str:
    return name.removeprefix("backbone.").replace("head.1.", f"{classifier}.")


def _misfit(fault: str, source: Source, path: Path) -> BundleError:
    outputs = len(source.names)
    return BundleError(
        f"{fault}: it is no {source.backbone} of {outputs} outputs", path=path, mend="Check --as"
    )


def _label(name: str, pointed: bool) -> Label:
    cut = Cut(value=0.5, rule="operating point", note="the makers' operating point") if pointed else None
    try:
        finding = find(name)
    except UnknownFindingError:
        return Label(name=name.replace("_", " "), threshold=cut)
    code = None
    if finding.code_scheme and finding.code:
        code = Code(
            scheme=finding.code_scheme, value=finding.code, meaning=finding.code_meaning or finding.name
        )
    return Label(name=finding.name, code=code, threshold=cut, outside_lungs=finding.outside_lungs)


def _scaling(points: Sequence[float]) -> Scaling:
    ones = len(points)
    return Scaling(
        kind="operating points", slope=(1.0,) * ones, intercept=(0.0,) * ones, half_at=tuple(points)
    )


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float("nan") if v is None else float(v) for v in values)


def _provenance(path: Path, source: Source, licence: str) -> Provenance:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Provenance(
        data=source.data,
        films={},
        patients={},
        split="not known to Hilum",
        split_digest="",
        recipe_digest="",
        hilum=__version__,
        created=datetime.now(UTC).date().isoformat(),
        licence=licence.strip(),
        imported=f"{path.name}, SHA-256 `{digest[:16]}`",
    )


def _limits(source: Source, keep: list[int]) -> tuple[str, ...]:
    limits = ["Hilum has neither trained nor measured these weights.", UNKNOWN_PATIENTS]
    if source.points is None:
        limits.append("Its probabilities are not calibrated, and it has no thresholds.")
    else:
        limits.append(
            "Its scores are no probabilities: each is stretched so that its makers' operating point is 0.5."
        )
    strangers = [source.names[i] for i in keep if not _is_known(source.names[i])]
    if strangers:
        limits.append(f"Not in Hilum's vocabulary, so named as its makers do: {', '.join(strangers)}.")
    untrained = [n for i, n in enumerate(source.names) if n and i not in keep]
    if untrained:
        limits.append(f"Left out, for its makers give no operating point: {', '.join(untrained)}.")
    return tuple(limits)


def _is_known(name: str) -> bool:
    try:
        find(name)
    except UnknownFindingError:
        return False
    return True


def _name(kind: str, variant: str | None) -> str:
    return f"xrv-{variant}" if variant and kind == "torchxrayvision" else kind
