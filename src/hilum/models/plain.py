"""Models without parametrisations, for what knows none."""

from __future__ import annotations

import copy
from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize


def plain(model: nn.Module) -> nn.Module:
    """The model with the weights that its parametrisations (spectral norm) come to; ONNX knows no parametrisation."""
    made = copy.deepcopy(model)
    for parent in list(made.modules()):
        for name, child in parent.named_children():
            if parametrize.is_parametrized(child):
                setattr(parent, name, _unparametrised(child))
    return made


def _unparametrised(module: nn.Module) -> nn.Module:
    """A module of the class that it was; torch's own removal would change the class that copies of it share."""
    kind: Any = type(module).__bases__[0]
    found: nn.Module = kind.__new__(kind)
    found.__dict__.update(module.__dict__)
    given = cast(nn.ModuleDict, module.parametrizations)
    weights = {name: nn.Parameter(getattr(module, name).detach(), requires_grad=False) for name in given}
    found._parameters = {**module._parameters, **weights}
    found._modules = {name: child for name, child in module._modules.items() if name != "parametrizations"}
    return found
