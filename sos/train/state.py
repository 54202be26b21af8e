"""The training state in a checkpoint, checked against the run that is to go on, before Lightning sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from sos.errors import UserError
from sos.runs.checkpoint import MODEL_PREFIX, LoadedCheckpoint
from sos.train.lit import LitGPT
from sos.train.saving import ShardedStrategy

VERSION = "pytorch-lightning_version"


class Cursors(NamedTuple):
    """What a checkpoint of a run says of where its training data go on."""

    name: str  # of its entry
    schema: type  # a dataclass
    complaint: Callable[[Any], str | None]  # what is impossible about one of this run, or None
    optimizer_steps: int | None = None  # of every checkpoint's optimizer, where that begins anew; None: all of the run


class _Damaged(Exception):
    """Where the state does not fit, and how."""


def training_state(loaded: LoadedCheckpoint, trainer: L.Trainer, lit: LitGPT, cursors: Cursors) -> dict[str, Any]:
    """Return what Lightning continues with: nothing of the file but what was checked.

    The options of the optimizer are those of this run. Raises UserError that names the file and the entry if the
    training state is missing, incomplete, of another shape, or impossible for this run, as `cursors` say.
    """
    content = loaded.content
    try:
        steps = _steps(content)
        fit = trainer.fit_loop.state_dict()
        loops = content.get("loops")
        _check_like(fit, loops.get("fit_loop") if isinstance(loops, dict) else None, "loops/fit_loop")
        assert isinstance(loops, dict)
        _check_loop(loops["fit_loop"], steps)
        return {
            "epoch": 0,
            "global_step": steps,
            VERSION: str(content[VERSION]),
            "state_dict": {f"{MODEL_PREFIX}{name}": weight for name, weight in loaded.state_dict.items()}
            | _beside_the_model(content, lit),
            "loops": {"fit_loop": loops["fit_loop"]},
            "callbacks": _callback_states(content.get("callbacks"), trainer),
            "optimizer_states": [_optimizer_state(loaded, lit, trainer, cursors.optimizer_steps or steps)],
            "lr_schedulers": [],
            cursors.name: _cursor(content.get(cursors.name), cursors),
        }
    except _Damaged as error:
        raise UserError(f"{loaded.path} cannot be continued: {error}") from error


def _steps(content: dict[str, Any]) -> int:
    steps = content.get("global_step")
    if type(steps) is not int or not 0 < steps < 2**53:
        raise _Damaged(f"global_step is {steps!r}")
    if not isinstance(content.get(VERSION), str):
        raise _Damaged(f"{VERSION} is missing")
    return steps


def _check_like(expected: Any, found: Any, where: str) -> None:
    """Raise _Damaged unless `found` has the keys and kinds of values of `expected`, with numbers from 0 up."""
    if isinstance(expected, Tensor):
        if not isinstance(found, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
            raise _Damaged(f"{where} is no tensor of shape {tuple(expected.shape)} and type {expected.dtype}")
        if not bool(torch.isfinite(found).all()):
            raise _Damaged(f"{where} holds numbers that are not finite")
    elif isinstance(expected, dict):
        if not isinstance(found, dict) or found.keys() != expected.keys():
            raise _Damaged(f"{where} is missing or has other entries")
        for key, value in expected.items():
            _check_like(value, found[key], f"{where}/{key}")
    elif isinstance(expected, bool) or not isinstance(expected, (int, float)):
        if type(found) is not type(expected):
            raise _Damaged(f"{where} is {found!r:.60}")
    else:
        kinds = (int, float) if isinstance(expected, float) else (int,)
        if type(found) not in kinds or not 0 <= found < (math.inf if isinstance(found, float) else 2**62):
            raise _Damaged(f"{where} is {found!r:.60}")


def _leaves(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, f"{where}/{key}")
    else:
        yield where, node


def _check_loop(loop: dict[str, Any], steps: int) -> None:
    """Check that all counts are of a run of one epoch with `steps` steps."""
    for where, value in _leaves(loop, "loops/fit_loop"):
        if type(value) is int and value not in (0, 1, steps - 1, steps):
            raise _Damaged(f"{where} is {value}, global_step {steps}")
    progress = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    for where, value in _leaves(progress, "loops/fit_loop/optimizer/step"):
        if value != steps:
            raise _Damaged(f"{where} is {value}, global_step {steps}")


def _callback_states(found: Any, trainer: L.Trainer) -> dict[str, Any]:
    """Return the states of the callbacks that this run has; one that was not there before starts anew."""
    if not isinstance(found, dict):
        raise _Damaged("callbacks is missing")
    states: dict[str, Any] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        expected = callback.state_dict()
        if expected and callback.state_key in found:
            states[callback.state_key] = found[callback.state_key]
            _check_like(expected, states[callback.state_key], f"callbacks/{callback.state_key}")
    return states


def _beside_the_model(content: dict[str, Any], lit: LitGPT) -> dict[str, Tensor]:
    """Return the weights of a run that are not of its model, such as those of a critic."""
    expected = {name: like for name, like in lit.state_dict().items() if not name.startswith(MODEL_PREFIX)}
    found = {name: value for name, value in content["state_dict"].items() if not name.startswith(MODEL_PREFIX)}
    if found.keys() != expected.keys():
        raise _Damaged(f"state_dict lacks {_first(expected, found)} or has {_first(found, expected)}")
    for name, like in expected.items():
        _check_tensor(found[name], like.shape, like.dtype, f"state_dict/{name}")
    return found


def _first(names: dict[str, Any], others: dict[str, Any]) -> str:
    """Return the first name that is not among others."""
    return next((name for name in names if name not in others), "nothing")


def _cursor(found: Any, cursors: Cursors) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != {field.name for field in fields(cursors.schema)}:
        raise _Damaged(f"{cursors.name}, which says where the training data go on, is missing or has other entries")
    complaint = cursors.complaint(cursors.schema(**found))
    if complaint:
        raise _Damaged(f"{cursors.name}: {complaint}")
    return found


def _optimizer_state(loaded: LoadedCheckpoint, lit: LitGPT, trainer: L.Trainer, steps: int) -> dict[str, Any]:
    """Return the optimizer's state, keyed by names, with the options of this run."""
    found = loaded.content.get("optimizer_states")
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise _Damaged("optimizer_states is missing or not of one optimizer")
    state, groups = found[0].get("state"), found[0].get("param_groups")
    if not isinstance(state, dict) or not isinstance(groups, list) or not all(isinstance(g, dict) for g in groups):
        raise _Damaged("optimizer_states has no state or no groups")
    options = _options(lit, sharded=isinstance(trainer.strategy, ShardedStrategy))
    if [group.get("params") for group in groups] != [group["params"] for group in options]:
        raise _Damaged("optimizer_states is of other parameters")
    wanted = {
        name: {"step", "momentum"} if group.get("muon") else {"step", "exp_avg", "exp_avg_sq"}
        for group in options
        for name in group["params"]
    }
    if state.keys() != wanted.keys():
        raise _Damaged("optimizer_states lacks parameters or has others")
    weights = lit.state_dict() | {f"{MODEL_PREFIX}{name}": weight for name, weight in loaded.state_dict.items()}
    for name, keys in wanted.items():
        entry = state[name]
        if not isinstance(entry, dict) or entry.keys() != keys:
            raise _Damaged(f"optimizer_states/{name} is incomplete")
        weight = weights[name]
        _check_entry(entry, weight, f"optimizer_states/{name}", steps)
    return {"state": state, "param_groups": options}


