"""One face over torch (on a processor or a GPU), ONNX Runtime and OpenVINO: prepared images in; features, embedding and
logits out, or boxes.

A classifier's exported graph ends in three outputs: the last feature map, the embedding, and logits for
other programs. Hilum takes the first two and keeps the head, which is tiny, in torch. So dropout samples,
activation maps and calibration are the same code under every runtime, and the head of an INT8 form is not
rounded. A segmenter's graph ends in its logits, a detector's in boxes and their scores.

Exported forms are opened from the bytes whose checksums were verified. Nothing in them is executed but their
own operators: neither runtime is given custom operators, and an ONNX graph that points to files outside
itself is refused.
"""

from __future__ import annotations

import copy
import importlib
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hilum.bundles.files import EXPORTED
from hilum.bundles.machine import choice
from hilum.errors import BundleError, MissingExtraError
from hilum.models import Classifier, Model
from hilum.models.contract import Detector

if TYPE_CHECKING:
    from hilum.bundles.bundle import Bundle

NAMES = ("torch", *EXPORTED)
CUDA, TENSORRT, TUNED = "cuda", "tensorrt", "tuned"
CHOICES = (TUNED, *NAMES, CUDA, TENSORRT)
"""What may be asked for: `tuned` is what `hilum bundle tune` chose for this machine, `cuda` is torch on a GPU, `tensorrt`
runs the form `onnx` there."""
ON_GPU = (CUDA, TENSORRT)
GPU = "cuda"  # torch's device
FORMS = {CUDA: "torch", TENSORRT: "onnx"}
PROVIDERS = {
    "onnx": ["CPUExecutionProvider"],
    TENSORRT: ["TensorrtExecutionProvider", "CUDAExecutionProvider"],
}
IMAGES = "images"
OUTPUTS = ("features", "embedding", "logits")
BOXES = ("boxes", "scores")

Graph = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]
"""Images (n, channels, h, w) float32 to the graph's outputs by name."""


class Runtime(ABC):
    """What runs a bundle's model. `name`: one of `CHOICES` but `tuned`."""

    name: str

    @abstractmethod
    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A classifier's last spatial map (n, features, h', w') and embedding (n, features) of images, in
        one pass.
        """

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """Images (n, channels, h, w) to logits."""

    @abstractmethod
    def boxes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A detector's boxes (n, k, 4) and scores (n, k, classes) of images, as `Detector.detect` gives them."""


class TorchRuntime(Runtime):
    """The reference."""

    name = "torch"

    def __init__(self, model: Model) -> None:
        self.model = model

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        model = cast(Classifier, self.model)
        features = model.feature_map(images)
        return features, model.pool(features)

    def logits(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.model(images))

    def boxes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return cast(Detector, self.model).detect(images)


