"""Losses by place: every token of a stream is put to the field that says what the trace holds, and nothing is lost."""

from __future__ import annotations

import csv
import subprocess
import sys
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drivers import DIALECTS, all_searches, random_problem, run_search
from sizes import plain

from sos.commands.cli import call
from sos.commands.losses import measure
from sos.config import Config, DataConfig, ModelConfig, SearchConfig, StreamConfig, to_dict
from sos.datasets.source import build_source
from sos.envs.countdown.config import CountdownConfig
from sos.envs.countdown.rules import Countdown
from sos.judge.losses import KEYS, losses_by_place, table
from sos.model.gpt import GPT
from sos.stream.codec import encode
from sos.stream.dialect.compile import Dialect
from sos.stream.read.places import BEGIN, TEXT, places
from sos.system import build_system, gpt_config
from sos.trace import ACTION, KIND, NODE, PARENT, STATE, VALUE, Event, Trace

main = partial(call, "losses")

ENV = Countdown(num_numbers=3, max_number=30)
SEARCHES = [strategy for _, strategy in all_searches()]
CONFIG = Config(
    env=CountdownConfig(max_target=50, max_value=100),
    search=SearchConfig(),
    stream=StreamConfig(dialect="compact", numbers="whole"),
    data=DataConfig(context=64),
    model=ModelConfig(num_layers=3, num_heads=3, width=96),
)
CONFIG.model.width, CONFIG.model.num_heads, CONFIG.model.num_layers = 16, 1, 1


def depth_of(trace: Trace, node: int) -> int:
    return 0 if node <= 0 else 1 + depth_of(trace, int(trace.nodes[node, PARENT]))


def told(trace: Trace, e: int, field: str) -> list[int]:
    """Return the numbers that a field of an event says."""
    node, state, value = (int(x) for x in trace.events[e, [NODE, STATE, VALUE]])
    a, _, b, result = (int(x) for x in trace.nodes[node, ACTION:])
    if field == "numbers":
        return [int(n) for n in trace.states[state, 1 : 1 + trace.states[state, 0]]]
    return [
        {"a": a, "b": b, "result": result, "depth": depth_of(trace, node), "value": value}.get(field, trace.problem[0])
    ]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("whole_max", [9, 99])
def test_each_field_holds_what_the_trace_says(name: str, whole_max: int, dialect_of) -> None:
    dialect, rng = dialect_of(name, ENV, whole_max), np.random.default_rng(5)
    for trace in [
        run_search(strategy, ENV, random_problem(rng, ENV)) for strategy in SEARCHES for _ in range(plain(3, 1))
    ]:
        tokens, align, _ = encode(dialect, trace)
        found = places(dialect, ENV, tokens)
        assert len(found) == len(tokens)
        kinds = [Event(kind).name.lower() for kind in trace.events[:, KIND].tolist()]
        for e, kind in enumerate(kinds):
            span = [t for t in range(len(tokens)) if align[t] == e]
            at = int(trace.events[e, NODE])
            depth = depth_of(trace, int(trace.nodes[at, PARENT]) if kind == "generate" else at)
            assert {found[t][0] for t in span} == {kind}
            assert {found[t][2:] for t in span} == {(depth, kinds[e - 1] if e else "")}
            assert BEGIN not in [found[t].field for t in span[1:]]
            assert found[span[0]].field != TEXT
            for field, group in groupby(span, [place.field for place in found].__getitem__):
                part = tokens[list(group)]
                if field == "op":
                    assert dialect.text(part) == ENV.symbols[trace.nodes[at, ACTION + 1]]
                elif field not in (TEXT, BEGIN, "path", "operations"):
                    assert dialect.text(part).replace(",", " ").split() == [str(n) for n in told(trace, e, field)]


def test_what_cannot_be_read_is_refused(dialect_of) -> None:
    dialect = dialect_of("compact", ENV, 99)
    tokens, _, _ = encode(dialect, run_search(SEARCHES[0], ENV, [20, 3, 1, 2, 10]))
    with pytest.raises(ValueError, match=rf"token {len(tokens) - 1} of {len(tokens) + 2} cannot be read"):
        places(dialect, ENV, np.append(tokens[:-1], tokens[:3]))


