"""Selections: which rollouts of a batch are learned from. Pure functions (columns, options, key) -> indices.

Every selection returns int64 indices in batch order, each once. Whatever is drawn is a function of the key (uint64, see
`sos.rng`), of the number of the rollout's group and of its place in that group, so that neither the order of the
groups nor their neighbours matter.

Resample on correct (rStar2-Agent, arXiv 2508.20722) is here twice. `roc_inverse` is the paper: half of the wrong
rollouts uniformly, half of the right ones with chances proportional to 1 / penalty, one after another without
replacement; where penalties are 0, all chance is on those, which the paper leaves open. `roc_greedy` is the released
code (microsoft/rStar, ecbfb94), which draws nothing. `reverse_roc`, `filter_both` and `roc_shortest` are controls: the
worst of the right ones, both classes by penalty, and the shortest of the right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from sos.errors import UserError
from sos.improve.selections_options import CLASSES, Indices, Judged, Selection
from sos.rng import fold, uniform

Floats = npt.NDArray[np.float64]
MOST_EXACT = 16  # right rollouts of which chances to be drawn are worked out over all subsets


def select(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Return the indices that `options.kind` keeps, int64 (K,), ascending. Raises UserError where it cannot."""
    return SELECTIONS[options.kind](judged, options, key)


