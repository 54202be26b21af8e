"""Where the traces of a page come from: searches, models' rollouts and files; see `sos.commands.view` for the keys."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sos.compose import combinations, compose
from sos.config import Config, config_from_dict, to_dict
from sos.data.splits import SPLITS, evaluation_problems, sample_problems
from sos.data.traces import strategy_of
from sos.datasets.files import env_of, parse_trace
from sos.datasets.source import build_source
from sos.envs.words import words_of
from sos.errors import UserError
from sos.files import read_json_lines, read_text
from sos.judge.contexts import pose
from sos.rng import fold, stream_key
from sos.schema.slot import NONE, check_contexts, kind_of_context
from sos.search.run import run_search
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import BOS, EOS, PAD, SPECIALS
from sos.stream.viewing import view_trace
from sos.stream.views import SWAPPED
from sos.system import MAX_TRACE_NODES, System, build_dialect, build_system
from sos.view.page import TraceStream, from_tokens, from_trace

Shown = tuple[Dialect, Any, TraceStream]


def parse_indices(options: dict[str, str]) -> tuple[str, list[int]]:
    """Return the split and the indices, by default `val` and 0."""
    split = options.get("split", "val")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}, got {split}")
    text = options.get("index", "0")
    try:
        indices = [int(part) for part in text.strip("[]").split(",")]
    except ValueError:
        raise UserError(f"index must be numbers from 0 up, separated by commas, got {text}") from None
    if min(indices) < 0:
        raise UserError(f"index must not be negative, got {text}")
    return split, indices


class Problem(NamedTuple):
    """A problem, and its number in a split; a problem that was typed counts as number 0 of `train`."""

    row: np.ndarray  # int32 (P,)
    split: str = "train"
    number: int = 0
    name: str = ""

    def titled(self, title: str) -> str:
        """Return a trace's title, with the name that tells problems apart."""
        return " · ".join(filter(None, (self.name, title)))


def find_problems(config: Config, system: System, options: dict[str, str]) -> list[Problem]:
    """Return the problems that the arguments name."""
    if "problem" in options:
        return [Problem(words_of(system.env).parse_problem(options["problem"]))]
    split, indices = parse_indices(options)
    if split == "val_target" and not len(system.splits.held_out):
        held_out = words_of(system.env).held_out
        raise UserError(f"split=val_target: no {held_out} is held out (data.held_out_fraction=0)")
    if split == "train":
        found = {
            index: sample_problems(system.env, system.splits, split, 1, seed=config.seed, start=index)[0]
            for index in indices
        }
    else:
        rows = evaluation_problems(system.env, system.splits, split, max(indices) + 1, seed=config.eval.seed)
        if max(indices) >= len(rows):
            raise UserError(f"index={max(indices)}: split {split} holds {len(rows)} distinct problems")
        found = {index: rows[index] for index in indices}
    return [Problem(row, split, index, f"{split} {index}") for index, row in found.items()]


def search_trace(config: Config, system: System, problem: Problem, title: str) -> Shown:
    """Search a problem as a run with this config does for its problem of that number, view and draw of a mixture
    included."""
    if system.view.kind == SWAPPED:
        return _swapped_stream(config, system, problem, title)
    choice = int(strategy_of(system.strategy, stream_key(config.seed, problem.split), problem.number))
    trace = run_search(system.strategy, system.env, problem.row, MAX_TRACE_NODES, choice)
    dose_key = int(fold(stream_key(config.seed, "dose"), problem.number))
    trace = view_trace(system.view, system.env, trace, dose_key, MAX_TRACE_NODES)
    strategy = describe_search(config) if len(system.strategy_names) == 1 else system.strategy_names[choice]
    detail = f"{strategy}, {config.stream.view}, {system.dialect.name}"
    return system.dialect, system.env, from_trace(system.dialect, system.env, trace, problem.titled(title), detail)


def _swapped_stream(config: Config, system: System, problem: Problem, title: str) -> Shown:
    """Return the stream that a run with this config trains on, whose search is another visit's."""
    if problem.split != "train" or not problem.name:
        raise UserError("stream.view=swapped shows what is trained on: give split=train and an index")
    if config.data.num_problems:
        raise UserError(
            f"data.num_problems={config.data.num_problems}: with stream.view=swapped a page shows endless data alone"
        )
    data = dataclasses.replace(config.data, shards=None)
    source = build_source(dataclasses.replace(config, data=data), system)
    chunk = source.chunk(problem.number, problem.number + 1)
    if not len(chunk.prompts):
        raise UserError(f"index={problem.number}: {chunk.left_out.why(f'data.context={system.context}')}")
    detail = f"{describe_search(config)} of another problem, {system.dialect.name}"
    shown = from_tokens(system.dialect, system.env, problem.row, chunk.tokens, problem.titled(title), detail)
    return system.dialect, system.env, shown


