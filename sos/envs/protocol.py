"""What an environment offers: stubs that kernels call and that dispatch on the environment's type.

An environment is a NamedTuple of numbers. Each stub below is implemented for it with `@implements(stub, Environment)`:
numba resolves the call by the tuple's type while compiling, so that the implementation inlines and the caller stays
cacheable on disk. Called from plain Python, a stub looks the implementation up.

Rows (int32): `problem` (P,), `state` (W,), `action` (A,). Python-level facts about the sizes are class attributes
and methods of the environment (see `PathStar`): `problem_width`, `state_width`, `action_width`, `max_children`,
`max_depth`, `scratch_size`, `largest_number`, `fields` (name -> `Field`s, one for each row that has it), `dialects`
(the folder of its shipped ones), `proof_work`.
"""

from __future__ import annotations

import inspect
from typing import NamedTuple

from numba.extending import overload

from sos.envs.stubs import capability, defaults
from sos.envs.stubs import has as has
from sos.envs.stubs import implementation_of as implementation_of
from sos.envs.stubs import implemented as implemented
from sos.envs.stubs import implements as implements
from sos.kernels import INNER

# What `judge` says of an action: that it holds, or what is wrong with it. One that is not held acts on what the state
# does not have; an illegal one breaks the rules; a wrong result is not what the action leads to.
HOLDS, NOT_HELD, ILLEGAL, WRONG_RESULT = range(4)
OPEN, GOAL, DEAD = range(3)  # what `status` says of a state
NO_LIMIT = 2**63 - 1


class Field(NamedTuple):
    """What a template's field stands for: a number of a row, or a list of numbers or of records of them."""

    row: str  # "problem", "state" or "action"
    column: int  # of the number, or of the first one of a list
    size: int = 0  # the most items of a list; 0 for a number
    counted: int = -1  # the column that holds how many items there are; -1: always `size`
    width: int = 1  # numbers of an item
    symbols: tuple[str, ...] = ()  # the texts of the numbers 0, 1, ..., where they are not written as numbers
    item_symbols: tuple[tuple[str, ...], ...] = ()  # the same for each number of an item of a list of records
    numbered: bool = False  # a proof may be the number of an item, from 1 on, and be told as the item


# What every environment has


def root_state(env, problem, state):
    """Write the root state of `problem` into `state`."""
    return implementation_of("root_state", type(env))(env, problem, state)


def successors(env, kind, problem, scratch, state, moves, values):
    """Write all moves from `state` in generation order, `moves` int64 (C,), and what the heuristic `kind` (an index
    into the environment's `heuristics`) gives their children, `values` int64 (C,), scaled; return how many.

    A move is a number that `make_child` understands together with the same state. `prepare` has filled `scratch`.
    """
    return implementation_of("successors", type(env))(env, kind, problem, scratch, state, moves, values)


def make_child(env, problem, state, move, action, child):
    """Write the action (A,) and the child (W,) of `move`, which `successors` gave for `state`."""
    return implementation_of("make_child", type(env))(env, problem, state, move, action, child)


def judge(env, problem, state, action, child):
    """Write into `child` the state that `action` *claims* to reach from `state`, its claimed result included; total.

    Return `HOLDS` or the first that applies of `NOT_HELD`, `ILLEGAL` and `WRONG_RESULT`. Any claim has a child, also
    from a state of zeros, which stands for one that nothing is known of.
    """
    return implementation_of("judge", type(env))(env, problem, state, action, child)


def status(env, problem, state):
    """Return whether `state` solves `problem` (`GOAL`), has failed by the rules alone (`DEAD`) or neither (`OPEN`)."""
    return implementation_of("status", type(env))(env, problem, state)


def canonical(env, problem, state, out):
    """Write a form of `state` that is equal for states with equal futures."""
    return implementation_of("canonical", type(env))(env, problem, state, out)


def draw(env, key, group, attempt, problem):
    """Write draw `attempt` of the stream `key` for the held-out axis's value `group` into `problem`."""
    return implementation_of("draw", type(env))(env, key, group, attempt, problem)


def hash_key(env, key, problem):
    """Return a uint64 hash, under `key`, of the canonical problem without its group."""
    return implementation_of("hash_key", type(env))(env, key, problem)


def solvable(env, problem, work):
    """Decide exactly whether `problem` has a solution; `work` is what the environment's `proof_work()` allocates."""
    return implementation_of("solvable", type(env))(env, problem, work)


