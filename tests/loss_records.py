"""How the records of published code are read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def numbers(values: Any) -> Any:
    """Numbers of a record, in which nan and inf are texts."""
    return [numbers(value) for value in values] if isinstance(values, list) else float(values)


def tensor_of(record: dict[str, Any], values: Any) -> Tensor:
    return torch.tensor(numbers(values), dtype=getattr(torch, record["dtype"]))


def near(record: dict[str, Any], found: Tensor, expected: Any, loose: float = 1e-6) -> bool:
    """Whether numbers agree to 1e-9 in float64 and to `loose` in float32, relative above 1."""
    wanted = tensor_of(record, expected)
    tolerance = 1e-9 if record["dtype"] == "float64" else loose
    return bool(((found - wanted).abs() <= tolerance * wanted.abs().clamp(min=1)).all())