def keep_all(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep everything."""
    return np.arange(len(judged.groups))


def solved(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep what is right."""
    return np.flatnonzero(judged.rewards > 0)


def clean(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep what is right and in which nothing went wrong on the way, of operations as of the form."""
    faults = judged.error_penalties + judged.format_penalties
    return np.flatnonzero((judged.rewards > 0) & (faults == 0))


def shortest_solved(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep the shortest right ones of each group, the first of equals."""
    return _first_of_groups(judged, options.num or 1, judged.lengths)


def first_correct(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep the first right ones of each group in batch order."""
    return _first_of_groups(judged, options.num or 1, np.zeros(len(judged.groups)))


def random(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep some of each group, drawn uniformly; a smaller group whole."""
    draws = _draws(judged, key)
    kept = [group[np.argsort(draws[group], kind="stable")[: _num(options, group)]] for group in _groups(judged)]
    return _in_order(kept)


def balanced(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep as many right ones as wrong ones of each group, drawn uniformly; at most half of `num` each."""
    draws = _draws(judged, key)
    kept = []
    for group in _groups(judged):
        right, wrong = _classes(judged, group)
        each = min(len(right), len(wrong), _num(options, group) // 2)
        kept += [part[np.argsort(draws[part], kind="stable")[:each]] for part in (right, wrong)]
    return _in_order(kept)


def roc_inverse(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep right ones with chances proportional to 1 / penalty, wrong ones uniformly."""
    return _resample(judged, options, key, right=_by_inverse, wrong=_uniformly)


def reverse_roc(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep right ones with chances proportional to the penalty, wrong ones uniformly: the control."""
    return _resample(judged, options, key, right=_by_penalty, wrong=_uniformly)


def filter_both(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep right and wrong ones with chances proportional to 1 / penalty."""
    return _resample(judged, options, key, right=_by_inverse, wrong=_by_inverse)


def roc_shortest(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep the shortest right ones, wrong ones uniformly: what has few mistakes is short."""
    return _resample(judged, options, key, right=_by_least, wrong=_uniformly, by=judged.lengths.astype(np.float64))


def roc_greedy(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep what the released code of rStar2-Agent keeps: the right ones of lowest penalty, the first wrong ones.

    Groups smaller than `num` are dropped, and groups of `num` stay whole. Raises UserError where its quotas, each
    rounded for itself, do not come to `num` (the released code stops there as well: an odd `num` without minima).
    """
    kept = np.ones(len(judged.groups), bool)
    if options.reject_equal:
        for group in _groups(judged):
            kept[group] = not np.allclose(judged.rewards[group[0]], judged.rewards[group])
    left = np.flatnonzero(kept)
    if options.reject_equal:
        left = _cut(left, options.multiple_of)
    penalties = _penalties(judged, options)
    chosen = []
    for group in _groups(judged, left):
        num = _num(options, group)
        if len(group) <= num:
            chosen += [group] * (len(group) == num)
            continue
        right, wrong = _classes(judged, group)
        quotas = _greedy_quotas(len(right), len(wrong), num, options)
        if quotas is None:
            chosen.append(group)
            continue
        if sum(quotas) != num:
            raise UserError(
                f"selection.num={num} of {len(group)} with {len(right)} right ones: the quotas of roc_greedy, "
                f"{quotas[0]} right and {quotas[1]} wrong, do not come to it; choose an even number or minima"
            )
        chosen += [right[np.argsort(penalties[right], kind="stable")[: quotas[0]]], wrong[: quotas[1]]]
    return _cut(_in_order(chosen), options.multiple_of)


def of_class(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep the rollouts of problems of some classes; where these were not measured, as the batch itself says."""
    wanted = [CLASSES.index(name) for name in options.classes]
    classes = judged.classes
    if classes is None or (classes < 0).any():
        rates = _rates(judged)
        own = np.where(rates > 0.5, 0, np.where(rates > 0, 1, -1)).astype(np.int8)
        classes = own if classes is None else np.where(classes < 0, own, classes)
        if (classes < 0).any() and set(wanted) - {0, 1}:
            raise UserError(
                f"selection.classes={options.classes}: problems that no rollout solves have no class before more "
                "samples and the solver were asked"
            )
    return np.flatnonzero(np.isin(classes, wanted))


def edge_of_competence(judged: Judged, options: Selection, key: np.uint64) -> Indices:
    """Keep the groups whose share of right ones lies within the rates."""
    rates = _rates(judged)
    return np.flatnonzero((rates >= options.rate_low) & (rates <= options.rate_high))


def difficulty_classes(
    num_correct: npt.ArrayLike,
    num_samples: npt.ArrayLike,
    *,
    more_correct: npt.ArrayLike | None = None,
    solvable: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int8]:
    """Return the class of each problem as its number in `CLASSES`, int8 (P,); -1 for a hard one of unknown kind.

    easy: more than half of the samples are right; medium: some (arXiv 2605.28388: 5 to 8, and 1 to 4 of 8). The rest is
    recoverable where `more_correct`, of many more samples, is above 0, else latent where the solver finds a solution,
    else impossible.
    """
    correct, samples = np.broadcast_arrays(np.asarray(num_correct), np.asarray(num_samples))
    if (correct < 0).any() or (correct > samples).any() or (samples < 1).any():
        raise UserError("num_correct must be between 0 and num_samples, which is at least 1, for every problem")
    classes = np.where(2 * correct > samples, 0, np.where(correct > 0, 1, -1)).astype(np.int8)
    hard = classes < 0
    if solvable is not None:
        classes[hard & ~np.asarray(solvable, bool)] = CLASSES.index("impossible")
        if more_correct is not None:
            classes[hard & np.asarray(solvable, bool)] = CLASSES.index("latent")
    if more_correct is not None:
        classes[hard & (np.asarray(more_correct) > 0)] = CLASSES.index("recoverable")
    return classes


def first_draw(penalties: npt.ArrayLike) -> Floats:
    """Return the chances to be drawn first by 1 / penalty, float64 (n,); penalties of 0 share all of it."""
    found = np.asarray(penalties, np.float64)
    weights = (found == 0).astype(np.float64) if (found == 0).any() else 1 / found
    return weights / weights.sum() if len(found) else weights


def inclusion(penalties: npt.ArrayLike, draws: int) -> Floats:
    """Return the chances to be among `draws`, one after another without replacement, float64 (n,).

    Exact, over all subsets: O(2^n n), so that n is `MOST_EXACT` at most.
    """
    found = np.asarray(penalties, np.float64)
    num = len(found)
    if num > MOST_EXACT or not 0 <= draws <= num:
        raise UserError(f"the chances of {draws} draws from {num} are worked out for up to {MOST_EXACT} alone")
    reached = {0: 1.0}  # set of those drawn, as bits -> chance
    for _ in range(draws):
        following: dict[int, float] = {}
        for drawn, chance in reached.items():
            left = [i for i in range(num) if not drawn >> i & 1]
            for i, share in zip(left, first_draw(found[left]), strict=True):
                following[drawn | 1 << i] = following.get(drawn | 1 << i, 0.0) + chance * float(share)
        reached = following
    return np.array([sum(chance for drawn, chance in reached.items() if drawn >> i & 1) for i in range(num)])


Order = Callable[[Floats, Floats], npt.NDArray]


def _resample(
    judged: Judged, options: Selection, key: np.uint64, *, right: Order, wrong: Order, by: Floats | None = None
) -> Indices:
    """Keep quotas of right and wrong ones of each group, each class in its own order: of penalties, or of `by`."""
    draws, penalties = _draws(judged, key), _penalties(judged, options) if by is None else by
    kept = []
    for group in _groups(judged):
        rewards = judged.rewards[group]
        if options.reject_equal and (rewards == rewards[0]).all():
            continue
        num = _num(options, group)
        parts = _classes(judged, group)
        quotas = (len(group) - len(parts[1]), len(parts[1])) if len(group) <= num else _quotas(*parts, num, options)
        for part, quota, order in zip(parts, quotas, (right, wrong), strict=True):
            kept.append(part[order(penalties[part], draws[part])[:quota]])
    return _in_order(kept)


def _uniformly(penalties: Floats, draws: Floats) -> npt.NDArray:
    return np.argsort(draws, kind="stable")


def _by_inverse(penalties: Floats, draws: Floats) -> npt.NDArray:
    """The order of draws without replacement by 1 / penalty: of exponential clocks with those rates."""
    return np.lexsort((draws, -np.log1p(-draws) * penalties))


def _by_least(penalties: Floats, draws: Floats) -> npt.NDArray:
    return np.lexsort((draws, penalties))


def _by_penalty(penalties: Floats, draws: Floats) -> npt.NDArray:
    with np.errstate(divide="ignore"):
        clocks = np.where(penalties > 0, -np.log1p(-draws) / np.where(penalties > 0, penalties, 1), np.inf)
    return np.lexsort((draws, clocks))


def _quotas(right: Indices, wrong: Indices, num: int, options: Selection) -> tuple[int, int]:
    """Return how many right and wrong ones are kept, `num` in all: the share of the right ones, rounded down."""
    least = min(max(0, options.min_right), len(right))
    most = num - min(max(0, options.min_wrong), len(wrong))
    kept = min(max(len(right) * num // (len(right) + len(wrong)), least), most)
    kept = max(min(kept, len(right)), num - len(wrong))
    return kept, num - kept


def _greedy_quotas(num_right: int, num_wrong: int, num: int, options: Selection) -> tuple[int, int] | None:
    """Return the released code's quotas of right and wrong ones; None keeps the group whole."""
    size = num_right + num_wrong
    right, wrong = round(num_right * num / size), round(num_wrong * num / size)
    if wrong < options.min_wrong and right < options.min_right:
        return None
    if wrong <= (least := min(options.min_wrong, num_wrong)):
        wrong, right = least, num - least
    if right <= (least := min(options.min_right, num_right)):
        right, wrong = least, num - least
    return right, wrong


def _penalties(judged: Judged, options: Selection) -> Floats:
    penalties = np.zeros(len(judged.groups))
    if options.use_errors:
        penalties = penalties + judged.error_penalties
    return penalties + judged.format_penalties if options.use_format else penalties


def _num(options: Selection, group: Indices) -> int:
    return max(1, len(group) // 2) if options.num is None else options.num


def _groups(judged: Judged, among: Indices | None = None) -> Iterator[Indices]:
    """Yield the rollouts of each group in batch order."""
    places = np.arange(len(judged.groups)) if among is None else among
    order = places[np.argsort(judged.groups[places], kind="stable")]
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(judged.groups[order])) + 1)


def _classes(judged: Judged, group: Indices) -> tuple[Indices, Indices]:
    """Return the right and the wrong ones of a group."""
    right = judged.rewards[group] > 0
    return group[right], group[~right]


def _rates(judged: Judged) -> Floats:
    """Return the share of right ones in each rollout's group, (N,)."""
    rates = np.zeros(len(judged.groups))
    for group in _groups(judged):
        rates[group] = (judged.rewards[group] > 0).mean()
    return rates


def _first_of_groups(judged: Judged, num: int, values: npt.NDArray) -> Indices:
    kept = []
    for group in _groups(judged):
        right, _ = _classes(judged, group)
        kept.append(right[np.argsort(values[right], kind="stable")[:num]])
    return _in_order(kept)


def _draws(judged: Judged, key: np.uint64) -> Floats:
    """Return a number uniform on [0, 1) for each rollout, a function of the key, its group and its place there."""
    draws = np.zeros(len(judged.groups))
    for group in _groups(judged):
        stream = np.uint64(fold(key, np.uint64(judged.groups[group[0]])))
        draws[group] = [uniform(stream, place) for place in range(len(group))]
    return draws


def _in_order(kept: list[Indices]) -> Indices:
    return np.sort(np.concatenate(kept)).astype(np.int64) if kept else np.zeros(0, np.int64)


def _cut(kept: Indices, multiple: int) -> Indices:
    return kept[: len(kept) // multiple * multiple]


SELECTIONS: dict[str, Callable[[Judged, Selection, np.uint64], Indices]] = {
    "all": keep_all,
    "solved": solved,
    "clean": clean,
    "shortest_solved": shortest_solved,
    "first_correct": first_correct,
    "random": random,
    "balanced": balanced,
    "roc_inverse": roc_inverse,
    "roc_greedy": roc_greedy,
    "reverse_roc": reverse_roc,
    "filter_both": filter_both,
    "roc_shortest": roc_shortest,
    "of_class": of_class,
    "edge_of_competence": edge_of_competence,
}
