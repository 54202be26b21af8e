"""`sos memory RUN`: a model plays a stream of tasks, and is shown what it learned from those before."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sos.commands.output import check_out, held
from sos.commands.words import check_once, option, places
from sos.errors import UserError

if TYPE_CHECKING:
    from sos.memory.play import Played, Player
    from sos.memory.records import Record
    from sos.memory.tasks import Tasks

log = logging.getLogger(__name__)

TASKS = ("regular", "useless", "iid", "unrelated")
FILES = ("memory.json", "memory.md", "memory.png")


@dataclass
class Options:
    """Retrieve, answer with lessons in the context slot, judge, extract, append: task after task, in blocks, and no
    weight changes. Every arm plays the same tasks. Several runs are several bases, and play the same streams. The
    folder gets memory.json, memory.md, memory.png, and each arm's memory as JSON lines."""

    run: list[str] = places("RUN", "run folders or checkpoints of bases that read lessons, as experiment=lessons")
    tasks: str = option(
        "regular",
        "regular: a hidden rule says which class of actions solves a task; useless: one class solves none; iid: as "
        "drawn; unrelated: features tell nothing",
        choices=TASKS,
    )
    arms: list[str] = option([], "what is kept and shown, such as [none,both,filler]; by default all but those of two")
    num: int = option(192, "the tasks of a stream", low=1)
    block: int = option(32, "tasks that are answered together; what is shown comes from the blocks before", low=1)
    temperature: float = option(0.8, "of the attempts at a task of arms that make several", low=0.01)
    max_tokens: int | None = option(None, "tokens that an answer may have; null: what the context leaves", low=1)
    streams: int = option(1, "the streams, each with its own tasks and rule", low=1)
    seed: int = option(1, "the seed of the first stream; the next ones follow", low=0)
    memory: str | None = option(None, "a file of records that every arm begins with")
    device: str | None = option(None, "any name that torch knows; null: cuda where there is one")
    out: str | None = option(None, "the folder of the results; null: memory, in the first run's")


