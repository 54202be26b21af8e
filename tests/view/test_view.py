"""The page of traces: its data says everything about every token and event, it is safe and loads nothing; the command line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damaged_streams import ENV as SOS_ENV
from damaged_streams import IN_SOS, SOS, damaged, swapped
from damaged_streams import PROBLEM as SOS_PROBLEM
from drivers import DIALECTS, damage, random_problem, run_search, small_streams, tokenize
from synthetic_runs import write_run

from sos.commands.cli import call
from sos.compose import compose
from sos.config import to_dict
from sos.datasets.files import trace_line
from sos.envs.countdown.rules import Countdown
from sos.envs.words import words_of
from sos.stream.codec import DecodeStatus
from sos.stream.dialect.compile import Dialect
from sos.stream.dialect.vocab import SPECIALS
from sos.stream.verify import Error, verify
from sos.system import System, build_system
from sos.trace import KIND, VALUE, Event, Outcome
from sos.view.page import KINDS, REST, build_page, from_tokens, from_trace, trace_data
from sos.view.sentences import explain_mistakes, mistake_names

main = partial(call, "view")

ENV = Countdown(num_numbers=3, max_number=20, max_target=100, max_value=120)
PROBLEM = np.array([47, 3, 2, 17, 15], np.int32)
NAMES = mistake_names(words_of(ENV))
WHOLE_MAX = {"compact": 120, "sos": 9}
Loader = Callable[[str, Countdown, int], Dialect]


def compact_data(dialect_of: Loader, text: str) -> dict:
    """Return the data of a stream in the compact dialect, judged as an answer to PROBLEM."""
    dialect = dialect_of("compact", ENV, 120)
    return trace_data(dialect, ENV, from_tokens(dialect, ENV, PROBLEM, tokenize(dialect.vocab.tokenizer(), text), "t"))


@pytest.mark.parametrize("name", DIALECTS)
def test_every_token_belongs_to_an_event_and_every_error_is_shown(name: str, dialect_of: Loader) -> None:
    dialect = dialect_of(name, ENV, WHOLE_MAX.get(name, 9))
    rng = np.random.default_rng(1)
    seen: Counter[str] = Counter()
    for problem, tokens in small_streams(dialect, ENV, rng, 40):
        for stream in (tokens, *(damage(rng, tokens, len(dialect.vocab)) for _ in range(6))):
            shown = from_tokens(dialect, ENV, problem, stream, "t")
            data = json.loads(json.dumps(trace_data(dialect, ENV, shown)))
            num_events, num_tokens = len(data["kinds"]), len(stream)
            assert len(data["tokens"]) == num_tokens
            assert len(data["starts"]) == len(data["nodes"]) == len(data["values"]) == num_events
            assert data["starts"] == sorted(data["starts"])
            assert data["starts"][0] == 0 or num_tokens == 0
            # Each token that was read is shown in the very event that it was read as.
            owner = np.searchsorted(data["starts"], np.arange(num_tokens), side="right") - 1
            read = shown.align >= 0
            assert (owner[: len(shown.align)][read] == shown.align[read]).all()
            assert all(data["kinds"][e] == REST for e in owner[len(shown.align) :])
            # A token's text, white space aside, is its vocabulary entry.
            for token, word in zip(stream.tolist(), data["tokens"], strict=True):
                entry = dialect.vocab.tokens[token] if 0 <= token < len(dialect.vocab) else f"<{token}>"
                assert data["words"][word].strip(" ") == entry.strip(" ")
            wrong = {str(e) for e in np.flatnonzero(shown.verdict.errors)}
            unreadable = shown.verdict.status in (DecodeStatus.MALFORMED, DecodeStatus.NO_PROMPT)
            assert set(data["mistakes"]) == wrong | ({str(num_events - 1)} if unreadable else set())
            for e in wrong:
                assert data["mistakes"][e]["name"] == NAMES[Error(int(shown.verdict.errors[int(e)]))]
                assert data["mistakes"][e]["text"].endswith(".")
                seen[Error(int(shown.verdict.errors[int(e)])).name] += 1
            assert data["solved"] == shown.verdict.solved
            parents = data["tree"]["parents"]
            assert all(-1 <= parent < node for node, parent in enumerate(parents))
            assert all(-1 <= node < len(parents) for node in data["nodes"])
    assert len(seen) >= 6, seen


def test_all_errors_have_words() -> None:
    assert set(NAMES) == set(Error) - {Error.NONE}
    assert len(set(NAMES.values())) == len(NAMES)


def test_every_kind_of_error_is_explained_in_any_trace() -> None:
    rng = np.random.default_rng(0)
    seen: Counter[Error] = Counter()
    for _ in range(60):
        trace = run_search(SEARCH, ENV, random_problem(rng, ENV))
        for _ in range(20):
            wrong = damaged(rng, trace)
            ends = wrong.events[wrong.events[:, KIND] == Event.END, VALUE]
            if (ends > max(Outcome)).any():
                continue
            errors = verify(ENV, wrong).errors
            texts = explain_mistakes(ENV, wrong, errors)
            assert sorted(texts) == np.flatnonzero(errors).tolist()
            assert all(text[0].isupper() or text[0].isdigit() for text in texts.values())
            seen.update(Error(int(code)) for code in errors)
    assert set(seen) == set(Error), set(Error) - set(seen)


@pytest.mark.parametrize(("error", "event", "solved", "changes"), IN_SOS)
def test_the_examples_of_every_error_are_named(error, event, solved, changes, dialect_of: Loader) -> None:
    dialect = dialect_of("sos", SOS_ENV, 9)
    tokens = tokenize(dialect.vocab.tokenizer(), swapped(SOS, *changes))
    data = trace_data(dialect, SOS_ENV, from_tokens(dialect, SOS_ENV, SOS_PROBLEM, tokens, "t"))
    assert data["mistakes"][str(event)]["name"] == NAMES[error]
    assert data["solved"] == solved


SOLUTION = "2 17 15 > 47 : 2 * 15 = 30 [ 17 30 ] 17 + 30 = 47 !"


def test_a_right_stream_has_no_mistakes(dialect_of: Loader) -> None:
    data = compact_data(dialect_of, SOLUTION)
    assert data["solved"]
    assert data["goalEvent"] == 4
    assert not data["mistakes"]
    assert [KINDS[kind] for kind in data["kinds"]] == ["expand", "generate", "expand", "generate", "goal", "end"]
    assert data["tree"] == {
        "parents": [-1, 0, 1],
        "states": [[2, 17, 15], [17, 30], [47]],
        "actions": ["", "2 × 15 = 30", "17 + 30 = 47"],
        "results": [None, 30, 47],
    }
    texts = [data["words"][token] for token in data["tokens"]]
    assert "".join(texts[data["starts"][1] : data["starts"][2]]) == "2 * 15 = 30"
    assert (texts[0], texts[-1]) == (SPECIALS[1], SPECIALS[2])


@pytest.mark.parametrize(
    ("stream", "event", "text"),
    [
        ("2 17 15 > 47 : 17 - 15 = 3", 1, "wrong result: The result is 2, not 3."),
        ("2 17 15 > 47 : 18 + 2 = 20", 1, "number not available: Node 0 holds 2, 17, 15, not 18."),
        ("2 17 15 > 47 : 15 + 15 = 30", 1, "number not available: Node 0 holds 2, 17, 15, not 15 twice."),
        ("2 17 15 > 47 : 15 - 17 = 2", 1, "illegal operation: The rules do not allow it: 15 is smaller than 17."),
        ("2 17 15 > 47 : 15 / 2 = 7", 1, "illegal operation: The rules do not allow it: 15 is not a multiple of 2."),
        (
            "2 17 15 > 47 : 17 * 15 = 99",
            1,
            "illegal operation: The rules do not allow it: the result 255 is above 120.",
        ),
        ("2 17 15 > 47 : 2 * 15 = 30 [ 17 31 ]", 2, "wrong state: Node 1 holds 17, 30, not 17, 31."),
        ("2 17 15 > 47 : 2 * 15 = 30 [ 17 30 ] 30 - 17 = 13 !", 4, "false goal: Node 2 holds 13: this is not 47."),
        ("2 17 15 > 47 : 2 * 15 = 30 [ 17 30 ] 17 + 30 = 47 x", 4, "missed goal: 47 is the target: this is the goal."),
        (
            "2 17 15 > 47 : 2 * 15 = 30 x",
            2,
            "out of order: Node 1 still holds 17, 30: only a single number can be judged.",
        ),
        ("2 17 15 > 47 : 2 * 15 = 30 < 5 [ 2 17 15 ]", 2, "impossible jump: The node that it names does not exist."),
        (
            "2 17 15 > 47 : 2 * 15 = 30 [ 17 30 ] 2 + 15 = 17",
            3,
            "unannounced return: It goes on from node 0 without saying so.",
        ),
        ("2 17 15 > 47 : none <eos> 2 !", 2, "ignored"),
        (
            "2 17 15 > 47 : ] ]",
            1,
            "unreadable: No event of the dialect goes on like this: what follows cannot be read.",
        ),
        ("17 ] ]", 0, "no problem: The stream does not start with a problem statement: nothing of it can be read."),
    ],
)
def test_mistakes_are_explained_with_their_numbers(stream: str, event: int, text: str, dialect_of: Loader) -> None:
    data = compact_data(dialect_of, stream)
    if str(event) in data["mistakes"]:
        mistake = data["mistakes"][str(event)]
        assert f"{mistake['name']}: {mistake['text']}" == text
    else:
        assert data["rest"]["name"] == text
        assert data["kinds"][event] == REST


def test_a_stream_that_states_another_problem_says_so(dialect_of: Loader) -> None:
    data = compact_data(dialect_of, SOLUTION.replace("> 47", "> 48"))
    assert (data["problem"]["goal"], data["stated"]["goal"], data["solved"]) == (47, 48, False)
    assert data["stated"]["short"] == "2 17 15 → 48"
    assert compact_data(dialect_of, SOLUTION)["stated"] is None


def test_a_stream_without_a_posed_problem_is_judged_by_its_own(dialect_of: Loader) -> None:
    dialect = dialect_of("compact", ENV, 120)
    tokens = tokenize(dialect.vocab.tokenizer(), SOLUTION)
    assert from_tokens(dialect, ENV, None, tokens, "t").verdict.solved
    assert from_tokens(dialect, ENV, None, tokens[:9], "t").verdict.status == DecodeStatus.TRUNCATED


@pytest.mark.parametrize("tokens", [[], [1], [7, 7, 7], [-5, 2**40]])
def test_anything_is_shown(tokens: list[int], dialect_of: Loader) -> None:
    dialect = dialect_of("compact", ENV, 120)
    data = trace_data(dialect, ENV, from_tokens(dialect, ENV, PROBLEM, tokens, "t"))
    assert len(data["kinds"]) == 1
    assert len(data["tokens"]) == len(tokens)


def test_the_page_is_safe_and_loads_nothing(dialect_of: Loader) -> None:
    dialect = dialect_of("compact", ENV, 120)
    nasty = "</script><script>alert('{{data}}')//<!-- \u2028 & \"q\""
    trace = run_search(SEARCH, ENV, PROBLEM)
    data = trace_data(dialect, ENV, from_trace(dialect, ENV, trace, nasty, nasty))
    page = build_page(nasty, [data])
    assert page.count("<script") == page.count("</script") == 2
    assert "alert" in page
    embedded = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert embedded
    content = json.loads(embedded[1])
    assert content["title"] == content["traces"][0]["title"] == nasty
    assert content["traces"][0] == json.loads(json.dumps(data))
    assert "<title>&lt;/script&gt;" in page
    assert not re.findall(r"https?://|\bsrc=|\bhref=|url\(|@import|\bimport\(|fetch\(", page)
    assert "{{" not in page.replace("{{data}}", "")
    assert "default-src 'none'" in page


WHOLE = "experiment=whole_numbers"
SYSTEM_CONFIG = compose([WHOLE])
SYSTEM: System = build_system(SYSTEM_CONFIG)
SEARCH = SYSTEM.strategy


def page_data(path: Path) -> dict:
    found = re.search(r'id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.S)
    assert found
    content: dict = json.loads(found[1])
    return content


def view(*arguments: str, out: Path) -> list[dict]:
    assert main([*arguments, f"out={out}"]) == 0
    traces: list[dict] = page_data(out)["traces"]
    return traces


def test_a_search_on_a_problem(tmp_path: Path) -> None:
    (trace,) = view(WHOLE, "problem=[47,2,17,15]", out=tmp_path / "new" / "t.html")
    assert trace["solved"]
    assert trace["problem"] == {
        "given": [2, 17, 15], "goal": 47, "short": "2 17 15 → 47", "task": "from 2, 17, 15 make 47"
    }  # fmt: skip
    assert "".join(trace["words"][t] for t in trace["tokens"][:7]) == "<bos> 2 17 15 > 47 :"


def test_values_with_commas_make_one_trace_each(tmp_path: Path) -> None:
    traces = view(
        "stream.view=full,solution_path", "split=val", "index=0,3", "title=Two views", out=tmp_path / "t.html"
    )
    assert [trace["title"] for trace in traces] == [
        "val 0 · view=full", "val 3 · view=full", "val 0 · view=solution_path", "val 3 · view=solution_path"
    ]  # fmt: skip
    assert traces[0]["problem"] == traces[2]["problem"] != traces[1]["problem"]
    assert len(traces[0]["tokens"]) >= len(traces[2]["tokens"])
    assert page_data(tmp_path / "t.html")["title"] == "Two views"


def test_a_training_stream_is_the_one_that_training_sees(tmp_path: Path) -> None:
    from sos.datasets.source import build_source

    config = compose([WHOLE, "stream.view=dose"])
    chunk = build_source(config, build_system(config)).chunk(0, 12)
    traces = view(
        WHOLE,
        "stream.view=dose",
        "split=train",
        f"index={','.join(map(str, chunk.visits.tolist()))}",
        out=tmp_path / "t.html",
    )
    vocab = SYSTEM.dialect.vocab
    for number, trace in enumerate(traces):
        tokens = chunk.tokens[chunk.offsets[number] : chunk.offsets[number + 1]]
        assert [trace["words"][t].strip() for t in trace["tokens"]] == [vocab.tokens[t] for t in tokens]


@pytest.mark.slow
def test_a_mixture_searches_as_training_does(tmp_path: Path) -> None:
    from sos.datasets.source import build_source

    arguments = ["search=paper_mixture", "stream=sos", "data.context=2048"]
    config = compose(arguments)
    chunk = build_source(config, build_system(config)).chunk(0, 8)
    indices = ",".join(map(str, chunk.visits.tolist()))
    traces = view(*arguments, "split=train", f"index={indices}", out=tmp_path / "t.html")
    assert [len(trace["tokens"]) for trace in traces] == np.diff(chunk.offsets).tolist()
    names = list(config.search.strategies)
    assert [trace["detail"].split(",")[0] for trace in traces] == [names[s] for s in chunk.strategies]


def test_traces_from_a_file(tmp_path: Path) -> None:
    trace = run_search(SEARCH, ENV, PROBLEM)
    (tmp_path / "traces.jsonl").write_text(trace_line(trace, "ours") + "\n" + trace_line(trace, "yours") + "\n")
    (shown,) = view(f"traces={tmp_path / 'traces.jsonl'}", "index=1", out=tmp_path / "t.html")
    assert (shown["title"], shown["solved"]) == ("trace 1 · yours", True)
    assert shown["tree"]["parents"] == trace.nodes[:, 0].tolist()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with rollouts of two problems: a right one, and one that goes wrong."""
    folder = write_run(tmp_path / "run", config=to_dict(SYSTEM_CONFIG), evaluated=np.stack([PROBLEM, PROBLEM]))
    tokenizer = SYSTEM.dialect.vocab.tokenizer()
    streams = [tokenize(tokenizer, SOLUTION), tokenize(tokenizer, "2 17 15 > 47 : 17 - 15 = 3 x")]
    with np.load(folder / "rollouts_val.npz") as arrays:
        np.savez(
            folder / "rollouts_val.npz",
            **arrays,
            tokens=np.concatenate(streams).astype(np.uint16),
            offsets=np.cumsum([0, *map(len, streams)]),
        )
    return folder


