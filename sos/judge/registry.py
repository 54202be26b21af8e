"""What other rooms add to an evaluation, by name; `sos.published` adds its metric and its split when it is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sos.errors import UserError
from sos.judge.metrics import Metric

if TYPE_CHECKING:
    from sos.model.rollout import Rollout
    from sos.system import System

Value = TypeVar("Value")
# Key of `EvalConfig` that asks for it -> metrics of a split's greedy rollouts, without the split in their names.
MEASURES: dict[str, Callable[[System, Sequence[Rollout]], dict[str, Metric]]] = {}
# Split -> search strategies; the split holds the problems of `val` that none of them solves.
UNSOLVED_BY: dict[str, Callable[[System], list[Any]]] = {}


def registered(registry: Mapping[str, Value], name: str) -> Value:
    """Return the entry of one of the registries above. Raises UserError where nothing is registered under the name."""
    if name not in registry:
        raise UserError(
            f"{name!r} is not registered for evaluations; `import sos.published` registers what is published"
        )
    return registry[name]
