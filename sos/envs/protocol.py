"""What an environment offers: stubs that kernels call and that dispatch on the environment's type.

An environment is a NamedTuple of numbers. Each stub below is implemented for it with `@implements(stub, Environment)`:
numba resolves the call by the tuple's type while compiling, so that the implementation inlines and the caller stays
cacheable on disk. Called from plain Python, a stub looks the implementation up.

Rows (int32): `problem` (P,), `state` (W,), `action` (A,). Python-level facts about the sizes are class attributes
and methods of the environment (see `Countdown`): `problem_width`, `state_width`, `action_width`, `max_children`,
`max_depth`, `scratch_size`, `fields`, `symbols`, `proof_work`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba.extending import overload

from sos.kernels import INNER

TRUE, WRONG_RESULT, ILLEGAL = range(3)  # what `check_action` says

_IMPLEMENTATIONS: dict[tuple[str, type], Callable[..., Any]] = {}


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


def implementation_of(name: str, kind: type) -> Callable[..., Any]:
    """Return what was registered as the stub `name` for the NamedTuple `kind`. Raises TypeError that names both."""
    try:
        return _IMPLEMENTATIONS[name, kind]
    except KeyError:
        raise TypeError(f"{kind.__name__} does not implement {name}") from None


def root_state(env, problem, state):
    """Write the root state of `problem` into `state`."""
    return implementation_of("root_state", type(env))(env, problem, state)


def successors(env, kind, problem, scratch, state, moves, values):
    """Write all moves from `state` in generation order, `moves` int64 (C,), and what the heuristic `kind` (an index
    into the environment's `heuristics`) gives their children, `values` int64 (C,), scaled; return how many.

    A move is a number that `make_child` understands together with the same state. `prepare` has filled `scratch`.
    """
    return implementation_of("successors", type(env))(env, kind, problem, scratch, state, moves, values)


def make_child(env, state, move, action, child):
    """Write the action (A,) and the child (W,) of `move`, which `successors` gave for `state`."""
    return implementation_of("make_child", type(env))(env, state, move, action, child)


def apply_action(env, state, action, child):
    """Write into `child` the state that `action` *claims* to reach, using the claimed result; total.

    An operand that `state` does not hold is skipped, so that any claim has a successor. Return whether all were held.
    """
    return implementation_of("apply_action", type(env))(env, state, action, child)


def check_action(env, action):
    """Return `TRUE`, `WRONG_RESULT` or, for an action outside the rules, `ILLEGAL`."""
    return implementation_of("check_action", type(env))(env, action)


def is_leaf(env, state):
    """Say whether `state` has no successors by its shape."""
    return implementation_of("is_leaf", type(env))(env, state)


def is_goal(env, problem, state):
    """Say whether `state` solves `problem`."""
    return implementation_of("is_goal", type(env))(env, problem, state)


def leaf_value(env, state):
    """Return the number that a dead end or goal event quotes for `state`."""
    return implementation_of("leaf_value", type(env))(env, state)


def canonical(env, state, out):
    """Write a form of `state` that is equal for states with equal futures."""
    return implementation_of("canonical", type(env))(env, state, out)


def prepare(env, kind, problem, scratch):
    """Fill `scratch` int64 with what `successors` needs for `problem` and the heuristic `kind`."""
    return implementation_of("prepare", type(env))(env, kind, problem, scratch)


def hopeless(env, problem, state, look_ahead):
    """Say whether `state` is fewer than `look_ahead` actions away from its leaves and none of these is a goal."""
    return implementation_of("hopeless", type(env))(env, problem, state, look_ahead)


def out_of_range(env, state):
    """Say whether `state` is a leaf whose value no problem of `env` asks for."""
    return implementation_of("out_of_range", type(env))(env, state)


def narrowed(env, largest):
    """Return `env` with the rule that no action results in more than `largest`, where it does not have a stricter
    one."""
    return implementation_of("narrowed", type(env))(env, largest)


def reach(env, state):
    """Return a number that no action's result exceeds on the way from `state` to any descendant but a leaf; 0 if all
    are leaves."""
    return implementation_of("reach", type(env))(env, state)


def threshold(env, problem):
    """Return the heuristic value, in the same scale, above which the published depth-first search drops a child."""
    return implementation_of("threshold", type(env))(env, problem)


def draw(env, key, goal, attempt, problem):
    """Write draw `attempt` of the stream `key` for the goal number `goal` into `problem`."""
    return implementation_of("draw", type(env))(env, key, goal, attempt, problem)


def hash_key(env, key, problem):
    """Return a uint64 hash, under `key`, of the canonical problem without its goal."""
    return implementation_of("hash_key", type(env))(env, key, problem)


def solvable(env, problem, work):
    """Decide exactly whether `problem` has a solution; `work` is what the environment's `proof_work()` allocates."""
    return implementation_of("solvable", type(env))(env, problem, work)
