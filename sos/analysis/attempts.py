"""What chains of attempts come to: solved against tokens, policies minus restarts, and which branch would solve.

All policies share problems and first attempts, so that their differences are paired: an interval is over problems, of a
problem's difference in means over its samples and over the runs. What is solved within fewer tokens than a chain had is
read off it (`sos.improve.attempts_chains`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sos.analysis.figures import budget_panels_figure
from sos.errors import UserError
from sos.improve.attempts import Attempt, Decision, Diagnosis
from sos.improve.attempts_chains import Chain
from sos.judge.intervals import mean_interval, seed_interval
from sos.judge.metrics import Metric, chance_metric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINE = "restart"
POINTS = 25  # of a curve
DRAWN = ("restart", "refine", "pivot", "rule", "random", "random_cut", "oracle")  # in this order, for their colours
BRANCHES = (Decision.REFINE, Decision.PIVOT)
OUTCOMES = ("both", "refine", "pivot", "neither")


class Measured(NamedTuple):
    """What is kept of one policy's chains, N of them: all samples of a problem stand together."""

    solved_at: np.ndarray  # int64 (N,): tokens generated up to the solution, -1 where none is submitted
    spent: np.ndarray  # int64 (N,): tokens generated
    wrong: np.ndarray  # bool (N,): a wrong answer was submitted
    attempts: np.ndarray  # int64 (N,)
    calls: np.ndarray  # int64 (N,): of the verifier and of the exact solver

    def solved(self, tokens: float) -> np.ndarray:
        """Return which are solved within so many tokens, bool (N,)."""
        return (self.solved_at >= 0) & (self.solved_at <= tokens)


def measured(chains: Sequence[Chain]) -> Measured:
    """Return what is kept of finished chains."""
    return Measured(
        np.array([chain.solved_at for chain in chains], np.int64),
        np.array([chain.spent for chain in chains], np.int64),
        np.array([chain.accepted and not chain.right for chain in chains], bool),
        np.array([len(chain.attempts) for chain in chains], np.int64),
        np.array([chain.calls for chain in chains], np.int64),
    )


class Budgets(NamedTuple):
    """Token budgets of a problem, as multiples of the mean first attempt."""

    multiples: tuple[float, ...]
    mean_first: float

    @classmethod
    def of(cls, multiples: Sequence[float], first: Sequence[Attempt]) -> Budgets:
        """Return the budgets that the lengths of the first attempts give."""
        return cls(tuple(sorted(multiples)), float(np.mean([attempt.charged for attempt in first])))

    @property
    def tokens(self) -> list[int]:
        """The budgets in tokens, one at least."""
        return [max(1, round(multiple * self.mean_first)) for multiple in self.multiples]

    def grid(self) -> list[int]:
        """Return the budgets of a curve, in tokens."""
        most = self.tokens[-1]
        return np.unique(np.rint(np.geomspace(max(1, most / 32), most, POINTS)).astype(int)).tolist()


def split_result(
    found: Mapping[str, Sequence[Chain]], budgets: Budgets, num_problems: int, num_samples: int
) -> dict[str, Any]:
    """Return everything that is known of the chains of each policy on one split, as JSON takes it."""
    result: dict[str, Any] = {
        "problems": num_problems,
        "samples": num_samples,
        "mean_first": budgets.mean_first,
        "budgets": list(budgets.multiples),
        "tokens": budgets.tokens,
        "policies": {},
    }
    for policy, chains in found.items():
        kept = measured(chains)
        decisions = Counter(attempt.decision.name.lower() for chain in chains for attempt in chain.attempts[1:])
        ends = Counter(ending(chain) for chain in chains)
        arrays = {name: np.asarray(column).astype(int).tolist() for name, column in kept._asdict().items()}
        result["policies"][policy] = {"decisions": dict(decisions), "ends": dict(ends)} | arrays
    if "oracle" in found:
        result["branches"] = branches(found)
        result["confusion"] = confusion(found)
    return result


def ending(chain: Chain) -> str:
    """Say how a chain ended."""
    if chain.accepted:
        return "solved" if chain.right else "wrong"
    return "stopped" if chain.ended == Decision.STOP else "spent"