# Capabilities, which an environment may lack


def _any_problem(env, problem):
    return True


@capability(_any_problem)
def can_pose(env, problem):
    """Say whether the environment can pose `problem`, which was read from tokens; its kernels see no others."""
    return implementation_of("can_pose", type(env))(env, problem)


def _all_said(env, problem):
    return None


@capability(_all_said)
def complete_problem(env, problem):
    """Write into `problem`, which was read from tokens, what no dialect says of it, such as the size of a grid."""
    return implementation_of("complete_problem", type(env))(env, problem)


def _no_practice(env, problem):
    return False


@capability(_no_practice)
def practice(env, problem):
    """Say whether `problem` is there to be learned from alone, such as a smaller one: no split but `train` has it."""
    return implementation_of("practice", type(env))(env, problem)


def _prepare_nothing(env, kind, problem, scratch):
    return None


@capability(_prepare_nothing)
def prepare(env, kind, problem, scratch):
    """Fill `scratch` int64 with what `successors` needs for `problem` and the heuristic `kind`."""
    return implementation_of("prepare", type(env))(env, kind, problem, scratch)


def _no_witness(env, problem, state):
    return 0


@capability(_no_witness)
def witness(env, problem, state):
    """Return the number that a dead end or goal event quotes for `state`; 0 where an environment has none."""
    return implementation_of("witness", type(env))(env, problem, state)


def _own_witness(env, problem, state, value):
    return status(env, problem, state) == DEAD and value == witness(env, problem, state)


@capability(_own_witness)
def proves_dead(env, problem, state, value):
    """Say whether `value`, which a dead end quotes, proves that no goal follows from `state`.

    A state that is `OPEN` may be called a dead end where it has such a proof; any valid one will do, of which `witness`
    gives one.
    """
    return implementation_of("proves_dead", type(env))(env, problem, state, value)


def _plain_status(env, kind, problem, state):
    return status(env, problem, state)


@capability(_plain_status)
def status_by(env, kind, problem, state):
    """Return the status of `state` as a search by the heuristic `kind` sees it: `DEAD` also where the deduction that
    belongs to this heuristic finds that no goal follows, for which `witness` then is a proof."""
    return implementation_of("status_by", type(env))(env, kind, problem, state)


def _never_deduced(env, move):
    return False


@capability(_never_deduced)
def deduced(env, move):
    """Say whether `move`, which `successors` gave, is one that the search calls forced: then it was the only one."""
    return implementation_of("deduced", type(env))(env, move)


def _never_forced(env, problem, state, action):
    return False


@capability(_never_forced)
def forced(env, problem, state, action):
    """Say whether the rules of deduction leave no move but `action`, which holds, in `state`, whatever that is."""
    return implementation_of("forced", type(env))(env, problem, state, action)


def _no_reason(env, problem, state, action):
    return 0


@capability(_no_reason)
def reason(env, problem, state, action):
    """Return the number that a forced move quotes, which proves that deduction leaves no move but `action` in `state`;
    0 where an environment has none."""
    return implementation_of("reason", type(env))(env, problem, state, action)


def _any_reason(env, problem, state, action, value):
    return forced(env, problem, state, action)


@capability(_any_reason)
def proves_forced(env, problem, state, action, value):
    """Say whether `value`, which a forced move quotes, proves that the rules of deduction leave no move but `action`;
    any valid proof will do, of which `reason` gives one. By default none is asked for."""
    return implementation_of("proves_forced", type(env))(env, problem, state, action, value)


def _never_refuted(env, problem, state, actions, num):
    return False


@capability(_never_refuted)
def refuted(env, problem, state, actions, num):
    """Say whether no goal follows from `state`, where none follows from what the first `num` of `actions` (rows of
    actions that hold) lead to.

    An environment that says so poses problems without a solution, too: a search that refutes one has solved it.
    """
    return implementation_of("refuted", type(env))(env, problem, state, actions, num)


def _posed_with_solution(env, key):
    return 1


@capability(_posed_with_solution)
def posed(env, key):
    """Return whether the problem whose draws have this key is to be solvable: 1, unsolvable: 0, or either: -1."""
    return implementation_of("posed", type(env))(env, key)


def _no_cue(env, problem):
    return 0


