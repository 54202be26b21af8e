"""The doctor: what makes a table of arms unfit to draw conclusions from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from sos.analysis.compare import Arm, Comparison
from sos.config import DataConfig, EvalConfig
from sos.envs.registry import DEFAULT
from sos.judge.metrics import is_rate
from sos.schema.keys import without_later
from sos.schema.stream import NEED_PLAN

MIN_SEEDS = 3
FLOOR, CEILING = 0.01, 0.99  # solve rates outside tell no arms apart
TOLERANCE = 0.01  # of the budgets, besides the one batch by which a run may overshoot


def examine(comparison: Comparison) -> list[str]:
    """Return everything wrong with a comparison, one line each; an empty list is a sound table."""
    return [finding for check in CHECKS for finding in check(comparison)]


def _problems(comparison: Comparison) -> Iterator[str]:
    """Every run must have been evaluated on the same problems, in the same way."""
    runs = [run for arm in comparison.arms for run in arm.runs]
    for split in sorted({split for run in runs for split in run.problem_digests}):
        first: dict[str | None, str] = {}
        for arm in comparison.arms:
            for run in arm.runs:
                if split in run.problem_digests or "." not in split:  # an arm may have contexts that others have not
                    first.setdefault(run.problem_digests.get(split), f"{arm.label}, seed {run.seed}")
        if len(first) > 1:
            yield f"evaluated on different problems: {split} differs between {' and '.join(list(first.values())[:2])}"
    for group, schema, keys in (("eval", EvalConfig, ()), ("data", DataConfig, ("context",))):
        # A run from before a key was there was evaluated by its default.
        settings = [without_later(schema, run.config.get(group) or {}) for run in runs]
        # pass@k is unbiased with any number of attempts, and each context is an evaluation of its own, so that one arm
        # may have more of them.
        for key in keys or sorted({key for setting in settings for key in setting} - {"pass_k", "context"}):
            values = {str(setting.get(key)) for setting in settings}
            if len(values) > 1:
                yield f"evaluated in different ways: {group}.{key} is {' and '.join(sorted(values))}"


def _tasks(comparison: Comparison) -> Iterator[str]:
    """Arms of different environments are different tasks, not arms of one."""
    names: dict[str, str] = {}
    for arm in comparison.arms:
        for env in [run.config["env"] for run in arm.runs if run.config.get("env")]:
            names.setdefault(str(env.get("name", DEFAULT)), arm.label)
    if len(names) > 1:
        yield f"different tasks: {' and '.join(f'{name} ({label})' for name, label in sorted(names.items()))}"


def _seeds(comparison: Comparison) -> Iterator[str]:
    """Intervals over fewer than three runs say nothing."""
    for arm in comparison.arms:
        if len(arm.runs) < MIN_SEEDS:
            yield f"too few seeds: {arm.label} has {len(arm.runs)}, a table needs {MIN_SEEDS}"


def _identical(comparison: Comparison) -> Iterator[str]:
    """Two arms that are the same thing, by their configuration or by everything that they wrote."""
    for a, b in itertools.combinations(comparison.arms, 2):
        if _setups(a) and _setups(a) == _setups(b):
            yield f"identical arms: {a.label} and {b.label} have the same configuration"
        elif _same_rollouts(a, b):
            same = "wrote the same number of tokens and solved the same on every problem"
            yield f"identical arms: {a.label} and {b.label} {same}"


def _setups(arm: Arm) -> set[str]:
    """Return the configurations of an arm, as text, without what may differ between seeds; empty where none is
    recorded."""
    kept = [{key: value for key, value in run.config.items() if key not in ("seed", "resume")} for run in arm.runs]
    return {repr(config) for config in kept if config}


def _same_rollouts(a: Arm, b: Arm) -> bool:
    ours, theirs = ({run.seed: run for run in arm.runs} for arm in (a, b))
    shared = ours.keys() & theirs.keys()
    pairs = [(ours[seed], theirs[seed], split) for seed in shared for split in ours[seed].solved]
    return bool(pairs) and all(
        split in y.solved
        and np.array_equal(x.solved[split], y.solved[split])
        and np.array_equal(x.generated[split], y.generated[split])
        and np.array_equal(x.planned.get(split, ()), y.planned.get(split, ()))
        for x, y, split in pairs
    )


def _saturated(comparison: Comparison) -> Iterator[str]:
    """Where the primary metric is at 0 or 1, more or less of what is studied could not show."""
    if not is_rate(comparison.primary):
        return
    for arm in comparison.arms:
        mean = comparison.cells[arm.label, comparison.primary].mean
        if mean is None or FLOOR < mean < CEILING:
            continue
        end = "0" if mean <= FLOOR else "1"
        yield f"saturated: {comparison.primary} of {arm.label} is {100 * mean:.1f}%, at {end}"


def _budgets(comparison: Comparison) -> Iterator[str]:
    """Every arm must match the baseline in training tokens or in training problems."""
    base = next(arm for arm in comparison.arms if arm.label == comparison.baseline)
    for arm in comparison.arms:
        if arm is not base and not any(_matches(arm, base, key) for key in ("tokens", "problems")):
            tokens, problems = (
                [f"{other.mean_train(key):,.0f}" for other in (arm, base)] for key in ("tokens", "problems")
            )
            yield (
                f"unequal budgets: {arm.label} and {base.label} were trained on {tokens[0]} and {tokens[1]} tokens, "
                f"{problems[0]} and {problems[1]} problems"
            )


def _matches(a: Arm, b: Arm, key: str) -> bool:
    x, y = a.mean_train(key), b.mean_train(key)
    batch = max(float((run.config.get("trainer") or {}).get("batch_tokens", 0)) for arm in (a, b) for run in arm.runs)
    share = batch / max(1.0, min(a.mean_train("tokens"), b.mean_train("tokens")))
    return abs(x - y) <= (TOLERANCE + min(share, 0.1)) * max(x, y)


def _plans(comparison: Comparison) -> Iterator[str]:
    """Arms are compared by their plans where an arm has no search of its own; the control `swapped` must be matched."""
    streams = {arm.label: arm.runs[0].config.get("stream") or {} for arm in comparison.arms}
    planned = {label: bool(stream.get("plan")) for label, stream in streams.items()}
    if len(set(planned.values())) > 1:
        have, lack = (next(label for label, plan in planned.items() if plan == wanted) for wanted in (True, False))
        yield f"different answers: the streams of {have} have a plan and those of {lack} none (stream.plan)"
    for arm in comparison.arms:
        view = streams[arm.label].get("view")
        if view in NEED_PLAN and not comparison.primary.startswith(("plan/", "plan_")):
            yield f"no search of its own: {arm.label} (view={view}) is judged by {comparison.primary}, not by its plan"
    full = [arm for arm in comparison.arms if streams[arm.label].get("view") == "full"]
    for arm in comparison.arms:
        if streams[arm.label].get("view") == "swapped" and full and not _matches_in_both(arm, full):
            yield f"swapped without its match: {arm.label} does not have both the tokens and the problems of a full arm"


def _matches_in_both(arm: Arm, others: list[Arm]) -> bool:
    return any(all(_matches(arm, other, key) for key in ("tokens", "problems")) for other in others)


def _code(comparison: Comparison) -> Iterator[str]:
    """Runs of different versions of the code differ in more than their arm."""
    hashes = {run.code_hash for arm in comparison.arms for run in arm.runs}
    if len(hashes) > 1:
        yield f"different code: the runs come from {len(hashes)} versions"


CHECKS: tuple[Callable[[Comparison], Iterator[str]], ...] = (
    _problems,
    _tasks,
    _seeds,
    _identical,
    _saturated,
    _budgets,
    _plans,
    _code,
)
