"""A bundle for small devices: the same bundle with its model also as ONNX, OpenVINO or INT8.

The weights as the bundle's file holds them are traced into one ONNX graph of a stated opset with a free batch size.
OpenVINO reads that graph; INT8 is OpenVINO's with weights and activations rounded to 8 bit, by ranges taken from training
films (static, nncf). The first convolutions stay in float32, and the layers from embedding to logits, or of a detector all
that makes boxes of its last maps: there rounding does most harm, and they cost next to nothing.

What is made is run beside torch before it is kept: a float32 form that differs by more than `TOLERANCE` is
refused, and the difference of an INT8 form is written into the bundle.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.bundles import files
from hilum.bundles.bundle import Bundle, as_written, load, save, weights_file
from hilum.bundles.encoding import refuse_encoder
from hilum.bundles.generating import refuse_generator
from hilum.bundles.info import Export, Form
from hilum.bundles.runtimes import BOXES, IMAGES, OUTPUTS, ExportedRuntime, extra, first_line, opened
from hilum.errors import BundleError, HilumError
from hilum.images.radiograph import Radiograph
from hilum.images.read import read
from hilum.models import Classifier
from hilum.models.contract import Detector
from hilum.models.plain import plain

logger = logging.getLogger(__name__)

OPSET = 18
TOLERANCE = 1e-4  # of a probability, for float32 forms
MOST = 300  # films that an INT8 form takes its ranges from
FEWEST = 8
TRIED = 32  # films that a form is compared on
FIRST = 3  # convolutions that INT8 leaves in float32: they hold most of its error, and no time is lost (docs/decisions.md)

MOVED = 0.1  # prepared pixels by which a box may lie elsewhere in a float32 form
SEEN = 0.05  # a box of a lower score is one of many alike, and which of them is best is chance
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")

Films = Sequence[str | Path | Radiograph]


def export(bundle: str | Path | Bundle, to: Form, out: str | Path, films: Films = ()) -> Path:
    """Write `bundle` to `out` (a folder or a `.hilum` file) with its model also in the form `to`. Returns
    the path.

    `films`: films like those it was trained on, best of its own training part, never test films. INT8 needs
    them, and takes at most `MOST`, evenly spread; the other forms are compared with torch on them, or on
    noise.

    Raises BundleError where the form cannot be made, cannot be written, or differs from torch,
    MissingExtraError where a package of the extra `export` is missing.
    """
    if to not in get_args(Form):
        raise BundleError(f"there is no form '{to}'", mend=f"Choose from: {', '.join(get_args(Form))}")
    loaded = bundle if isinstance(bundle, Bundle) else load(bundle)
    refuse_generator(loaded.info, "Only what reads films runs on other runtimes")
    refuse_encoder(loaded.info)
    weights = weights_file(loaded)
    model = as_written(loaded)
    inputs = _prepared(loaded, films)
    if to == "int8" and len(inputs) < FEWEST:
        raise BundleError(
            f"INT8 takes its ranges from films, and {len(inputs)} of them can be read",
            path=loaded.info.name,
            mend=f"Give at least {FEWEST} training films; about {MOST} is best",
        )
    with _quiet():
        graph = onnx_graph(model, loaded.info.preparation.channels, loaded.info.preparation.size)
        made = {to: graph} if to == "onnx" else openvino_graph(graph, inputs if to == "int8" else None)
    members = dict(zip(files.EXPORTED[to], made.values(), strict=True))
    drift = _drift(loaded, model, to, members, inputs)
    if to != "int8" and drift > TOLERANCE:
        raise BundleError(f"as {to} it gives other probabilities (by {drift:.2g})", path=loaded.info.name)
    form = Export(
        files=files.EXPORTED[to],
        weights=files.digest(weights),
        opset=OPSET,
        made_with={p: version(p) for p in ("torch", "onnx", *(() if to == "onnx" else ("openvino", "nncf")))},
        calibrated_on=len(inputs) if to == "int8" else 0,
        drift=drift,
        tried_on=min(len(inputs), TRIED),
    )
    info = loaded.info.model_copy(update={"exports": {**loaded.info.exports, to: form}})
    return save(Bundle(info, model, loaded.patients, loaded.recipe, {**loaded.exported, **members}), out)


def onnx_graph(model: nn.Module, channels: int, size: tuple[int, int]) -> bytes:
    """The ONNX graph of a model: `images` (batch, channels, *size) to `features`, `embedding` and `logits`
    of a classifier, `boxes` and `scores` of a detector, or else `logits` alone. Raises BundleError where it cannot be
    traced.
    """
    extra("onnx", "export")
    outputs: tuple[str, ...] = OUTPUTS[2:]
    traced = model
    if isinstance(model, Classifier):
        outputs, traced = OUTPUTS, _AllOutputs(model)
    elif isinstance(model, Detector):
        outputs, traced = BOXES, _Boxes(model)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.onnx"
        try:
            torch.onnx.export(
                plain(traced.eval()),
                (torch.zeros(2, channels, *size),),
                path,
                input_names=[IMAGES],
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (IMAGES, *outputs)},
                opset_version=OPSET,
                dynamo=False,  # the tracer needs no further package, and its result is compared with torch anyway
            )
            return path.read_bytes()
        except (RuntimeError, TypeError, ValueError, OSError, torch.onnx.errors.OnnxExporterError) as error:
            raise BundleError(f"its model cannot be traced into ONNX ({first_line(error)})") from error


class _AllOutputs(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.model.feature_map(images)
        embedding = self.model.pool(features)
        return features, embedding, self.model.head(embedding)


class _Boxes(nn.Module):
    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.detect(images)


def _prepared(bundle: Bundle, films: Films) -> list[NDArray[np.float32]]:
    """At most `MOST` films, evenly spread over those given, as the model takes them, each (1, channels, h,
    w).
    """
    chosen = (
        [films[i] for i in np.unique(np.linspace(0, len(films) - 1, MOST).round().astype(int))]
        if films
        else []
    )
    found = []
    for film in chosen:
        try:
            found.append(bundle.prepare(film if isinstance(film, Radiograph) else read(film)).numpy())
        except HilumError as error:
            logger.warning("left out: %s", error)
    return found


def openvino_graph(graph: bytes, inputs: list[NDArray[np.float32]] | None) -> dict[str, bytes]:
    """The graph as OpenVINO's two files (`xml`, `bin`), quantised by `inputs` where there are any."""
    openvino = extra("openvino", "export")
    try:
        model = openvino.Core().read_model(model=graph)
    except Exception as error:  # an odd graph trips anything in it
        raise BundleError(f"OpenVINO cannot read its graph ({first_line(error)})") from error
    if inputs is not None:
        nncf = extra("nncf", "export to INT8")
        logging.getLogger("nncf").setLevel(
            logging.ERROR
        )  # its own function would silence every handler of the process
        try:
            model = nncf.quantize(
                model,
                nncf.Dataset(inputs),
                subset_size=len(inputs),
                preset=nncf.QuantizationPreset.MIXED,
                ignored_scope=nncf.IgnoredScope(names=[*_first_convolutions(model), *_last_nodes(model)]),
            )
        except Exception as error:  # likewise; nncf's own errors have no common base
            raise BundleError(f"its graph cannot be made INT8 ({first_line(error)})") from error
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "model.xml"
        try:
            openvino.save_model(model, path, compress_to_fp16=False)
            return {"xml": path.read_bytes(), "bin": path.with_suffix(".bin").read_bytes()}
        except (OSError, RuntimeError) as error:
            raise BundleError(f"the model cannot be written ({first_line(error)})", path=path) from error


