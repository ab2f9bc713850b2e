"""Models: a registry of architectures, each one file, each held to the contract in `contract.py`."""

from hilum.models import torchvision_operators

torchvision_operators.define_missing()  # before anything below imports timm, which imports torchvision

from hilum.models.contract import Classifier, Encoder, Model, Segmenter  # noqa: E402
from hilum.models.registry import build, names, register  # noqa: E402

__all__ = ["Classifier", "Encoder", "Model", "Segmenter", "build", "names", "register"]