def test_a_rollout_beside_its_teachers(run: Path, tmp_path: Path) -> None:
    model, teacher = view(f"rollout={run}", "index=1", out=tmp_path / "t.html")
    assert (model["title"], teacher["title"]) == ("val 1 · model", "val 1 · teacher dfs (sum)")
    assert model["mistakes"]["1"]["text"] == "The result is 2, not 3."
    assert teacher["solved"]
    assert len(view(f"rollout={run}", "teacher=false", out=tmp_path / "t.html")) == 1
    titles = [trace["title"] for trace in view(f"rollout={run}", "search=dfs,dfs_paper", out=tmp_path / "t.html")]
    assert titles == ["val 0 · model", "val 0 · teacher search=dfs", "val 0 · teacher search=dfs_paper"]


def test_streams_from_files(tmp_path: Path) -> None:
    ids = tokenize(SYSTEM.dialect.vocab.tokenizer(), SOLUTION).tolist()
    (tmp_path / "ids").write_text(f"{' '.join(map(str, ids))}\n\n{ids}\n")
    traces = view(WHOLE, f"tokens={tmp_path / 'ids'}", "problem=[48,2,17,15]", out=tmp_path / "t.html")
    assert [trace["solved"] for trace in traces] == [False, False]
    assert traces[0]["stated"]["goal"] == 47
    (tmp_path / "text").write_text(SOLUTION)
    (trace,) = view(WHOLE, f"text={tmp_path / 'text'}", out=tmp_path / "t.html")
    assert trace["solved"]
    assert trace["tokens"] == traces[0]["tokens"]
    (tmp_path / "sos").write_text("Current State: 47:[2, 17, 15], Operations: []\n")
    (trace,) = view(WHOLE, f"text={tmp_path / 'sos'}", "stream=sos", out=tmp_path / "t.html")
    assert [KINDS[kind] for kind in trace["kinds"]] == ["expand", "end"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "nothing to show"),
        (["problem"], "no such run, checkpoint, data set or file: problem"),
        (["problem=[47,2,17]"], "problem=[47,2,17] has 2 numbers, env.num_numbers=3"),
        (["problem=[47,2,x,3]"], "problem must be [target,number,...], got [47,2,x,3]"),
        (["problem=[47,2,17,99]"], "number 99 is outside env.min_number=1 and env.max_number=20"),
        (["problem=[400,2,17,9]"], "target 400 is outside env.min_target=10 and env.max_target=100"),
        (["problem=[47,2,17,15]", "index=3"], "problem and split/index both name the problem"),
        (["problem=[47,2,17,15]", "problem=[46,2,17,15]"], "problem is given twice"),
        (["problem=[47,2,17,15]", "serach=dfs"], "serach"),
        (["problem=[47,2,17,15]", "search=dsf"], "dsf"),
        (["problem=[47,2,17,15]", "stream.view=ful"], "stream.view must be one of"),
        (["problem=[47,2,17,15]", "search.max_nodes=1", "stream.dialect=none.yaml"], "no dialect 'none.yaml'"),
        (["split=vall"], "split must be one of train, val, val_target, got vall"),
        (["split=val", "index=-1"], "index must not be negative, got -1"),
        (["split=val", "index=x"], "index must be numbers"),
        (["split=val", f"index={','.join(['1'] * 2 + [str(k) for k in range(90)])}"], "one page shows 64 at most"),
        (["rollout=/nowhere"], "no such run folder: /nowhere"),
        (["rollout={run}", "split=val_target"], "rollouts_val_target.npz does not exist"),
        (["rollout={run}", "index=7"], "holds 2 rollouts of split val"),
        (["rollout={run}", "env=countdown_paper"], "env=countdown_paper has no place here"),
        (["rollout={run}", "teacher=maybe"], "teacher must be true or false, got maybe"),
        (["rollout={run}", "problem=[47,2,17,15]"], "use checkpoint=RUN"),
        (["rollout={run}", "tokens=x"], "rollout and tokens are two sources"),
        (["checkpoint={run}", "problem=[47,2,17,15]"], "no such checkpoint"),
        (["tokens=/nowhere"], "no such file: /nowhere"),
        (["traces=/nowhere"], "no such file: /nowhere"),
        (["traces={run}/metrics.json"], "metrics.json, line 1: strategy must be a text, got None"),
        (["traces={run}/metrics.json", "index=1"], "index=1: "),
        (["tokens={run}/config.yaml"], "config.yaml, line 1: not integers: seed: 1"),
        (["text={run}/config.yaml"], "'seed' at character 0 is no token of dialect checked_dense"),
        (["problem=[47,2,17,15]", "out={run}"], "is a folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], complaint: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    filled = [argument.replace("{run}", str(run)) for argument in arguments]
    out = [] if any(argument.startswith("out=") for argument in filled) else [f"out={tmp_path / 't.html'}"]
    assert main([*filled, *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint in error
    assert sorted(tmp_path.rglob("*")) == before


def test_rollouts_without_tokens_and_damaged_ones_are_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write_run(tmp_path / "old", config=to_dict(SYSTEM_CONFIG), evaluated=PROBLEM[None])
    assert main([f"rollout={old}", f"out={tmp_path / 't.html'}"]) == 2
    assert "keeps no tokens (an older version wrote it); write it anew" in capsys.readouterr().err
    with np.load(run / "rollouts_val.npz") as arrays:
        np.savez(run / "rollouts_val.npz", **{**arrays, "offsets": arrays["offsets"][:-1]})
    assert main([f"rollout={run}", f"out={tmp_path / 't.html'}"]) == 2
    assert "damaged" in capsys.readouterr().err
