"""The erasing of finished branches: what goes, what is left, and that the whole comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drivers import tokenize
from naive import erasing_branches as naive
from sizes import plain
from tiny_run import untrained

from sos.commands.cli import call
from sos.compose import compose
from sos.data.splits import sample_problems
from sos.errors import UserError
from sos.search.run import run_search
from sos.stream.codec import DecodeStatus, decode, encode
from sos.stream.erasing import pieces, returns
from sos.system import System, build_system
from sos.trace import KIND, Event

TASKS = {
    "the default": [],
    "whole numbers, states restated": ["stream=checked"],
    "proofs": ["experiment=sat"],
    "stars": ["experiment=path_star"],
    "by a queue": ["experiment=whole_numbers", "search=best_first"],
}
TEXT = (
    "17 , 16 , 3 > 31 : ; 17 - 16 = 1 [ 3 , 1 < 0 ; 17 - 3 = 14 [ 16 , 14 ; 16 + 14 = 30 ? 31 x < 0 ; 16 * 3 = 48 "
    "[ 48 , 17 ; 48 - 17 = 31 ? 31 !"
)


SLOW = ("whole numbers, states restated", "stars", "by a queue")  # whose kernels take long to compile


@pytest.fixture(
    scope="module",
    params=[pytest.param(v, id=k, marks=[pytest.mark.slow] if k in SLOW else []) for k, v in TASKS.items()],
)
def system(request: pytest.FixtureRequest) -> System:
    return build_system(compose(request.param))


def streams(system: System, num: int) -> list[tuple[Any, np.ndarray, int]]:
    """Traces, their tokens, and how many of these are the prompt."""
    found = []
    for problem in sample_problems(system.env, system.splits, "train", num):
        trace = run_search(system.strategy, system.env, problem, 500)
        tokens, _, num_prompt = encode(system.dialect, trace)
        found.append((decode(system.dialect, system.env, tokens), tokens, num_prompt))
    return found


def test_what_is_left_is_what_the_oracle_leaves(system: System) -> None:
    erased = 0
    for read, tokens, _ in streams(system, plain(12, 2)):
        found = {back.stop: np.flatnonzero(back.kept).tolist() for back in returns(read.trace, read.align)}
        for e, event in enumerate(read.trace.events):
            if event[KIND] != Event.BACKTRACK:
                continue
            stop = int(np.flatnonzero(read.align == e)[-1]) + 1
            left = naive.left(read.trace, read.align, e)
            before = [stop_before for stop_before in found if stop_before <= stop]
            if stop in found:
                assert found[stop] == left
                assert len(left) < stop
                erased += 1
            elif before:
                # Nothing went here: what was left before, and all that was written since.
                assert left == [*found[before[-1]], *range(before[-1], stop)]
            else:
                assert left == list(range(stop))
        assert len(tokens) == len(read.align)
    assert erased > plain(5, -1) or system.strategy.__class__.__name__ == "BestFirst"


def test_pieces_are_streams_that_can_be_read_and_give_the_whole(system: System) -> None:
    cut = 0
    for read, tokens, num_prompt in streams(system, plain(20, 2)):
        found = pieces(tokens, num_prompt, returns(read.trace, read.align))
        again = tokens[:num_prompt].tolist()
        for number, piece in enumerate(found):
            status = decode(system.dialect, system.env, piece.tokens).status
            assert status in (DecodeStatus.OK, DecodeStatus.TRUNCATED)
            assert np.array_equal(piece.tokens, tokens[piece.positions])
            new = piece.tokens[piece.num_old :].tolist()
            last = number == len(found) - 1
            again += new if last else new[:-1]  # behind a return stands one token more
            cut += number
        assert again == tokens.tolist()
        assert found[0].num_old == num_prompt
        assert max(len(piece.tokens) for piece in found) <= len(tokens)
    assert cut > plain(5, -1) or system.strategy.__class__.__name__ == "BestFirst"


def test_a_branch_goes_and_its_action_and_the_return_stay() -> None:
    system = build_system(compose([]))
    tokens = tokenize(system.dialect.vocab.tokenizer(), TEXT)
    read = decode(system.dialect, system.env, tokens)
    found = pieces(np.array(tokens), 12, returns(read.trace, read.align))
    text = system.dialect.text
    assert [(text(piece.tokens[: piece.num_old]), text(piece.tokens[piece.num_old :])) for piece in found] == [
        ("17 , 16 , 3 > 31 :", "; 17 - 16 = 1 [ 3 , 1 < 0 ;"),
        ("17 , 16 , 3 > 31 : ; 17 - 16 = 1 < 0", "; 17 - 3 = 14 [ 16 , 14 ; 16 + 14 = 30 ? 31 x < 0 ;"),
        (
            "17 , 16 , 3 > 31 : ; 17 - 16 = 1 < 0 ; 17 - 3 = 14 < 0",
            "; 16 * 3 = 48 [ 48 , 17 ; 48 - 17 = 31 ? 31 !",
        ),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stream.view=solution_path"], "stream.erase=true erases at returns, and stream.view=solution_path has none"),
        (["stream.view=no_backtrack"], "stream.erase=true erases at returns, and stream.view=no_backtrack has none"),
        (["data.shards=somewhere"], "stream.erase=true: data.shards=somewhere holds whole streams"),
        (["data.length_warmup=0.2"], "stream.erase=true: data.length_warmup=0.2 would leave out pieces of a stream"),
        (["data.prompt_loss=true"], "stream.erase=true: data.prompt_loss=true would count again"),
    ],
)
def test_what_does_not_go_with_it_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{said}"):
        compose(["stream.erase=true", *words])


def test_what_needs_whole_streams_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(untrained(tmp_path / "run", "stream.erase=true").path)
    for verb, words, said in (
        ("attempts", [run], "a second attempt goes on from whole ones"),
        ("recovery", [run], "a wrong step stands in whole ones"),
        ("losses", [run], "losses are told of whole ones"),
        ("export", [run, f"out={tmp_path / 'out'}"], "generate of transformers erases nothing"),
    ):
        assert call(verb, words) == 2
        assert (
            capsys.readouterr()
            .err.splitlines()[-1]
            .endswith(f"this model reads what is left of its streams (stream.erase=true); {said}")
        )
    assert call("generate", [f"out={tmp_path / 'set'}", "kind=tokens", "visits=10", "stream.erase=true"]) == 2
    assert "a data set holds whole streams" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "set").exists()
