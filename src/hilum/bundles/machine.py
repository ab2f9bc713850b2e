"""Which machine this is, as far as the choice of a runtime depends on it, and what was chosen for it."""

from __future__ import annotations

import functools
import logging
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hilum.bundles.info import WEIGHTS, Info

logger = logging.getLogger(__name__)

TORCH = "torch"
PACKAGES = {
    "torch": "torch",
    "cuda": "torch",
    "onnx": "onnxruntime",
    "tensorrt": "onnxruntime-gpu",
    "openvino": "openvino",
    "int8": "openvino",
}
"""What runs a bundle under each runtime."""
SPEEDS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm")
"""Instructions by which processors of one name differ in the speed of 8-bit and 32-bit products."""


@functools.cache
def machine() -> str:
    """This machine's processor, the instructions of it that count, the cores that this process may use, and whether there is
    a GPU that it may use."""
    import torch

    facts = _processor()
    name = facts.get("model name") or platform.processor() or platform.machine()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpu = ", a GPU" if torch.cuda.is_available() else ""
    return f"{name} ({' '.join(s for s in SPEEDS if s in flags) or platform.machine()}), {cores} cores{gpu}"


def versions() -> dict[str, str]:
    """Installed versions of what runs bundles."""
    found = {}
    for package in sorted(set(PACKAGES.values())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def choice(info: Info) -> str:
    """The runtime that was chosen for the bundle on this machine; torch where none was, or the choice no longer holds."""
    found = info.tuned.get(machine())
    if found is None:
        return TORCH
    package = PACKAGES.get(found.chosen, "")
    holds = found.weights == info.files.get(WEIGHTS) and found.versions.get(package) == versions().get(
        package
    )
    if not holds:
        logger.warning(
            "'%s' was tuned with other weights, or another %s: it runs in torch until it is tuned again",
            info.name,
            package,
        )
    return found.chosen if holds else TORCH


def _processor() -> dict[str, str]:
    """What Linux says of the first processor; elsewhere nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