def _first_convolutions(model: Any) -> list[str]:
    """Names of the convolutions with fewer than `FIRST` others before them, on every way from the images."""
    depths: dict[str, int] = {}
    found = []
    for node in model.get_ordered_ops():  # inputs before what they feed
        before = max(
            (depths[value.get_node().get_friendly_name()] for value in node.input_values()), default=0
        )
        convolves = node.get_type_name() in ("Convolution", "GroupConvolution")
        depths[node.get_friendly_name()] = before + convolves
        if convolves and before < FIRST:
            found.append(node.get_friendly_name())
    return found


def _last_nodes(model: Any) -> list[str]:
    """Names of the operators, as OpenVINO calls them, between a classifier's embedding and its logits, or behind the last
    layers with weights that boxes and scores come of.
    """
    outputs = {port.get_any_name(): port.get_node() for port in model.outputs}
    if "embedding" in outputs:
        stop = outputs["embedding"].input_value(0).get_node().get_friendly_name()
        return _behind([outputs["logits"]], lambda node: node.get_friendly_name() == stop)
    if BOXES[0] in outputs:
        return _behind([outputs[name] for name in BOXES], lambda node: node.get_type_name() in WEIGHTED)
    return []


def _behind(outputs: list[Any], stops: Callable[[Any], bool]) -> list[str]:
    """The operators that lie between outputs and those, going back, at which it stops; these and constants left out."""
    waiting, found = [output.input_value(0).get_node() for output in outputs], set[str]()
    while waiting:
        node = waiting.pop()
        if stops(node) or node.get_friendly_name() in found:
            continue
        if node.get_type_name() != "Constant":
            found.add(node.get_friendly_name())
        waiting += [value.get_node() for value in node.input_values()]
    return sorted(found)


