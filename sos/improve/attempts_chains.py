"""Chains of attempts at problems: a policy decides after every attempt how the next one begins, until one is accepted
or the tokens of the problem are spent.

What an attempt draws is a function of (seed, problem, sample, number of the attempt) alone, so that neither the order
of the problems nor who else is written beside them changes it (up to the last bits of a matrix product). All policies
share the first attempts. Decisions do not look at what is left of the budget: what a chain solved within fewer tokens
can be read off it.

The judge says of each attempt whether it solves its problem. It is the exact verifier, or a noisy one whose word is
flipped with the probability `judge_flips`: what it accepts is submitted, right or wrong, and what it refuses is taken
for a false goal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from sos.improve.attempts import (
    Attempt,
    Decision,
    Diagnosis,
    Finding,
    Openings,
    any_cut,
    certified_hopeless,
    diagnose,
    openings,
    refine_cut,
    refused,
    telling,
    tried_at_root,
    untried,
)
from sos.improve.rows import Kept
from sos.improve.values import logprobs
from sos.model.gpt import GPT
from sos.model.rollout import rollout
from sos.rng import below, fold, stream_key, uniform
from sos.stream.codec import encode_prompt
from sos.system import System

SAMPLES = 2**20  # more than anybody draws of a problem
Progress = Callable[[str, int, int], None]


class Settings(NamedTuple):
    """How attempts are made."""

    temperature: float = 1.0
    seed: int = 0
    max_tokens: int | None = None  # of an attempt; None takes what the context leaves
    judge_flips: float = 0.0
    batch_size: int = 256
    whole_action: bool = False  # a pivot dictates all words of its action, not only those that tell it from tried ones


@dataclass
class Chain:
    """The attempts at one problem."""

    problem: np.ndarray  # int32 (P,)
    number: int  # of the problem
    sample: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    tried: set[bytes] = field(default_factory=set)  # states that some attempt generated as children of the root
    spent: int = 0  # tokens generated
    calls: int = 0  # of the verifier, and of the exact solver
    accepted: bool = False
    right: bool = False  # accepted, and in truth a solution
    solved_at: int = -1  # tokens generated up to the solution and with it, where it is right
    ended: Decision | None = None  # PROCEED, STOP, or RESTART where the tokens are spent before anything is accepted
    branches: list[dict[Decision, tuple[bool, int]]] = field(default_factory=list)  # of the oracle: (right, charged)


class Start(NamedTuple):
    """What stands there before the model writes."""

    tokens: np.ndarray  # int32 (T,)
    kept: int
    forced: int
    decision: Decision


class Writer:
    """Writes attempts with a model. `decoding` is in what it computes them."""

    def __init__(
        self,
        system: System,
        model: GPT,
        settings: Settings,
        decoding: Callable[[torch.device], AbstractContextManager[Any]],
    ) -> None:
        self.system, self.model, self.settings, self.decoding = system, model, settings, decoding
        self._openings: dict[bytes, tuple[Openings, np.ndarray]] = {}

    def write(
        self, chains: Sequence[Chain], starts: Sequence[Start], budgets: Sequence[int], number: int, report: Any = None
    ) -> list[Attempt]:
        """Return attempt `number` of each chain, of `budgets` tokens at most, the forced ones among them."""
        settings, context = self.settings, self.system.context
        most = settings.max_tokens or context
        room = [min(most, b, context - s.kept) - s.forced for b, s in zip(budgets, starts, strict=True)]
        with self.decoding(self.model.device):
            written = rollout(
                self.model,
                [start.tokens for start in starts],
                max_tokens=np.array(room, np.int64),
                temperature=settings.temperature,
                seed=int(stream_key(settings.seed, "attempts")),
                problem_indices=np.array([chain.number for chain in chains], np.int64),
                sample_indices=np.array([number * SAMPLES + chain.sample for chain in chains], np.int64),
                batch_size=settings.batch_size,
                progress=report,
            )
        found = []
        for chain, start, answer in zip(chains, starts, written, strict=True):
            num_prompt = chain.attempts[0].num_prompt if chain.attempts else start.kept
            earlier = np.full(len(start.tokens) - num_prompt, np.nan, np.float32)
            if start.decision in (Decision.REFINE, Decision.CUT):
                earlier = chain.attempts[-1].logprobs[: start.kept - num_prompt]
            known = np.concatenate([earlier, answer.logprobs])
            columns = (start.kept, start.forced, answer.finished, known, start.decision)
            found.append(Attempt(answer.tokens, num_prompt, *columns))
        return found

    def score(self, problems: Sequence[np.ndarray]) -> None:
        """Let the model say how likely it finds each opening of these problems."""
        new = {problem.tobytes(): problem for problem in problems if problem.tobytes() not in self._openings}
        found = {key: openings(self.system, problem) for key, problem in new.items()}
        streams = [np.concatenate([f.prompt, words]) for f in found.values() for words in f.words]
        if not streams:
            return
        prompts = np.array([len(f.prompt) for f in found.values() for _ in f.words])
        offsets = np.cumsum([0, *map(len, streams)])
        kept = Kept(np.concatenate(streams), offsets, prompts, np.ones(len(streams), np.float32))
        with self.decoding(self.model.device):
            sums = np.add.reduceat(logprobs(self.model, kept, self.system.context), offsets[:-1])
        at = 0
        for key, opening in found.items():
            self._openings[key] = opening, sums[at : at + len(opening.words)]
            at += len(opening.words)

    def openings_of(self, problem: np.ndarray) -> tuple[Openings, np.ndarray]:
        """Return the openings of a problem, and their log-probabilities, float32 (C,)."""
        self.score([problem])
        return self._openings.get(problem.tobytes()) or (openings(self.system, problem), np.zeros(0, np.float32))

    def options_of(self, chain: Chain) -> dict[Decision, Start]:
        """Return how the next attempt may begin."""
        attempt, finding = chain.attempts[-1], chain.findings[-1]
        prompt = attempt.tokens[: attempt.num_prompt]
        found = {Decision.RESTART: Start(prompt, len(prompt), 0, Decision.RESTART)}
        cut = refine_cut(self.system, attempt, finding)
        if 0 <= cut < self.system.context:
            found[Decision.REFINE] = Start(attempt.tokens[:cut], cut, 0, Decision.REFINE)
        draw = uniform(draws_of(self.settings, "attempts cut", chain), len(chain.attempts))
        cut = any_cut(attempt, finding, draw)
        found[Decision.CUT] = Start(attempt.tokens[:cut], cut, 0, Decision.CUT)
        opening, scores = self.openings_of(chain.problem)
        left = untried(opening, chain.tried)
        if left:
            chosen = left[self._drawn(chain, scores[left])]
            words = telling(opening, chosen, chain.tried)
            if self.settings.whole_action and len(words):
                words = opening.words[chosen]
            if len(words) >= min(self.settings.max_tokens or self.system.context, self.system.context - len(prompt)):
                return found  # nothing could be written behind them
            found[Decision.PIVOT] = Start(np.concatenate([prompt, words]), len(prompt), len(words), Decision.PIVOT)
        return found

    def _drawn(self, chain: Chain, scores: np.ndarray) -> int:
        """Draw an opening as the model would among these, by log-probabilities (K,)."""
        if self.settings.temperature == 0:
            return int(scores.argmax())
        weights = np.cumsum(np.exp((scores.astype(np.float64) - scores.max()) / self.settings.temperature))
        at = uniform(draws_of(self.settings, "attempts pivot", chain), len(chain.attempts)) * weights[-1]
        return min(int(np.searchsorted(weights, at, side="right")), len(weights) - 1)


def draws_of(settings: Settings, name: str, chain: Chain) -> np.uint64:
    """Return the random stream of this name of a chain, whose draw k is for attempt k."""
    key = fold(stream_key(settings.seed, name), chain.number)
    return np.uint64(fold(np.uint64(key), chain.sample))


def order(policy: str, settings: Settings, chain: Chain, options: dict[Decision, Start]) -> list[Decision]:
    """Return what a policy would do next, the first choice first; a restart is always possible. The oracle looks at
    the first two of its list."""
    attempt, finding = chain.attempts[-1], chain.findings[-1]
    refine, pivot, restart = Decision.REFINE, Decision.PIVOT, Decision.RESTART
    if policy == "restart":
        return [restart]
    if policy in ("refine", "pivot"):
        return [refine if policy == "refine" else pivot, restart]
    if policy == "random_cut":
        return [Decision.CUT]
    if policy == "oracle":
        return [refine, pivot, restart]
    if policy == "random":
        both = [decision for decision in (refine, pivot) if decision in options] or [restart]
        return [both[int(below(draws_of(settings, "attempts random", chain), len(chain.attempts), len(both)))]]
    if finding.diagnosis == Diagnosis.EXHAUSTED:
        return [pivot, refine, restart]
    if finding.diagnosis == Diagnosis.OUT_OF_BUDGET:
        return [pivot, restart]
    # Something is wrong. A refinement that goes wrong where the one before did has not come any further.
    stuck = attempt.decision == refine and refine in options and options[refine].kept <= attempt.kept
    return [pivot, restart] if stuck else [refine, pivot, restart]


def chosen(policy: str, settings: Settings, chain: Chain, options: dict[Decision, Start]) -> list[Start]:
    """Return the starts of the next attempt: one, or the two that the oracle tries."""
    wished = [options[decision] for decision in order(policy, settings, chain, options) if decision in options]
    if policy == "oracle":
        return [start for start in wished if start.decision != Decision.RESTART] or wished[-1:]
    return wished[:1]


class Posed(NamedTuple):
    """Problems that are attempted, `samples` times each."""

    problems: np.ndarray  # int32 (P, W)
    samples: int = 1
    numbers: np.ndarray | None = None  # int64 (P,), by which draws know the problems; None: 0, 1, 2, ...

    def chains(self) -> list[Chain]:
        """Return chains without attempts, those of a problem one after the other."""
        numbers = np.arange(len(self.problems)) if self.numbers is None else self.numbers
        pairs = zip(self.problems, numbers, strict=True)
        return [Chain(problem, int(number), s) for problem, number in pairs for s in range(self.samples)]


def first_attempts(writer: Writer, posed: Posed, progress: Progress | None = None) -> list[Attempt]:
    """Return the first attempt of each chain of `posed`."""
    chains, starts = posed.chains(), []
    for chain in chains:
        prompt = np.array(encode_prompt(writer.system.dialect, chain.problem), np.int32)
        starts.append(Start(prompt, len(prompt), 0, Decision.FIRST))
    report = None if progress is None else lambda done, total: progress("first attempts", done, total)
    return writer.write(chains, starts, [writer.system.context] * len(chains), 0, report)


def follow(
    writer: Writer,
    policy: str,
    posed: Posed,
    first: Sequence[Attempt],
    budget: int,
    progress: Progress | None = None,
) -> list[Chain]:
    """Return what becomes of the problems under a policy with `budget` tokens for each chain, whose first attempts are
    given."""
    chains = posed.chains()
    for chain, whole in zip(chains, first, strict=True):
        attempt = _shortened(whole, budget)
        take(writer, chain, attempt, *judged(writer, chain, attempt), budget)
    number = 0
    while going := [chain for chain in chains if chain.ended is None]:
        number += 1
        if progress is not None:
            progress(policy, len(chains) - len(going), len(chains))
        _next_attempts(writer, policy, going, budget, number)
    if progress is not None:
        progress(policy, len(chains), len(chains))
    return chains


def _shortened(attempt: Attempt, budget: int) -> Attempt:
    """Return what of a first attempt is within the budget."""
    if attempt.charged <= budget:
        return attempt
    tokens = attempt.tokens[: attempt.num_prompt + budget]
    return attempt._replace(tokens=tokens, finished=False, logprobs=attempt.logprobs[:budget])


def _next_attempts(writer: Writer, policy: str, going: list[Chain], budget: int, number: int) -> None:
    """Write one more attempt of each chain; what does not fit into the budget any more ends."""
    writer.score([chain.problem for chain in going])
    chains: list[Chain] = []
    starts: list[Start] = []
    for chain in going:
        wanted = chosen(policy, writer.settings, chain, writer.options_of(chain))
        wanted = [start for start in wanted if start.forced < budget - chain.spent]
        if not wanted:
            chain.ended = Decision.RESTART
        chains += [chain] * len(wanted)
        starts += wanted
    if not starts:
        return
    attempts = writer.write(chains, starts, [budget - chain.spent for chain in chains], number)
    found: dict[int, list[tuple[Attempt, Finding, bool, bool]]] = {}
    for chain, attempt in zip(chains, attempts, strict=True):
        found.setdefault(id(chain), []).append((attempt, *judged(writer, chain, attempt)))
    for chain in {id(chain): chain for chain in chains}.values():
        tries = found[id(chain)]
        if policy == "oracle":
            chain.branches.append({a.decision: (accepted and right, a.charged) for a, _, accepted, right in tries})
        take(writer, chain, *min(tries, key=_worth), budget)


def _worth(tried: tuple[Attempt, Finding, bool, bool]) -> tuple[int, int]:
    """Order what the oracle tried: solutions first, what would be submitted by mistake last, and then the cheapest."""
    attempt, finding, accepted, right = tried
    if accepted and right:
        return 0, finding.to_goal
    return (2 if accepted else 1), attempt.charged


def judged(writer: Writer, chain: Chain, attempt: Attempt) -> tuple[Finding, bool, bool]:
    """Return what the verifier finds in the next attempt of a chain, whether the judge accepts it, and the truth."""
    finding = diagnose(writer.system, chain.problem, attempt)
    chain.calls += 1
    right = finding.diagnosis == Diagnosis.SOLVED
    number = len(chain.attempts)
    flips = uniform(draws_of(writer.settings, "attempts judge", chain), number) < writer.settings.judge_flips
    accepted = right != bool(flips)
    return refused(finding) if right and not accepted else finding, accepted, right


def take(
    writer: Writer, chain: Chain, attempt: Attempt, finding: Finding, accepted: bool, right: bool, budget: int
) -> None:
    """Add an attempt to its chain, and see whether this ends it."""
    if accepted and right:
        chain.solved_at = chain.spent + finding.to_goal
    chain.attempts.append(attempt)
    chain.findings.append(finding)
    chain.tried |= tried_at_root(writer.system, finding)
    chain.spent += attempt.charged
    chain.accepted, chain.right = accepted, accepted and right
    if accepted:
        chain.ended = Decision.PROCEED
    elif finding.diagnosis == Diagnosis.EXHAUSTED and _hopeless(writer, chain):
        chain.ended = Decision.STOP
    elif chain.spent >= budget:
        chain.ended = Decision.RESTART


def _hopeless(writer: Writer, chain: Chain) -> bool:
    chain.calls += 1
    return certified_hopeless(writer.system, chain.problem)
