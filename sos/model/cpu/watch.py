"""Whether kernels may stand in for the modules of a model, decided anew at each call, without a walk through the model.

The modules are listed once per model; a call looks at what can have changed since: hooks, children that were replaced,
weights that were moved or cast, autocast, and the training mode.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from sos.errors import UserError

MODEL = "sos.model.gpt"  # the module whose classes the kernels compute
KINDS = (nn.Linear, nn.Embedding, nn.Dropout, nn.ModuleList)


class Parts(NamedTuple):
    """The modules of a model, as they were when they were listed."""

    modules: list[nn.Module]
    # Of each module that has children: the dict that holds them, and what it held.
    children: list[tuple[dict[str, Any], tuple[Any, ...]]]
    odd: str  # a module that the kernels know nothing of, or nothing


_PARTS: WeakKeyDictionary[nn.Module, Parts] = WeakKeyDictionary()


def obstacle(model: Any) -> str:
    """Return why the kernels do not compute what the modules of a `sos.model.gpt.GPT` would, or nothing if they do."""
    if torch.is_autocast_enabled("cpu"):
        return "they compute in float32, not under autocast"
    if model.training and model.config.dropout > 0:
        return f"they have no dropout, and model.dropout={model.config.dropout}"
    parts = _list(model) if torch.compiler.is_compiling() else _listed(model)
    if parts.odd:
        return f"they know nothing of {parts.odd}"
    if _has_any_global_hook():
        return "they call no hooks, and there are some for all modules"
    for module in parts.modules:
        hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
        if hooks or module._backward_pre_hooks:
            return f"they call no hooks, and a {type(module).__name__} has some"
        for name, weight in module._parameters.items():
            if weight is None:
                continue
            if name != "weight":
                return f"they know nothing of a {name} of {type(module).__name__}"
            if weight.dtype != torch.float32 or weight.device.type != "cpu":
                return f"they take float32 on the CPU, and the weights are {weight.dtype} on {weight.device}"
    return ""


def required(obstacle: str) -> UserError:
    """Return the error of a model that has to be computed by kernels and cannot be."""
    return UserError(f"model.kernels=cpu: the kernels cannot stand in for this model: {obstacle}")


def _listed(model: nn.Module) -> Parts:
    parts = _PARTS.get(model)
    if parts is None or any(tuple(children.values()) != before for children, before in parts.children):
        parts = _PARTS[model] = _list(model)
    return parts


def _list(model: nn.Module) -> Parts:
    modules = list(model.modules())
    odd = [m for m in modules if type(m) not in KINDS and type(m).__module__ != MODEL]
    children = [(module._modules, tuple(module._modules.values())) for module in modules if module._modules]
    return Parts(modules, children, type(odd[0]).__name__ if odd else "")
