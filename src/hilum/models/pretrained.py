"""Weights to start from: safetensors files only, read strictly, never a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from hilum.errors import BundleError


def downloaded(name: str, **options: Any) -> nn.Module:
    """The timm model `name` with its ImageNet weights, from timm's cache or the network. BundleError without either."""
    import timm

    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # whatever the client of the day raises without a network
        raise BundleError(
            f"the ImageNet weights of {name!r} are not in timm's cache and cannot be downloaded"
            f" ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})",
            mend="Give a .safetensors file as `model.pretrained`, or start from random weights with"
            " --set model.pretrained=null",
        ) from error


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors file, floats as float32. Raises BundleError for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise BundleError("there are no weights here", path=path, mend="Give the path of a .safetensors file")
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise BundleError(
            f"this is not a safetensors file ({error})",
            path=path,
            mend="Hilum reads safetensors only; a pickle can execute code and is never opened",
        ) from error
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def load_pretrained(backbone: nn.Module, path: str | Path) -> None:
    """Load a backbone from a file that holds it, alone or with more on top, or from the weights of a Hilum bundle.

    Every tensor of `backbone` must be there with its shape; surplus tensors of the file (its classifier) are left out. A
    first convolution of three channels is summed for a backbone of one, which then gives what three alike would give.
    """
    tensors = read_weights(path)
    wanted = backbone.state_dict()
    for prefix in ("", "backbone.", "encoder.", "discriminator.", "generator."):
        found = {k: tensors[prefix + k] for k in wanted if prefix + k in tensors}
        if all(k in found or k.endswith("num_batches_tracked") for k in wanted):
            break
    found = {k: _summed(v, wanted[k].shape) for k, v in found.items()}
    missing = [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]
    wrong = [k for k in found if found[k].shape != wanted[k].shape]
    if missing or wrong:
        raise BundleError(
            f"these weights do not fit the backbone ({len(missing)} tensors missing, {len(wrong)} of another shape,"
            f" such as {(missing + wrong)[0]})",
            path=path,
            mend="Name the architecture that the file was made for",
        )
    backbone.load_state_dict(found, strict=False)


def _summed(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """A convolution's weights (o, 3, h, w) as (o, 1, h, w) where that is what is wanted."""
    if tensor.ndim == 4 and tensor.shape[1] == 3 and shape == (len(tensor), 1, *tensor.shape[2:]):
        return tensor.sum(1, keepdim=True)
    return tensor