def describe_search(config: Config) -> str:
    """Return the strategy's name and what it orders children by."""
    return config.search.described()


def from_searches(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    """Return the strategies' searches for the problems that the arguments name."""
    shown = []
    for chosen, swept in combinations(overrides):
        config = compose(chosen)
        system = build_system(config)
        title = swept or f"{describe_search(config)}, {config.stream.view}"
        shown += [search_trace(config, system, problem, title) for problem in find_problems(config, system, options)]
    return shown


def _teachers(config: Config, overrides: Sequence[str]) -> list[tuple[str, Config]]:
    """Return (name, config) of the searches to put beside a model: the run's own, or those of the `search` keys
    given."""
    for override in overrides:
        if not override.startswith(("search=", "search.")):
            raise UserError(
                f"{override} has no place here: the run says it; only search keys, the teacher's, can be given"
            )
    if not overrides:
        return [(f"teacher {describe_search(config)}", config)]
    return [
        (
            f"teacher {swept or chosen[0]}",
            config_from_dict(to_dict(config) | {"search": to_dict(compose(chosen))["search"]}),
        )
        for chosen, swept in combinations(overrides)
    ]


def _with_teachers(config: Config, problem: Problem, options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    choice = options.get("teacher", "true").lower()
    if choice not in ("true", "false"):
        raise UserError(f"teacher must be true or false, got {options['teacher']}")
    if choice == "false":
        return []
    if config.stream.view == "swapped":  # the search that the model never saw is the one to compare with
        config = dataclasses.replace(config, stream=dataclasses.replace(config.stream, view="full"))
    return [
        search_trace(teacher, build_system(teacher), problem, title) for title, teacher in _teachers(config, overrides)
    ]


def from_models(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    """Return what models wrote, from a run's rollouts or a checkpoint, each followed by the teacher's searches."""
    if "checkpoint" in options:
        return _from_checkpoint(options, overrides)
    if "problem" in options:
        raise UserError("rollout=RUN holds the problems of its evaluation; use checkpoint=RUN for one of your own")
    from sos.runs.finished import config_of, load_runs
    from sos.runs.rollouts import read_streams

    split, indices = parse_indices(options)
    runs = load_runs([options["rollout"]])
    shown: list[Shown] = []
    systems = [(config, build_system(config)) for config in map(config_of, runs)]
    label = split if _context(options) == NONE else f"{split}.{_context(options)}"
    for run in runs:
        if label != split and not (run.folder / f"rollouts_{label}.npz").is_file():
            raise UserError(
                f"context={_context(options)}: {run.folder} holds no answers behind it; "
                f"checkpoint={run.folder} writes one now"
            )
    loaded = [(run, *made, *read_streams(run.folder, label, made[1])) for run, made in zip(runs, systems, strict=True)]
    for index in indices:
        seen: set[tuple[int, ...]] = set()
        for run, config, system, rows, streams in loaded:
            if index >= len(rows):
                raise UserError(f"index={index}: {run.folder} holds {len(rows)} rollouts of split {label}")
            problem = Problem(rows[index], split, index, f"{split} {index}")
            title = problem.titled(f"model {run.name}" if len(runs) > 1 else "model")
            detail = f"run {run.folder.name}{'' if label == split else f', context {_context(options)}'}"
            answer = from_tokens(system.dialect, system.env, problem.row, streams[index], title, detail)
            shown.append((system.dialect, system.env, answer))
            if tuple(problem.row.tolist()) not in seen:  # one teacher for runs on the same problem
                seen.add(tuple(problem.row.tolist()))
                shown += _with_teachers(config, problem, options, overrides)
    return shown


def _context(options: dict[str, str]) -> str:
    """Return the name of the context that is asked for. Raises UserError for an unknown one."""
    name = options.get("context", NONE)
    check_contexts([name], "context")
    return name


def _prompts(config: Config, system: System, problems: Sequence[Problem], context: str) -> list[np.ndarray]:
    """Return the prompt of each problem with the context of this name before it."""
    if context != NONE and system.slot is None:
        kind = kind_of_context(context)
        raise UserError(f"context={context}: this base has no context slot; slot={kind} trains one")
    posed = (pose(system, problem.split, problem.row[None], context, config.eval.seed) for problem in problems)
    return [found.prompts[0] for found in posed]


def _from_checkpoint(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    from sos.judge.rolling import roll
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model, moved
    from sos.runs.folder import checkpoint_of

    path = checkpoint_of(options["checkpoint"])
    loaded = load_checkpoint(path)
    config = config_of(loaded)
    system = build_system(config)
    problems = find_problems(config, system, options)
    model = moved(load_model(loaded, system), options.get("device", "cpu"))
    context = _context(options)
    prompts = _prompts(config, system, problems, context)
    answers = roll(system, model, prompts, max_tokens=config.eval.max_tokens)
    shown: list[Shown] = []
    for problem, answer in zip(problems, answers, strict=True):
        with_context = "" if context == NONE else f", context {context}"
        title, detail = problem.titled("model"), f"checkpoint {path}, greedy{with_context}"
        trace = from_tokens(system.dialect, system.env, problem.row, answer.tokens, title, detail)
        shown.append((system.dialect, system.env, trace))
        shown += _with_teachers(config, problem, options, overrides)
    return shown


def from_files(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    """Return the streams of a file, read in the config's dialect."""
    chosen = list(combinations(overrides))
    if len(chosen) > 1:
        raise UserError(f"a file is read in one dialect, and {len(chosen)} combinations of values are given")
    system = build_system(compose(chosen[0][0]))
    words = words_of(system.env)
    if {"split", "index"} & options.keys():
        raise UserError(f"tokens and text take problem={words.problem_form}, not split and index")
    problem = words.parse_problem(options["problem"]) if "problem" in options else None
    path = Path(options.get("tokens") or options["text"])
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    content = read_text(path)
    streams = _read_integers(path, content) if "tokens" in options else [_tokenize(path, content, system.dialect)]
    shown: list[Shown] = []
    for number, stream in enumerate(streams):
        title = path.name if len(streams) == 1 else f"{path.name} {number}"
        trace = from_tokens(system.dialect, system.env, problem, stream, title, f"dialect: {system.dialect.name}")
        shown.append((system.dialect, system.env, trace))
    return shown


def from_trace_file(options: dict[str, str], overrides: Sequence[str]) -> list[Shown]:
    """Return the traces number `index` of a file of traces (see `sos.datasets.files`), written in the config's
    dialect."""
    path = Path(options["traces"])
    if not path.is_file():
        raise UserError(f"no such file: {path}")
    if {"split", "problem"} & options.keys():
        raise UserError("traces takes index, not split and problem")
    _, indices = parse_indices(options)
    values = dict(zip(range(max(indices) + 1), read_json_lines(path), strict=False))
    shown: list[Shown] = []
    for index in indices:
        if index not in values:
            raise UserError(f"index={index}: {path} holds {len(values)} traces")
        line, value = values[index]
        try:
            if isinstance(value, ValueError):
                raise value
            trace, strategy = parse_trace(value)
            env = env_of(value, trace.problem)
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}") from error
        for chosen, swept in combinations(overrides):
            config = compose(chosen)
            dialect = build_dialect(config, env)
            title = " · ".join(filter(None, (f"trace {index}", strategy, swept)))
            detail = f"{path.name}, {dialect.name}"
            shown.append((dialect, env, from_trace(dialect, env, trace, title, detail)))
    return shown


def _read_integers(path: Path, content: str) -> list[list[int]]:
    """Return the integers of every line that is not empty; a line may be a JSON list."""
    streams = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            stream = json.loads(f"[{','.join(line.strip().strip('[]').replace(',', ' ').split())}]")
        except (ValueError, RecursionError):
            stream = [None]
        if not all(type(token) is int and abs(token) < 2**63 for token in stream):
            raise UserError(f"{path}, line {number}: not integers: {line.strip()[:60]}")
        streams.append(stream)
    if not streams:
        raise UserError(f"{path} holds no tokens")
    return streams


def _tokenize(path: Path, text: str, dialect: Dialect) -> list[int]:
    """Return the ids of a text. Raises ValueError that names the first character that no token covers."""
    encoding = dialect.vocab.tokenizer().encode(text)
    ids = list(encoding.ids)
    for token, (start, stop) in zip(ids, encoding.offsets, strict=True):
        if token == PAD and text[start:stop] != SPECIALS[PAD]:
            raise UserError(f"{path}: {text[start:stop]!r} at character {start} is no token of dialect {dialect.name}")
    if not ids:
        raise UserError(f"{path} holds no tokens")
    return ([] if ids[0] == BOS else [BOS]) + ids + ([] if EOS in ids else [EOS])