def players_of(options: Options, kinds: set[str]) -> list[Player]:
    """Return the models of the runs. Raises UserError for a base whose slot does not hold what the arms show, and for
    bases of different tasks."""
    import torch

    from sos.envs.lessons import check_lessons
    from sos.memory.play import Player
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model, moved, system_of
    from sos.runs.folder import checkpoint_of
    from sos.schema.slot import LESSON

    found: list[Player] = []
    for run in options.run:
        loaded = load_checkpoint(checkpoint_of(run))
        config = config_of(loaded)
        slot = [*config.slot.kinds]
        system = system_of(loaded, config)
        check_lessons(system.env, run)
        config.stream.check_whole(run, "a memory has whole ones before it")
        if missing := sorted((kinds | {LESSON}) - set(slot)):
            raise UserError(
                f"{run}: the slot of this base has no {missing[0]} (slot.kinds=[{','.join(slot)}]); "
                "experiment=lessons trains one that has"
            )
        if found and (system.env, system.context) != (found[0].system.env, found[0].system.context):
            raise UserError(f"{run} was not trained on the tasks of {options.run[0]}")
        model = moved(load_model(loaded, system), options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        found.append(Player(model, system, config.slot.lessons, options.max_tokens, options.temperature))
    return found


def check(options: Options, arms: list[str]) -> None:
    """Refuse what no run can do, before work starts. Raises UserError."""
    from sos.memory.arms import check_arms

    check_arms(arms)
    check_once(options.run)
    check_out(options.out, folder=True)
    if arms != ["none"] and options.memory is None and options.num <= options.block:
        raise UserError(
            f"num={options.num} tasks are one block of block={options.block}: what is shown comes from the blocks "
            "before, so that there would be nothing to show"
        )


def run(options: Options) -> None:
    """Play every arm, write the files and print the table."""
    from sos.memory.arms import FIRST, needed_kinds

    arms = options.arms or list(FIRST)
    check(options, arms)
    from sos.memory.records import load
    from sos.memory.tasks import tasks_of
    from sos.runs.folder import RunFolder, checkpoint_of

    players = players_of(options, needed_kinds(arms))
    records = [] if options.memory is None else load(Path(options.memory), players[0].system.dialect)
    if options.memory is not None and not records:
        log.warning("memory=%s holds no record: every arm begins with nothing", options.memory)
    seeds = [options.seed + k for k in range(options.streams)]
    streams = [tasks_of(players[0].system, options.tasks, options.num, seed) for seed in seeds]
    out = Path(options.out or RunFolder.of_checkpoint(checkpoint_of(options.run[0])).path / "memory")
    game = _Game(options, streams, records, out)
    with held("memory", [*FILES, "memory_*.jsonl"], out):
        played = {arm: [game.play(player, b, arm) for b, player in enumerate(players)] for arm in arms}
        _write(options, out, players, streams, played)
    print(f"wrote {out}")


class _Game(NamedTuple):
    """What is the same for every base and every arm."""

    options: Options
    streams: list[Tasks]
    records: list[Record]
    out: Path

    def play(self, player: Player, base: int, arm: str) -> list[Played]:
        """Play the streams with one base and one arm. A memory's file is there when its stream is done."""
        from sos.memory.arms import ARMS
        from sos.memory.play import play
        from sos.train.bars import progress_bars

        options, found = self.options, []
        update, close = progress_bars()
        for k, seed in enumerate(range(options.seed, options.seed + options.streams)):
            phase = f"{arm}, base {base + 1} of {len(options.run)}, stream {k + 1} of {options.streams}"

            def progress(done: int, phase: str = phase) -> None:
                update(phase, done, options.num)

            with self._kept(player, self.out / f"memory_{arm}_{base}_{seed}.jsonl", arm) as file:
                found.append(
                    play(
                        player,
                        self.streams[k].tasks,
                        ARMS[arm],
                        seed=seed,
                        block=options.block,
                        records=self.records,
                        file=file,
                        progress=progress,
                    )
                )
        close()
        rate = sum(one.solved.mean() for one in found) / len(found)
        print(f"{arm}, {options.run[base]}: {100 * rate:.1f}% solved", flush=True)
        return found

    @contextmanager
    def _kept(self, player: Player, path: Path, arm: str) -> Iterator[Path | None]:
        """Give a file that begins with the records that the arm begins with; none where it keeps nothing."""
        from sos.files import written_whole
        from sos.memory.records import append

        if arm == "none":
            yield None
            return
        with written_whole(path) as partial:
            append(partial, player.system.dialect, self.records)
            yield partial


def _write(
    options: Options, out: Path, players: list[Player], streams: list[Tasks], played: dict[str, list[list[Played]]]
) -> None:
    import dataclasses
    from contextlib import ExitStack

    from sos.context.lessons import NO_CLASS
    from sos.files import json_bytes, written_whole
    from sos.memory.report import as_plain, figure, rows_of, table

    rows = rows_of(played)
    env = players[0].system.env
    rules = [
        None
        if stream.regularity is None
        else {
            "feature": env.lesson_features[stream.regularity.feature],
            "with": env.lesson_classes[stream.regularity.within],
            "without": env.lesson_classes[stream.regularity.without],
        }
        for stream in streams
    ]
    useless = [None if one.useless == NO_CLASS else env.lesson_classes[one.useless] for one in streams]
    content = {
        "options": dataclasses.asdict(options),
        "regularities": rules,
        "useless": useless,
        "arms": as_plain(rows),
    }
    text = table(rows)
    for stream in streams:
        if stream.useless != NO_CLASS:
            print(f"no task is solved by {env.lesson_classes[stream.useless]}")
    for rule in rules:
        if rule is not None:
            print(f"tasks with {rule['feature']} are solved by {rule['with']}, the others by {rule['without']}")
    print(text, flush=True)  # also where the disk is full
    with ExitStack() as renamed:  # at its end, when all are written
        result, page, drawn = (renamed.enter_context(written_whole(out / name)) for name in FILES)
        result.write_bytes(json_bytes(content))
        page.write_text(text + "\n", encoding="utf-8")
        figure(rows, options.num).savefig(drawn, format="png")
