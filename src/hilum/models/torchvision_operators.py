"""Lets torchvision be imported beside a torch build that its compiled operators were not linked with.

On a machine without CUDA, pip pairs the CPU build of torch with a torchvision wheel whose compiled operators need CUDA.
They fail to load, and `import torchvision` then stops with "operator torchvision::nms does not exist", because its Python
side registers shapes for operators that were never defined. Hilum calls none of them, so defining their schemas is enough.
They are defined only when absent: defining them twice raises.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

_library: torch.library.Library | None = None  # schemas live as long as the library object


def define_missing() -> None:
    """Define `torchvision::nms` and `qnms` where torchvision's own operators cannot be loaded."""
    global _library
    if _library is not None or _operators_load():
        return
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(schema)


def _operators_load() -> bool:
    """True where torchvision's compiled operators load (or there is no torchvision to mend)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for compiled in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            return False
        return True
    return False
