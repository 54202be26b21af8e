"""The rounds of practice as training batches: a LightningDataModule that is given the model which it has to train.

A round is made when its first batch is asked for, by the weights of that moment, and its batches follow. So nothing may
ask ahead: the loader has a length, for which Lightning does without. What a round consists of is a function of the
weights, the configuration and the number of the round; a checkpoint lies between two rounds, and what a run that was
killed had done of a round is done again to the same bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol

import lightning as L

from sos.data.loader import Ranks
from sos.errors import UserError
from sos.schema.improve import ImproveConfig

MOST_SKIPPED = 50  # rounds in a row of which nothing is left


@dataclass(frozen=True)
class RoundCursor:
    """The next round, and what was consumed before it."""

    round: int = 0  # rounds that were rolled out
    trained: int = 0  # those of them that were trained on
    skipped: int = 0  # those of which too little was left
    skipped_last: int = 0  # of them, those in a row before this round
    problems: int = 0
    rollouts: int = 0
    rollout_tokens: int = 0  # written, prompts not counted
    tokens: int = 0  # trained on: positions that hold a token
    streams: int = 0  # rollouts trained on, in each epoch anew
    data_seconds: float = 0.0  # all that is not the model's training
    rollout_seconds: float = 0.0
    verify_seconds: float = 0.0

    def complaint(self, options: ImproveConfig) -> str | None:
        """Return what is impossible about a cursor between two rounds of a run with these options, or None."""
        for field in fields(self):
            value = getattr(self, field.name)
            kinds, most = ((int, float), math.inf) if field.type == "float" else ((int,), 2**62)
            if type(value) not in kinds or not 0 <= value < most:
                return f"{field.name}={value!r:.60}"
        if self.trained + self.skipped != self.round or self.trained > options.rounds:
            return f"{self.trained} rounds trained and {self.skipped} skipped of {self.round}, {options.rounds} in all"
        if self.skipped_last > self.skipped:
            return f"{self.skipped_last} rounds skipped in a row, {self.skipped} in all"
        num_problems = self.round * options.problems
        if (self.problems, self.rollouts) != (num_problems, num_problems * options.group):
            return f"{self.problems} problems and {self.rollouts} rollouts in {self.round} rounds"
        if self.streams > min(self.rollouts * options.epochs, self.tokens):
            return f"{self.streams} streams of {self.rollouts} rollouts, {self.tokens} tokens in all"
        return None


@dataclass(frozen=True)
class Round:
    """What one round brought."""

    batches: list[list[dict[str, Any]]]  # epochs of minibatches, tensors each; none where too little was left
    metrics: dict[str, float]  # what is worth logging, by its name behind `improve/`
    rollouts: int
    rollout_tokens: int
    rollout_seconds: float
    verify_seconds: float
    why: str = ""  # nothing is left


class Rounds(Protocol):
    """Makes round `number` with the model as it is."""

    options: ImproveConfig

    def make(self, number: int) -> Round:
        """Return the round."""
        ...


def counts_of(batch: dict[str, Any]) -> tuple[int, int]:
    """Return the positions that hold a token, and the streams, of a batch: of all processes that share it."""
    if "whole" in batch:
        tokens, streams = batch["whole"]
        return tokens, streams
    held = batch["doc_ids"] >= 0
    return int(held.sum()), int(((batch["positions"] == 0) & held).sum())


class RoundLoader:
    """Iterates over the batches of all rounds from a cursor on.

    A batch is what `Rounds` makes, and `progress` (share of the rounds before it), `cursor` (the state behind it, a
    dict), `ends_round`, `restarts` (whether training begins again at the weights of the start) and, with the first of
    a round, `metrics`. A round of which too little is left is skipped and counted, and another one is made in its
    place. Raises UserError where `MOST_SKIPPED` are skipped in a row.
    """

    def __init__(self, rounds: Rounds, cursor: RoundCursor) -> None:
        self.rounds, self.cursor = rounds, cursor

    def __len__(self) -> int:
        options = self.rounds.options
        return options.rounds * options.steps

    def __iter__(self) -> Iterator[dict[str, Any]]:
        cursor, options = self.cursor, self.rounds.options
        while cursor.trained < options.rounds:
            made, cursor = self._make(cursor)
            if not made.batches:
                continue
            trained = cursor.trained
            steps = [batch for epoch in made.batches for batch in epoch]
            for number, batch in enumerate(steps):
                last = number + 1 == len(steps)
                tokens, streams = counts_of(batch)
                cursor = replace(
                    cursor,
                    trained=trained + last,
                    tokens=cursor.tokens + tokens,
                    streams=cursor.streams + streams,
                )
                yield {
                    **batch,
                    "progress": (trained + number / len(steps)) / options.rounds,
                    "cursor": asdict(cursor),
                    "ends_round": last,
                    "restarts": options.from_start and number == 0,
                    "metrics": made.metrics if number == 0 else {},
                }

    def _make(self, cursor: RoundCursor) -> tuple[Round, RoundCursor]:
        """Return the round at the cursor, and the cursor before its first batch."""
        started = time.perf_counter()
        made, options = self.rounds.make(cursor.round), self.rounds.options
        skipped = not made.batches
        in_a_row = cursor.skipped_last + 1 if skipped else 0
        if in_a_row == MOST_SKIPPED:
            raise UserError(f"{in_a_row} rounds in a row left nothing to learn from: {made.why}")
        seconds = time.perf_counter() - started
        return made, replace(
            cursor,
            round=cursor.round + 1,
            skipped=cursor.skipped + skipped,
            skipped_last=in_a_row,
            problems=cursor.problems + options.problems,
            rollouts=cursor.rollouts + made.rollouts,
            rollout_tokens=cursor.rollout_tokens + made.rollout_tokens,
            data_seconds=cursor.data_seconds + seconds,
            rollout_seconds=cursor.rollout_seconds + made.rollout_seconds,
            verify_seconds=cursor.verify_seconds + made.verify_seconds,
        )


class PracticeData(L.LightningDataModule):
    """Hands the trainer a RoundLoader and keeps the cursor behind the last trained batch in checkpoints."""

    def __init__(self, make_loader: Callable[[Ranks, RoundCursor], RoundLoader]) -> None:
        super().__init__()
        self.make_loader, self.cursor = make_loader, RoundCursor()

    def train_dataloader(self) -> RoundLoader:
        ranks = Ranks(self.trainer.global_rank, self.trainer.world_size) if self.trainer else Ranks()
        return self.make_loader(ranks, self.cursor)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.cursor)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.cursor = RoundCursor(**state_dict)
