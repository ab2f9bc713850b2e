"""Hilum reads chest radiographs. Research use only; not a medical device.

    film = hilum.read("chest.dcm")           # a Radiograph: pixels in [0, 1], bone white, and what the header says
    bundle = hilum.load("findings")          # a torch module with its preparation, labels and calibration
    report = hilum.analyze("chest.dcm")      # a Report; shows itself in a notebook

These names are looked up when first used, so that `import hilum` stays quick and free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilum.analysis.analyzer import Analyzer, analyze
    from hilum.analysis.report import Report
    from hilum.bundles.bundle import Bundle, load
    from hilum.images.radiograph import Radiograph
    from hilum.images.read import read

__version__ = "0.1.0"

_PLACES = {
    "Analyzer": "hilum.analysis.analyzer",
    "analyze": "hilum.analysis.analyzer",
    "Report": "hilum.analysis.report",
    "Bundle": "hilum.bundles.bundle",
    "load": "hilum.bundles.bundle",
    "Radiograph": "hilum.images.radiograph",
    "read": "hilum.images.read",
}

__all__ = ["Analyzer", "Bundle", "Radiograph", "Report", "__version__", "analyze", "load", "read"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'hilum' has no attribute {name!r}")
    value = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