class GpuRuntime(TorchRuntime):
    """A copy of the model on a GPU, in float32 throughout. As with an exported graph all that follows a classifier's
    embedding stays on the processor, where the bundle is.
    """

    name = CUDA

    def __init__(self, model: Model) -> None:
        with _on_gpu():
            there = copy.deepcopy(model).to(GPU)
        super().__init__(there.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self.head = model.head if isinstance(model, Classifier) else None

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with _on_gpu():
            features, embedding = super().features(images.to(GPU))
            return features.cpu(), embedding.cpu()

    def logits(self, images: Tensor) -> Tensor:
        if self.head is not None:
            return cast(Tensor, self.head(self.features(images)[1]))
        with _on_gpu():
            return super().logits(images.to(GPU)).cpu()

    def boxes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with _on_gpu():
            boxes, scores = super().boxes(images.to(GPU))
            return boxes.cpu(), scores.cpu()


@contextmanager
def _on_gpu() -> Iterator[None]:
    """Without TF32, in which a GPU rounds the factors of a convolution to 10 bits unless it is told not to. BundleError
    where the GPU fails, such as for want of memory.
    """
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    except RuntimeError as error:
        mend = "Give it fewer --jobs at a time, or run it in torch"
        raise BundleError(f"the GPU fails ({first_line(error)})", mend=mend) from error


class ExportedRuntime(Runtime):
    """An exported graph, with the classifier's head in torch. Raises BundleError where the graph fails on
    its images.
    """

    def __init__(self, name: str, graph: Graph, head: nn.Module | None, place: str | Path) -> None:
        self.name, self.graph, self.head, self.place = name, graph, head, place

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self._run(images)
        return found["features"], found["embedding"]

    def logits(self, images: Tensor) -> Tensor:
        found = self._run(images)
        return found["logits"] if self.head is None else cast(Tensor, self.head(found["embedding"]))

    def boxes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = self._run(images)
        return found["boxes"], found["scores"]

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        try:
            found = self.graph(images.detach().cpu().contiguous().numpy())
        except Exception as error:
            raise BundleError(f"its form {self.name} fails ({first_line(error)})", path=self.place) from error
        return {name: torch.from_numpy(values) for name, values in found.items()}


def start(bundle: Bundle, name: str, place: str | Path, threads: int | None = None) -> Runtime | None:
    """The runtime `name` on `bundle`'s exported form, with `threads` (None: torch's number); None for torch, and for
    `tuned` where nothing else was chosen for this machine.

    Raises BundleError where the name is unknown, there is no GPU to run it, or the bundle lacks that form or holds one
    that cannot be opened, and MissingExtraError where the runtime is not installed.
    """
    if name not in CHOICES:
        raise BundleError(f"there is no runtime '{name}'", mend=f"Choose from: {', '.join(CHOICES)}")
    name = choice(bundle.info) if name == TUNED else name
    if name == "torch":
        return None
    if name == CUDA:
        if not torch.cuda.is_available():
            raise BundleError(
                "there is no CUDA GPU here, or this torch cannot use it", mend="Run it in torch"
            )
        return GpuRuntime(bundle.model)
    form = FORMS.get(name, name)
    if form not in bundle.info.exports:
        raise BundleError(
            f"the bundle '{bundle.info.name}' has no form '{form}'",
            path=place,
            mend=f"Make one: hilum bundle export {place} --to {form} --out DIR",
        )
    graph = opened(name, bundle.exported, threads or torch.get_num_threads(), place)
    head = bundle.model.head if isinstance(bundle.model, Classifier) else None
    return ExportedRuntime(name, graph, head, place)


def opened(name: str, members: dict[str, bytes], threads: int, place: str | Path) -> Graph:
    """The exported form `name` among `members`, ready to run. Raises as `start`."""
    content = [members[file] for file in EXPORTED[FORMS.get(name, name)]]
    try:
        if name in PROVIDERS:
            onnx, onnxruntime = (extra(package, f"the runtime {name}") for package in ("onnx", "onnxruntime"))
            return _onnx(onnx, onnxruntime, content[0], threads, PROVIDERS[name])
        return OpenVino(extra("openvino", f"the runtime {name}"), content[0], content[1], threads)
    except MissingExtraError:
        raise
    except Exception as error:
        raise BundleError(f"its form {name} cannot be opened ({first_line(error)})", path=place) from error


def extra(package: str, feature: str) -> Any:
    """A package of the extra `export`. Raises MissingExtraError.

    OpenVINO and nncf are imported without their telemetry, which would tell a web service of every import: to them it is
    not installed, for which both have a stub.
    """
    sys.modules.setdefault("openvino_telemetry", cast(Any, None))
    loggers = logging.getLoggerClass()
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError.named("export", feature) from error
    finally:
        logging.setLoggerClass(loggers)  # nncf would make every later logger of the process one of its own


def _onnx(onnx: Any, onnxruntime: Any, content: bytes, threads: int, providers: list[str]) -> Graph:
    if providers[0] not in onnxruntime.get_available_providers():
        raise ValueError(
            f"ONNX Runtime has no {providers[0]} here: it comes with onnxruntime-gpu and TensorRT"
        )
    tensors = onnx.load_model_from_string(content).graph.initializer
    if any(onnx.external_data_helper.uses_external_data(tensor) for tensor in tensors):
        raise ValueError("it points to files outside itself")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors are raised; warnings about the graph are no user's concern
    session = onnxruntime.InferenceSession(content, options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(names, {IMAGES: images}), strict=True))


class OpenVino:
    """An OpenVINO graph, its batch fixed to one film: with a free batch it takes half as long again, and
    OpenVINO 2026.4 crashes on some INT8 graphs. Films of a batch run one after the other, so a film's
    numbers do not depend on its neighbours.
    """

    def __init__(self, openvino: Any, description: bytes, weights: bytes, threads: int) -> None:
        core = openvino.Core()
        model = core.read_model(model=description, weights=weights)
        model.reshape([1, *(side.get_length() for side in list(model.input(IMAGES).partial_shape)[1:])])
        # float32 is said aloud: on processors with bfloat16 or float16 OpenVINO would take that of itself.
        # Its threads are not tied to cores: those of several processes would all be tied to the same ones.
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        self.compiled = core.compile_model(model, "CPU", settings)
        self.names = [output.get_any_name() for output in self.compiled.outputs]

    def __call__(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        each = [self.compiled({IMAGES: image[None]}) for image in images]
        return {name: np.concatenate([found[name] for found in each]) for name in self.names}


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