def branches(found: Mapping[str, Sequence[Chain]]) -> dict[str, Any]:
    """Return, for each diagnosis of a failed first attempt, how often a refinement, a pivot and a restart as the second
    attempt solve, and what each takes: `num` such problems, of `tried` ones `solved`, and mean `tokens`."""
    result: dict[str, Any] = {}
    restarts = found.get(BASELINE, [None] * len(found["oracle"]))
    for looked, again in zip(found["oracle"], restarts, strict=True):
        if not looked.branches:
            continue
        row = result.setdefault(looked.findings[0].diagnosis.name.lower(), {"num": 0})
        row["num"] += 1
        tries = {decision.name.lower(): tried for decision, tried in looked.branches[0].items() if decision in BRANCHES}
        if again is not None and len(again.attempts) > 1:
            second = again.findings[1].diagnosis == Diagnosis.SOLVED
            tries["restart"] = (second, again.attempts[1].charged)
        for name, (right, charged) in tries.items():
            of = row.setdefault(name, {"tried": 0, "solved": 0, "tokens": 0.0})
            of["tokens"] += (charged - of["tokens"]) / (of["tried"] + 1)
            of["tried"] += 1
            of["solved"] += bool(right)
    return result


def confusion(found: Mapping[str, Sequence[Chain]]) -> dict[str, Any]:
    """Return how often a policy's first decision meets each outcome of the two branches: both solve, one, or neither.
    A branch that was not possible does not solve."""
    result: dict[str, Any] = {}
    for policy, chains in found.items():
        table: dict[str, dict[str, int]] = {}
        for chain, looked in zip(chains, found["oracle"], strict=True):
            if len(chain.attempts) < 2 or not looked.branches:
                continue
            refine, pivot = (looked.branches[0].get(decision, (False, 0))[0] for decision in BRANCHES)
            outcome = OUTCOMES[0 if refine and pivot else 1 if refine else 2 if pivot else 3]
            row = table.setdefault(chain.attempts[1].decision.name.lower(), dict.fromkeys(OUTCOMES, 0))
            row[outcome] += 1
        result[policy] = table
    return result


class Cell(NamedTuple):
    """A policy at a budget: means over problems, samples and runs."""

    solved: Metric
    minus: Metric | None  # minus restarts, over problems
    seeds: tuple[float, float] | None  # of that, Student's interval over the runs
    spent: float  # mean tokens


def arrays_of(result: Mapping[str, Any], policy: str) -> Measured:
    """Return a policy's arrays of a split."""
    kept = result["policies"][policy]
    return Measured(*(np.array(kept[name]) for name in Measured._fields))


def cell(results: Sequence[Mapping[str, Any]], policy: str, budget: int) -> Cell:
    """Return a policy at budget number `budget` of the results of one split, a run each, on the same problems."""
    ours = [_by_problem(result, policy, budget) for result in results]
    minus = seeds = None
    if BASELINE in results[0]["policies"]:
        theirs = [_by_problem(result, BASELINE, budget) for result in results]
        differences = np.mean(ours, 0) - np.mean(theirs, 0)
        low, high = mean_interval(differences) or (None, None)
        minus = Metric(float(differences.mean()), low, high, len(differences))
        if len(results) > 1:
            seeds = seed_interval([float((a - b).mean()) for a, b in zip(ours, theirs, strict=True)])
    spent = [np.minimum(arrays_of(result, policy).spent, result["tokens"][budget]).mean() for result in results]
    return Cell(
        chance_metric(np.mean(ours, 0)), minus, None if seeds is None else (seeds[0], seeds[1]), float(np.mean(spent))
    )


def _by_problem(result: Mapping[str, Any], policy: str, budget: int) -> np.ndarray:
    """Return the share of a problem's samples that are solved, float64 (P,)."""
    solved = arrays_of(result, policy).solved(result["tokens"][budget])
    return solved.reshape(result["problems"], result["samples"]).mean(1)


def digest_of(problems: np.ndarray) -> str:
    """Return a text that only these problems have, int32 (P, W)."""
    return sha256(problems.tobytes()).hexdigest()[:16]