def _options(lit: LitGPT, sharded: bool) -> list[dict[str, Any]]:
    """Return the groups of the optimizer of this run, its parameters by their names."""
    optimizer = lit.configure_optimizers()
    names = iter(lit.optimized_names(optimizer))
    groups = []
    for group in optimizer.param_groups:
        members = [next(names) for _ in group["params"]]
        groups.append(group | {"params": members, "fused": not sharded})
    return groups


def _check_entry(entry: dict[str, Any], weight: Tensor, where: str, steps: int) -> None:
    """Check the tensors that an optimizer keeps for a weight: of its shape and type, but for the count of the steps."""
    for key, value in entry.items():
        shape, dtype = (torch.Size(), torch.float32) if key == "step" else (weight.shape, weight.dtype)
        _check_tensor(value, shape, dtype, f"{where}/{key}")
    if float(entry["step"]) != steps or ("exp_avg_sq" in entry and bool((entry["exp_avg_sq"] < 0).any())):
        raise _Damaged(f"{where} is of another step, or holds a negative square")


def _check_tensor(value: Any, shape: torch.Size, dtype: torch.dtype, where: str) -> None:
    if not isinstance(value, Tensor) or value.shape != shape or value.dtype != dtype:
        raise _Damaged(f"{where} is no tensor of shape {tuple(shape)} and type {dtype}")
    if not bool(torch.isfinite(value).all()):
        raise _Damaged(f"{where} holds numbers that are not finite")
