"""Problems chosen by how often the policy solves them: the classes of "overly hard samples" (arXiv 2605.28388).

A stage rolls out a pool of problems with the weights that it begins with, eight answers to each, and draws its rounds
from those of the classes that it wants. The next stage, whose start is this one's end, measures anew. Of 8 answers more
than half are right: easy; some: medium. Of the others, an answer among `improve.more_samples` is right: recoverable;
the solver knows a solution: latent; else impossible. What is right here is what the exact verifier says, whatever a
stage rewards.

Repairs for what is too hard: easy problems mixed in, and a part of a solution given as a beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sos.data.splits import sample_problems
from sos.envs import protocol as environment
from sos.errors import UserError
from sos.improve.guided import path_of
from sos.improve.selections import difficulty_classes
from sos.improve.selections_options import CLASSES
from sos.improve.task import Task
from sos.improve.together import rolled_out
from sos.judge.rollouts import judge
from sos.model.gpt import GPT
from sos.rng import fold, permute, stream_key
from sos.stream.codec import encode, encode_prompt
from sos.system import System
from sos.trace import NODE

SAMPLES = 8  # answers that decide between easy, medium and hard
EASY, MEDIUM, RECOVERABLE, LATENT, IMPOSSIBLE = range(len(CLASSES))


class Pool(NamedTuple):
    """Problems and what the start makes of them."""

    problems: np.ndarray  # int32 (P, W)
    classes: np.ndarray  # int8 (P,): numbers in `CLASSES`; -1 for a hard one that nobody asked about further
    mixed: float  # the share that some and not all of 8 answers solve
    tokens: int  # written for all that

    def shares(self) -> dict[str, float]:
        """Return the share of each class, and of `hard` ones of unknown kind."""
        found = {name: float((self.classes == k).mean()) for k, name in enumerate(CLASSES)}
        return found | {"hard": float((self.classes < 0).mean())}


def profile(task: Task, model: GPT) -> Pool:
    """Measure a pool with a model: a function of the seed and the weights.

    Unsolvable problems are drawn for the class impossible alone. Raises UserError where a class that is wanted is
    empty, where fewer problems than `improve.gate` are solved by some and not all of 8 answers, and where the
    environment has no unsolvable problems.
    """
    options, system = task.options, task.system
    seed = int(stream_key(task.seed, "practice pool"))
    problems = sample_problems(system.env, system.splits, "train", options.pool, seed=seed)
    right, tokens = count_right(task, model, problems, SAMPLES, 0)
    mixed = float(((right > 0) & (right < SAMPLES)).mean())
    if mixed < options.gate:
        raise UserError(
            f"improve.gate={options.gate:g}: of {options.pool} problems {mixed:.1%} are solved by some and not all of "
            f"{SAMPLES} answers of the start, too few to learn from"
        )
    classes = difficulty_classes(right, SAMPLES)
    hard = np.flatnonzero(classes < 0)
    if len(hard) and set(options.classes) & {"recoverable", "latent"}:
        more, written = count_right(task, model, problems[hard], options.more_samples, SAMPLES)
        work = system.env.proof_work()
        solvable = [bool(environment.solvable(system.env, problem, work)) for problem in problems[hard]]
        classes[hard] = difficulty_classes(right[hard], SAMPLES, more_correct=more, solvable=solvable)
        tokens += written
    if "impossible" in options.classes:
        unsolvable = sample_problems(system.env, system.splits, "train", options.pool, seed=seed, solvable=False)
        problems = np.concatenate([problems, unsolvable])
        classes = np.concatenate([classes, np.full(len(unsolvable), IMPOSSIBLE, np.int8)])
    pool = Pool(problems, classes, mixed, tokens)
    for name in (*options.classes, *(["easy"] if options.easy_share else [])):
        if not (classes == CLASSES.index(name)).any():
            found = ", ".join(f"{share:.1%} {other}" for other, share in pool.shares().items() if share)
            raise UserError(
                f"improve.classes={_typed(options.classes)}: none of improve.pool={options.pool} problems is {name} "
                f"for the start; there are {found}"
            )
    return pool


def chosen_problems(task: Task, pool: Pool, number: int) -> np.ndarray:
    """Return the problems of round `number`, int32 (P, W): the easy ones that are mixed in, then those of the classes;
    each part goes through its problems in an order that is drawn anew each time.
    """
    options = task.options
    num_easy = round(options.easy_share * options.problems)
    wanted = [CLASSES.index(name) for name in options.classes]
    parts = [
        ([EASY], num_easy, "practice easy"),
        (wanted or list(range(-1, len(CLASSES))), options.problems - num_easy, "practice classes"),
    ]
    found = []
    for classes, num, name in parts:
        members = np.flatnonzero(np.isin(pool.classes, classes))
        key = stream_key(task.seed, name)
        for k in range(number * num, (number + 1) * num):
            epoch, place = divmod(k, len(members))
            found.append(members[permute(np.uint64(fold(key, epoch)), place, len(members))])
    return pool.problems[found]


def count_right(task: Task, model: GPT, problems: np.ndarray, num: int, first: int) -> tuple[np.ndarray, int]:
    """Return how many of `num` answers to each problem are solved and finished, int64 (P,), and the tokens written.

    `first` is the number of the first answer among all that are drawn for a problem.
    """
    system = task.system
    prompts = [np.array(encode_prompt(system.dialect, problem), np.int32) for problem in problems]
    with task.decoding(model.device):
        answers = rolled_out(
            task.ranks,
            model,
            [prompt for prompt in prompts for _ in range(num)],
            max_tokens=task.options.max_tokens or system.context,
            temperature=task.options.temperature,
            seed=int(stream_key(task.seed, "practice pool")),
            problem_indices=np.repeat(np.arange(len(problems)), num),
            sample_indices=np.tile(first + np.arange(num), len(problems)),
            batch_size=task.batch_size,
        )
    judged = judge(system, problems.repeat(num, 0), answers)
    right = (judged.solved & ~judged.unfinished).reshape(-1, num).sum(1)
    return right, int(judged.generated_tokens.sum())


def begun(system: System, problem: np.ndarray, share: float) -> np.ndarray:
    """Return the prompt of a problem and behind it the first nodes of its solution, int32: `share` of them, rounded
    down, and never the goal. Of a problem without a solution, the prompt alone."""
    path = path_of(system, problem)
    prompt = np.array(encode_prompt(system.dialect, problem), np.int32)
    if path is None or share == 0:
        return prompt
    tokens, align, _ = encode(system.dialect, path)
    given = min(int(share * (len(path.nodes) - 1)), len(path.nodes) - 2)
    nodes = path.events[align, NODE]
    kept = int(np.flatnonzero((nodes >= 0) & (nodes <= given))[-1]) + 1
    stated = len(encode_prompt(system.dialect, problem, ()))
    whole = np.concatenate([prompt, tokens[stated:kept]]).astype(np.int32)
    return whole if len(whole) < system.context else prompt


def _typed(names: Sequence[str]) -> str:
    return "[" + ",".join(names) + "]"
