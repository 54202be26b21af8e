"""How kernels find what an environment implements of `sos.envs.protocol`: by the type of its NamedTuple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from sos.kernels import INNER

_IMPLEMENTATIONS: dict[tuple[str, type], Callable[..., Any]] = {}
_DEFAULTS: dict[str, Callable[..., Any]] = {}


def implements(
    stub: Callable[..., Any], kind: type, position: int = 0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as `stub` for the NamedTuple `kind`, found at argument `position`."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        _IMPLEMENTATIONS[stub.__name__, kind] = function

        @overload(stub, strict=False, jit_options=INNER)
        def choose(*arguments: Any) -> Callable[..., Any] | None:
            argument = arguments[position]
            if getattr(argument, "instance_class", None) is kind:
                return function
            return None

        return function

    return register


def capability(default: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make the decorated stub optional: `default`, of the same arguments, stands in where an environment lacks it."""

    def decorate(stub: Callable[..., Any]) -> Callable[..., Any]:
        _DEFAULTS[stub.__name__] = default

        @overload(stub, strict=False, jit_options=INNER)
        def choose(*arguments: Any) -> Callable[..., Any] | None:
            kind = getattr(arguments[0], "instance_class", None)
            return default if kind is not None and not has(stub.__name__, kind) else None

        return stub

    return decorate


def has(name: str, kind: type) -> bool:
    """Say whether the stub `name` was registered for the NamedTuple `kind`."""
    return (name, kind) in _IMPLEMENTATIONS


def implementation_of(name: str, kind: type) -> Callable[..., Any]:
    """Return what was registered as the stub `name` for the NamedTuple `kind`, or its default. Raises TypeError that
    names both."""
    found = _IMPLEMENTATIONS.get((name, kind)) or _DEFAULTS.get(name)
    if found is None:
        raise TypeError(f"{kind.__name__} does not implement {name}")
    return found


def defaults() -> set[str]:
    """Return the names of the stubs that have a default."""
    return set(_DEFAULTS)


def implemented(kind: type) -> set[str]:
    """Return the names of the stubs that are implemented for the NamedTuple `kind`."""
    return {name for name, other in _IMPLEMENTATIONS if other is kind}