def streams_of(dialect: Dialect) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    rng, streams = np.random.default_rng(1), []
    for strategy in SEARCHES[:4]:
        tokens = encode(dialect, run_search(strategy, ENV, random_problem(rng, ENV)))[0].astype(np.int64)
        streams.append((tokens, rng.random(len(tokens)), rng.permutation(tokens)))
    return streams


def test_groups_add_up_whatever_they_are_grouped_by(dialect_of) -> None:
    dialect = dialect_of("checked", ENV, 99)
    streams = streams_of(dialect)
    told_tokens = [np.array([bool(place.after) for place in places(dialect, ENV, tokens)]) for tokens, _, _ in streams]
    nats = sum(float(loss[behind].sum()) for (_, loss, _), behind in zip(streams, told_tokens, strict=True))
    others = sum(
        int((tokens != best)[behind].sum()) for (tokens, _, best), behind in zip(streams, told_tokens, strict=True)
    )
    for keys in (KEYS, KEYS[:1], ("field", "depth")):
        rows = losses_by_place(dialect, ENV, streams, keys)
        assert len({row.place for row in rows}) == len(rows)
        assert sum(row.tokens for row in rows) == sum(int(behind.sum()) for behind in told_tokens)
        assert sum(row.others for row in rows) == others
        assert sum(row.nats for row in rows) == pytest.approx(nats)
        assert [row.nats for row in rows] == sorted((row.nats for row in rows), reverse=True)
    shown = table(rows, keys, len(streams), 2).splitlines()
    assert len(shown) == 2 + 2 + 2
    assert f"| {nats / 4:.4f} | 100.0% |" in shown[-1]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    system = build_system(CONFIG)
    torch.manual_seed(0)
    model = GPT(gpt_config(CONFIG, len(system.dialect.vocab)))
    content = {
        "hyper_parameters": {"config": to_dict(CONFIG), "vocabulary": system.dialect.vocab.to_json()},
        "state_dict": {f"model.{name}": weight for name, weight in model.state_dict().items()},
    }
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    return tmp_path / "run"


def test_the_losses_are_the_model_s_own(run: Path) -> None:
    rows, num = measure(run, "val", 20, ["event"])
    system = build_system(CONFIG)
    chunk = build_source(CONFIG, system, "val").chunk(0, 20)
    assert num == len(chunk.prompts)
    torch.manual_seed(0)
    model, expected = GPT(gpt_config(CONFIG, len(system.dialect.vocab))), 0.0
    for start, stop, prompt in zip(chunk.offsets[:-1], chunk.offsets[1:], chunk.prompts, strict=True):
        tokens = torch.from_numpy(chunk.tokens[start:stop].astype(np.int64))
        losses = F.cross_entropy(model(tokens[None])[0, :-1], tokens[1:], reduction="none")
        expected += float(losses[prompt - 1 :].sum().detach())
    assert sum(row.nats for row in rows) == pytest.approx(expected, rel=1e-5)
    assert {row.place[0] for row in rows} == {"expand", "generate", "dead_end", "goal", "backtrack", "end"}


def test_the_command_prints_and_writes(run: Path) -> None:
    command = [sys.executable, "-m", "sos", "losses", str(run), "problems=9", "by=[event,field]", "top=3"]
    out = run / "new" / "losses.csv"
    done = subprocess.run([*command, f"out={out}"], capture_output=True, text=True, timeout=300, check=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 + 2
    assert lines[-1].startswith("| all |")
    rows = list(csv.DictReader(out.open()))
    assert sum(float(row["nats"]) for row in rows) > 0
    assert list(rows[0]) == ["event", "field", "tokens", "nats", "another_likelier"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["by=[event,color]"], "'color'"), (["top=0"], "at least 1"), ([], "no such checkpoint: /no/such")],
)
def test_bad_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["/no/such", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
