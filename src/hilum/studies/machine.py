"""What a study ran on, in words, without the machine's name."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from hilum.learning.phases import checked_device

CPUINFO = Path("/proc/cpuinfo")


def device_of(device: str) -> str:
    """`cuda` or `cpu`, for `auto` what there is. RecipeError where it is not there."""
    wanted = checked_device(device)
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine(device: str) -> str:
    """Processor, cores and, where `device` is one, the GPU."""
    gpu = f"{torch.cuda.get_device_name(0)}, " if device_of(device) == "cuda" else ""
    return f"{gpu}{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def processor() -> str:
    """The processor's model as the system names it."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:  # no Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(filter(None, models), platform.processor() or platform.machine())