@torch.inference_mode()
def _drift(
    bundle: Bundle, model: Any, form: Form, members: dict[str, bytes], inputs: list[NDArray[np.float32]]
) -> float:
    """The largest difference of a probability between an exported form and torch: of a detector, of a film's best score of a
    class, whose box must stay where it is too (`MOVED`) in a float32 form.
    """
    steps = bundle.info.preparation
    chosen = (
        [inputs[i] for i in np.unique(np.linspace(0, len(inputs) - 1, TRIED).round().astype(int))]
        if inputs
        else []
    )
    noise = np.random.default_rng(0).standard_normal((3, steps.channels, *steps.size), np.float32)
    batches = chosen or [noise, noise[:1]]
    head = model.head if isinstance(model, Classifier) else None
    graph = opened(form, members, torch.get_num_threads(), bundle.info.name)
    runtime = ExportedRuntime(form, graph, head, bundle.info.name)
    if isinstance(model, Detector):
        return max(_moved(runtime, model, form, x, bundle) for x in map(torch.from_numpy, batches))
    axis = 1 if bundle.info.task == "segment" else -1

    def probabilities(logits: Tensor) -> Tensor:
        return bundle.probabilities(logits.movedim(axis, -1))

    pairs = (
        (probabilities(runtime.logits(x)), probabilities(model(x))) for x in map(torch.from_numpy, batches)
    )
    return max(float((ours - theirs).abs().max()) for ours, theirs in pairs)


def _moved(runtime: ExportedRuntime, model: Detector, form: Form, images: Tensor, bundle: Bundle) -> float:
    """The largest difference of a film's best score of a class. BundleError where a float32 form has its box elsewhere."""
    found = []
    for boxes, scores in (runtime.boxes(images), model.detect(images)):
        best, place = scores.max(1)
        found.append((boxes.gather(1, place[..., None].expand(-1, -1, 4)), best))
    (boxes, ours), (wanted, theirs) = found
    apart = (boxes - wanted).abs().amax(-1)[theirs >= SEEN]
    if form != "int8" and apart.numel() and float(apart.max()) > MOVED:
        raise BundleError(
            f"as {form} its boxes lie elsewhere (by {apart.max():.2g} pixels)", path=bundle.info.name
        )
    return float((ours - theirs).abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's warnings, which the comparison with torch answers, and nncf's progress bars."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(cast(Any, io.StringIO())):
        warnings.simplefilter("ignore")
        yield