@capability(_no_cue)
def cue(env, problem):
    """Return a number of a problem that tells something of whether it has a solution, and that takes no search."""
    return implementation_of("cue", type(env))(env, problem)


def _keeps(env, problem, state, look_ahead):
    return False


@capability(_keeps)
def hopeless(env, problem, state, look_ahead):
    """Say whether `state` is fewer than `look_ahead` actions away from its leaves and none of these is a goal."""
    return implementation_of("hopeless", type(env))(env, problem, state, look_ahead)


def _in_range(env, problem, state):
    return False


@capability(_in_range)
def out_of_range(env, problem, state):
    """Say whether `state` is a leaf that is the goal of no problem of `env`."""
    return implementation_of("out_of_range", type(env))(env, problem, state)


def _same(env, largest):
    return env


@capability(_same)
def narrowed(env, largest):
    """Return `env` with the rule that no action results in more than `largest`, where it does not have a stricter
    one."""
    return implementation_of("narrowed", type(env))(env, largest)


def _no_reach(env, problem, state):
    return 0


@capability(_no_reach)
def reach(env, problem, state):
    """Return a number that no action's result exceeds on the way from `state` to any descendant but a leaf; 0 if all
    are leaves."""
    return implementation_of("reach", type(env))(env, problem, state)


def _no_threshold(env, problem):
    return NO_LIMIT


@capability(_no_threshold)
def threshold(env, problem):
    """Return the heuristic value, in the same scale, above which the published depth-first search drops a child."""
    return implementation_of("threshold", type(env))(env, problem)


# Costs: a node's facts, such as what the path to it costs, are numbers of its state's row, and claims of the action
# that `judge` checks. They are no part of the canonical state, so that a cheaper path leads to an equal state.


def _no_cost(env, problem, state):
    return 0


@capability(_no_cost)
def path_cost(env, problem, state):
    """Return what the path to `state` costs, 0 or more, as the state's row says it; 0 where actions cost nothing."""
    return implementation_of("path_cost", type(env))(env, problem, state)


def has_costs(env):
    """Say whether actions cost something. A search may then leave a goal open until it is visited."""
    return has("path_cost", type(env))


def refutable(env):
    """Say whether problems without a solution are posed, and their refutations count as answers."""
    return has("refuted", type(env))


def _yes(env):
    return True


def _no(env):
    return False


@overload(refutable, strict=False, jit_options=INNER)
def _choose_refutable(env):
    kind = getattr(env, "instance_class", None)
    return None if kind is None else _yes if has("refuted", kind) else _no


@overload(has_costs, strict=False, jit_options=INNER)
def _choose_has_costs(env):
    kind = getattr(env, "instance_class", None)
    return None if kind is None else _yes if has("path_cost", kind) else _no


def _canonical_statement(env, problem, state, out):
    canonical(env, problem, state, out)


@capability(_canonical_statement)
def statement(env, problem, state, out):
    """Write a form of `state` that is equal for states that say the same, their costs included; by default the
    canonical one."""
    return implementation_of("statement", type(env))(env, problem, state, out)


def _no_facts(env, problem, state, action):
    return None


@capability(_no_facts)
def complete(env, problem, state, action):
    """Write into `action` the facts, such as costs, that follow from `state` and from the rest of the action, whatever
    that is. The environment's `facts` are the names of their fields, which a plan may leave out."""
    return implementation_of("complete", type(env))(env, problem, state, action)


def _unknown_optimum(env, problem, work):
    return -1


@capability(_unknown_optimum)
def optimum(env, problem, work):
    """Return the least cost of a solution of `problem`, exactly, -1 where it has none; `work` is that of `solvable`."""
    return implementation_of("optimum", type(env))(env, problem, work)


# What a package adds to an environment


def estimate(heuristic, env, problem, state):
    """Return by what a search orders nodes with `state`, the least first: a whole number of less than 2**54 in size, in
    which the environment's `heuristic_scale` stands for 1."""
    return implementation_of("estimate", type(heuristic))(heuristic, env, problem, state)


def needed() -> set[str]:
    """Return the names of the stubs above that every environment implements: those without a default."""
    functions = [value for name, value in globals().items() if inspect.isfunction(value) and not name.startswith("_")]
    found = {stub.__name__ for stub in functions if next(iter(inspect.signature(stub).parameters), "") == "env"}
    return found - defaults() - {has_costs.__name__, refutable.__name__}
