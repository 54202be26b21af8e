"""What metrics.json and provenance.json of a finished run may say: their schema, and which values are possible at all.

Everything is plain data: a text such as `${oc.env:HOME}` in a recorded config is a text and is never resolved.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from sos.config import GROUPS
from sos.judge.metrics import COUNTS, Metric, is_rate
from sos.schema.keys import INT64

_REQUIRED = {"name": str, "overrides": dict, "seed": int, "config": dict, "train": dict, "metrics": dict}
_ROUNDING = 1e-9  # by which a rate may miss 0 or 1


def schema_complaint(content: Any) -> str | None:
    """Return what is wrong with the structure of a metrics.json, or None."""
    if not isinstance(content, dict):
        return f"it holds {type(content).__name__}, not an object"
    for key, kind in _REQUIRED.items():
        value = content.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            return f"{key} must be {kind.__name__}, got {type(value).__name__ if key in content else 'nothing'}"
    for key in ("tokens", "problems"):
        if not _is_number(content["train"].get(key)):
            return f"train/{key} must be a number, got {_short(content['train'].get(key))}"
    if not content["metrics"]:
        return "metrics is empty"
    for name, entry in content["metrics"].items():
        if not isinstance(entry, dict) or not {"value", "num"} <= entry.keys():
            return f"metrics/{name} must hold value, low, high and num"
        for key in Metric._fields:
            if entry.get(key) is not None and not _is_number(entry[key]):
                return f"metrics/{name}/{key} must be a number or null, got {_short(entry[key])}"
    return _curves_complaint(content.get("budget_curve"))


def _curves_complaint(curves: Any) -> str | None:
    if curves is None:
        return None
    if not isinstance(curves, dict):
        return f"budget_curve must be an object, got {type(curves).__name__}"
    for split, curve in curves.items():
        columns = [curve.get(key) for key in ("tokens", "solved")] if isinstance(curve, dict) else [None]
        if not all(isinstance(column, list) and all(map(_is_number, column)) for column in columns):
            return f"budget_curve/{split} must hold lists of numbers, tokens and solved"
        if len(curve["tokens"]) != len(curve["solved"]):
            return f"budget_curve/{split} holds {len(curve['tokens'])} tokens and {len(curve['solved'])} solved"
    return None


def impossible(content: dict[str, Any]) -> str | None:
    """Return which value of a metrics.json of the right schema no run can have, by its name, or None."""
    return next(_impossible(content), None)


def _impossible(content: dict[str, Any]) -> Iterator[str]:
    yield from _outside("seed", content["seed"], -INT64, INT64)
    if not isinstance(content.get("code_hash"), str | None):
        yield f"code_hash must be a text, got {_short(content['code_hash'])}"
    for key, value in content["overrides"].items():
        if isinstance(value, dict | list):
            yield f"overrides/{key} must be one value, got {_short(value)}"
    for group in GROUPS:
        if not isinstance(content["config"].get(group), dict | None):
            yield f"config/{group} must hold keys, got {_short(content['config'][group])}"
    batch = (content["config"].get("trainer") or {}).get("batch_tokens", 0)
    yield from _outside("config/trainer/batch_tokens", batch, 0, INT64)
    for key, value in content["train"].items():
        if value is not None:  # what could not be measured
            yield from _outside(f"train/{key}", value, 0, math.inf)
    for name, entry in content["metrics"].items():
        yield from _impossible_metric(name, entry)
    for split, curve in (content.get("budget_curve") or {}).items():
        for key, most in (("tokens", INT64), ("solved", 1 + _ROUNDING)):
            for value in curve[key]:
                yield from _outside(f"budget_curve/{split}/{key}", value, 0, most)


def _impossible_metric(name: str, entry: dict[str, Any]) -> Iterator[str]:
    where, low, high = f"metrics/{name}", entry.get("low"), entry.get("high")
    if isinstance(entry["num"], float) or entry["num"] is None:
        yield f"{where}/num must be a whole number, got {entry['num']}"
    yield from _outside(f"{where}/num", entry["num"] or 0, 0, INT64)
    for key in ("value", "low", "high"):
        # The low end of a normal interval can be negative where the value cannot.
        least = -_ROUNDING if is_rate(name) else 0 if key == "value" and name.startswith(COUNTS) else -math.inf
        if entry.get(key) is not None:
            yield from _outside(f"{where}/{key}", entry[key], least, 1 + _ROUNDING if is_rate(name) else math.inf)
    if low is not None and high is not None and low > high:
        yield f"{where}/low={low} is above high={high}"


def sweep_complaint(sweep: Any) -> str | None:
    """Return what is wrong with what a provenance.json says about the run's sweep, or None; null is no sweep."""
    if sweep is None:
        return None
    if not isinstance(sweep, dict):
        return f"sweep must be an object, got {_short(sweep)}"
    for key in ("name", "arm", "question", "primary", "baseline"):
        if not isinstance(sweep.get(key), str | None):
            return f"sweep/{key} must be a text, got {_short(sweep[key])}"
    arms = sweep.get("arms")
    if arms is not None and not (isinstance(arms, list) and all(isinstance(arm, str) for arm in arms)):
        return f"sweep/arms must be a list of names, got {_short(arms)}"
    expect = sweep.get("expect", [])
    if not (isinstance(expect, list) and all(isinstance(text, str) for text in expect)):
        return f"sweep/expect must be a list of texts, got {_short(expect)}"
    return None


def provenance_complaint(content: dict[str, Any]) -> str | None:
    """Return what is wrong with what a provenance.json says a run was made of, or None."""
    for key in ("data_hashes", "versions"):
        found = content.get(key)
        if not isinstance(found, dict):
            return f"{key} must be an object, got {_short(found)}"
        for name, value in found.items():
            if not isinstance(value, str):
                return f"{key}/{name} must be a text, got {_short(value)}"
    for key in ("name", "code_hash"):
        if not isinstance(content.get(key), str | None):
            return f"{key} must be a text, got {_short(content[key])}"
    git = content.get("git")
    if not isinstance(git, dict | None) or not isinstance((git or {}).get("commit"), str | None):
        return f"git must hold a commit, got {_short(git)}"
    return sweep_complaint(content.get("sweep"))


def _outside(where: str, value: Any, least: float, most: float) -> Iterator[str]:
    """Yield a complaint about a value that is no finite number from `least` to `most`."""
    try:
        fine = _is_number(value) and math.isfinite(value) and least <= value <= most
    except OverflowError:  # a whole number of hundreds of digits
        fine = False
    if not fine:
        bounds = (
            "finite" if least == -math.inf else f"at least {least:g}" if most == math.inf else f"{least:g} to {most:g}"
        )
        yield f"{where} must be {bounds}, got {_short(value)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return repr(value)[:60]