def check_alike(posed: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Raise UserError where runs are not asked the same, so that they have no common table. `posed`: the problems of
    each split, int32 (P, W), of each run by its place."""
    asked = {place: {split: digest_of(rows) for split, rows in splits.items()} for place, splits in posed.items()}
    first, of_first = next(iter(asked.items()))
    for place, splits in asked.items():
        for split in {**of_first, **splits}:
            if splits.get(split) != of_first.get(split):
                raise UserError(f"{first} and {place} are not asked the same problems of split {split}")


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of one or several runs that were asked alike, a block for each split."""
    blocks = []
    for split in results[0]["splits"]:
        blocks.append(split_tables(split, [result["splits"][split] for result in results]))
    return "\n\n".join(blocks)


def split_tables(split: str, found: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables of one split: solved, minus restarts, decisions, branches and confusion."""
    first = found[0]
    multiples = first["budgets"]
    mean_first = float(np.mean([one["mean_first"] for one in found]))
    head = (
        f"{split}: {first['problems']} problems, {len(found)} run{'s' * (len(found) > 1)}; a first attempt has "
        f"{mean_first:.0f} tokens"
    )
    columns = [f"{multiple:g}x" for multiple in multiples]
    solved, minus = [["solved within", *columns]], [["minus restart, points", *columns]]
    spent = [
        ["policy", "tokens spent", "attempts", "verifier calls", "submitted wrong", "refine", "pivot", "cut", "restart"]
    ]
    for policy in first["policies"]:
        cells = [cell(found, policy, k) for k in range(len(multiples))]
        solved.append([policy, *(_percent(one.solved) for one in cells)])
        if policy != BASELINE:
            minus.append([policy, *(_percent(one.minus, sign="+") if one.minus else "-" for one in cells)])
        spent.append([policy, f"{cells[-1].spent:.0f}", *_totals(found, policy)])
    parts = [head, aligned(solved), aligned(minus), aligned(spent)]
    if "branches" in first:
        parts += [aligned(_branch_rows(found)), aligned(_confusion_rows(found))]
    return "\n\n".join(parts)


def _totals(found: Sequence[Mapping[str, Any]], policy: str) -> list[str]:
    """Return a policy's means over all chains, and how often it decided what."""
    kept = [arrays_of(result, policy) for result in found]
    means = [float(np.concatenate([getattr(one, name) for one in kept]).mean()) for name in ("attempts", "calls")]
    wrong = float(np.concatenate([one.wrong for one in kept]).mean())
    decisions: Counter[str] = Counter()
    for result in found:
        decisions.update(result["policies"][policy]["decisions"])
    counts = [str(decisions[name]) for name in ("refine", "pivot", "cut", "restart")]
    return [*(f"{mean:.2f}" for mean in means), f"{100 * wrong:.1f}%", *counts]


def _branch_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each diagnosis: how often the second attempt solves, by branch, and its mean tokens."""
    rows = [["first attempt", "failed", "refine solves", "pivot solves", "restart solves", "tokens each"]]
    names = [diagnosis.name.lower() for diagnosis in Diagnosis]
    for name in names:
        found_rows = [result["branches"][name] for result in found if name in result["branches"]]
        if not found_rows:
            continue
        cells, tokens = [], []
        for branch in ("refine", "pivot", "restart"):
            tried = sum(row.get(branch, {}).get("tried", 0) for row in found_rows)
            solved = sum(row.get(branch, {}).get("solved", 0) for row in found_rows)
            total = sum(row[branch]["tokens"] * row[branch]["tried"] for row in found_rows if branch in row)
            cells.append(f"{100 * solved / tried:.1f}% of {tried}" if tried else "-")
            tokens.append(f"{total / tried:.0f}" if tried else "-")
        rows.append([name, str(sum(row["num"] for row in found_rows)), *cells, " / ".join(tokens)])
    return rows


def _confusion_rows(found: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each policy's first decision: which of the branches would have solved."""
    rows = [["first decision", "", "both solve", "only refine", "only pivot", "neither"]]
    for policy in found[0]["policies"]:
        for decision in ("refine", "pivot", "cut", "restart"):
            tables = [result["confusion"][policy].get(decision) for result in found]
            counts = [sum(table[outcome] for table in tables if table) for outcome in OUTCOMES]
            if any(counts):
                rows.append([policy, decision, *map(str, counts)])
    return rows


def _percent(metric: Metric, sign: str = "") -> str:
    value, low, high, _ = metric
    interval = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * (value or 0.0):{sign}.1f}{'' if sign else '%'}{interval}"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as an aligned table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def figure(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Return solved against the budget of tokens, a panel for each split and a line for each policy: the mean over
    runs, and the lowest and highest of them."""
    panels: dict[str, dict[str, dict[str, list[float]]]] = {}
    for split in results[0]["splits"]:
        found = [result["splits"][split] for result in results]
        grid = Budgets(tuple(found[0]["budgets"]), float(np.mean([one["mean_first"] for one in found]))).grid()
        panels[split] = {}
        for policy in sorted(found[0]["policies"], key=DRAWN.index):
            rates = np.array([[arrays_of(one, policy).solved(tokens).mean() for tokens in grid] for one in found])
            curve = {"tokens": [float(tokens) for tokens in grid], "solved": rates.mean(0).tolist()}
            if len(results) > 1:
                curve |= {"low": rates.min(0).tolist(), "high": rates.max(0).tolist()}
            panels[split][policy] = curve
    return budget_panels_figure(panels)
