"""Bundles: save, load and verify the one artifact that joins training and analysis."""

from hilum.bundles.bundle import Bundle, load, save, verify
from hilum.bundles.files import builtin_folder, builtin_names
from hilum.bundles.info import Info

__all__ = ["Bundle", "Info", "builtin_folder", "builtin_names", "load", "save", "verify"]
