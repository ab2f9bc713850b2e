"""Bundles: save, load and verify the one artifact that joins training and analysis.

The module that needs torch is imported when one of its names is first used: what only cites a bundle starts fast.
"""

from typing import TYPE_CHECKING, Any

from hilum.bundles.files import builtin_folder, builtin_names
from hilum.bundles.info import Info

if TYPE_CHECKING:
    from hilum.bundles.bundle import Bundle, load, save, verify

__all__ = ["Bundle", "Info", "builtin_folder", "builtin_names", "load", "save", "verify"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hilum.bundles' has no attribute {name!r}")
    from hilum.bundles import bundle

    return getattr(bundle, name)
