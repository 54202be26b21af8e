"""Rewards in the signatures of TRL, verl and OpenRLHF, for every environment; `sos score` and the columns of exports."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hostile_texts import random_text

from sos.commands.cli import call
from sos.compose import compose
from sos.datasets.source import build_source
from sos.envs.words import words_of
from sos.errors import UserError
from sos.interop.answers.judge import RULES, Rules
from sos.interop.columns import FORMS, answer_of, question_of
from sos.interop.datasets import solution_of
from sos.interop.rewards import Reward, compute_score, response_of, reward_func, text_of
from sos.interop.tasks import Task, problem_of
from sos.stream.codec import decode
from sos.stream.dialect.vocab import BOS, EOS
from sos.system import build_system
from sos.trace import Trace

ENVIRONMENTS = (
    "experiment=smoke",
    "experiment=path_star",
    *(pytest.param(f"experiment={name}", marks=pytest.mark.slow) for name in ("maze", "layered", "sudoku")),
)
RIGHT = {"nums": [83, 64, 25], "target": 475}


# TRL, verl, OpenRLHF


def test_every_row_of_the_reference_for_trl(reference: Path) -> None:
    """With the further arguments of TRL 1.16."""
    rows = [json.loads(line) for line in (reference / "answers" / "trl.jsonl").read_text().splitlines()]
    assert len(rows) >= 9
    for row in rows:
        num = len(row["prompts"])
        more = {"completion_ids": [[1]] * num, "trainer_state": None, "log_extra": print, "log_metric": print}
        for name, expected in row["expected"].items():
            reward = Reward(name)
            assert reward(prompts=row["prompts"], completions=row["completions"], **row["columns"], **more) == expected


@pytest.mark.parametrize("as_array", [False, True])
def test_every_row_of_the_reference_for_verl(reference: Path, as_array: bool) -> None:
    rows = [json.loads(line) for line in (reference / "answers" / "verl.jsonl").read_text().splitlines()]
    assert len(rows) >= 10
    for row in rows:
        truth = dict(row["record"]["reward_model"]["ground_truth"])
        for name in {"nums", "numbers"} & truth.keys() if as_array else ():
            truth[name] = np.array(truth[name])
        for name in RULES:
            expected = row["expected"][name] if isinstance(row["expected"], dict) else 1
            options = {"rules": name, **row["options"]}
            asked = {"data_source": "countdown", "ground_truth": truth, "extra_info": row["record"]["extra_info"]}
            assert compute_score(solution_str=row["solution_str"], **asked, **options) == expected, row["note"]
            assert compute_score(row["solution_str"], truth, **options) == expected
            assert compute_score("countdown", row["solution_str"], truth, None, **options) == expected


def test_openrlhf_gets_tensors() -> None:
    prompts = ["Make 475. <answer>83 + 64</answer> is the form. "] * 3
    answers = ["<answer>(83 - 64) * 25</answer>", "<answer>83</answer>", "(83 - 64) * 25"]
    queries = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    found = reward_func(queries, prompts, [json.dumps(RIGHT)] * 3)
    assert found["rewards"].tolist() == found["scores"].tolist() == [1.0, 0.0, 0.0]
    assert found["extra_logs"]["tagged"].tolist() == [1.0, 1.0, 0.0]
    assert reward_func(queries, prompts, [RIGHT] * 3)["rewards"].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(UserError, match="ground_truth must be fields of a problem, got '475'"):
        reward_func(queries[:1], prompts[:1], ["475"])


def test_what_is_paid() -> None:
    texts = ["<answer>(83 - 64) * 25</answer>", "<answer>83</answer>", "(83 - 64) * 25", "<answer>83"]
    columns: dict[str, Any] = {"numbers": [RIGHT["nums"]] * 4, "target": [475] * 4}
    assert Reward()(completions=texts, **columns) == [1.0, 0.0, 0.0, 0.0]
    assert Reward(tagged=0.1, right=2.0, wrong=-1.0)(completions=texts, **columns) == [2.0, 0.1, -1.0, -1.0]
    assert Reward(unmarked=True)(completions=texts, **columns) == [1.0, 0.0, 1.0, 0.0]
    assert Reward(Rules(subset=True)).scores(texts, **columns)[1].reason == "wrong_value"
    truth = json.dumps({"numbers": RIGHT["nums"], "target": 475})
    assert Reward()(completions=texts[:1], ground_truth=[truth]) == [1.0]
    reordered = {"completions": ["\\boxed{2 - 4 + 61}"], "nums": [[2, 4, 61]], "target": [59]}
    assert Reward()(**reordered) == [0.0]
    assert Reward(any_order=True)(**reordered) == [1.0]


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("plain", "plain"),
        (None, ""),
        (3, ""),
        ([], ""),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}], "a"),
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "c"}], "c"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}], "ab"),
        ([{"role": "user", "content": "a"}], ""),
        ({"role": "assistant", "content": "a"}, "a"),
    ],
)
def test_the_text_of_a_completion(completion: Any, text: str) -> None:
    assert text_of(completion) == text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"target": [475]}, r"^nums is missing"),
        ({"nums": [[83, 64, 25]]}, r"^target is missing"),
        ({"nums": [[83, 64, 25]], "target": ["475"]}, r"^target must be a whole number, got '475'"),
        ({"nums": ["83"], "target": [475]}, r"^nums must be a list of whole numbers, got '83'"),
        ({"numbers": [[83, 64.5]], "target": [475]}, r"^numbers must be whole numbers from 0 on, got '64.5'"),
        ({"nums": [[83, -64]], "target": [475]}, r"^nums must be whole numbers from 0 on, got '-64'"),
        ({"nums": [[83, True]], "target": [475]}, r"^nums must be whole numbers from 0 on, got 'True'"),
        ({"nums": [[]], "target": [475]}, r"^nums must be a list of whole numbers, got '\[\]'"),
        ({"nums": [[83, 64, 25]] * 2, "target": [475] * 2}, r"^nums is missing"),
    ],
)
def test_a_column_that_is_wrong_is_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Reward()(completions=["1 + 1"], **columns)
    if message != "^nums is missing" and len(columns.get("target", [1])) == 1 and columns.get("nums") != []:
        truth = {name: column[0] for name, column in columns.items()}
        with pytest.raises(UserError, match=message.replace("^", "^ground_truth: ")):
            compute_score("x", "1 + 1", truth)


def test_numbers_of_other_libraries_are_whole_numbers() -> None:
    assert problem_of({"numbers": np.array([3, 4], np.int32), "target": np.int64(7)}) == ([3, 4], 7)
    assert problem_of({"nums": (3.0, 4), "target": 7.0}) == ([3, 4], 7)


def test_only_a_prompt_is_taken_off() -> None:
    chat = "<|im_start|>user\nUse <answer> </answer>.<|im_end|>\n<|im_start|>assistant\n<think>"
    assert response_of(chat + "a</think>") == "\n<think>a</think>"
    assert response_of("User: what?\nAssistant: this") == " this"
    for alone in ("this", "a</think><answer>3</answer>\nUser: more?\nAssistant: no", "Assistant: this"):
        assert response_of(alone) == alone
    assert response_of("ab", "a") == "b"


# Environments


def streams(words: str, num: int) -> tuple[Any, list[tuple[np.ndarray, Trace]]]:
    config = compose([words])
    system = build_system(config)
    chunk = build_source(config, system).chunk(0, num)
    tokens = [chunk.tokens[a:b] for a, b in zip(chunk.offsets[:-1], chunk.offsets[1:], strict=True)]
    return system, [(ids, decode(system.dialect, system.env, ids).trace) for ids in tokens]


@pytest.mark.parametrize("words", ENVIRONMENTS)
def test_tokens_texts_and_answers_of_every_environment(words: str) -> None:
    """The teacher's stream is right as tokens, as text, with and without the problem; so is its solution in a tag, and
    without its last action it is not."""
    system, found = streams(words, 12)
    task, free = Task(system.env, system.dialect), Task(system.env)
    words_ = words_of(system.env)
    rewarded, by_tokens = Reward(task=task), Reward(task=task, tokens=True)
    looked_at = 0
    for ids, trace in found:
        record, solution = words_.problem_record(trace.problem), solution_of(trace, words_)
        if not solution:
            continue
        text = system.dialect.text(ids[1:-1])
        prompt = system.dialect.text(ids[1 : len(ids) - len(completion_of(system, ids, trace))])
        completion = system.dialect.text(completion_of(system, ids, trace)[:-1])
        for stream in (ids, ids[1:], completion_of(system, ids, trace)):
            assert task.score_tokens(trace.problem, stream).reason == "right"
        columns = {name: [value] for name, value in record.items()}
        assert rewarded(prompts=[prompt], completions=[completion], **columns) == [1.0]
        given = {"completion_ids": [completion_of(system, ids, trace).tolist()], **columns}
        assert by_tokens(completions=["?"], **given) == [1.0]
        assert task.score_text(record, text).value == 1.0
        assert task.score_stream(trace.problem, completion[: len(completion) // 2]).value == 0.0
        for answer in (", ".join(solution), answer_of(record, solution)):
            judged = free.score_text(record, f"So <answer>{answer}</answer>")
            assert judged.reason == "right", (record, answer, judged)
            assert task.score_text(record, f"So \\boxed{{{answer}}}").value == 1.0
        shorter = free.score_text(record, f"<answer>{', '.join(solution[:-1])}</answer>")
        assert shorter.value == 0.0
        assert not shorter.reason.startswith("right")
        assert question_of(record, "do it").endswith("in <answer> </answer> tags.")
        looked_at += 1
    assert looked_at >= 6
    with pytest.raises(UserError, match="completion_ids is missing"):
        by_tokens(completions=["?"])


def completion_of(system: Any, ids: np.ndarray, trace: Trace) -> np.ndarray:
    from sos.stream.codec import encode_prompt

    return ids[len(encode_prompt(system.dialect, trace.problem)) :]


@pytest.mark.parametrize("words", ENVIRONMENTS)
def test_no_text_and_no_tokens_raise_in_any_environment(words: str) -> None:
    system, found = streams(words, 2)
    task, free = Task(system.env, system.dialect), Task(system.env)
    problem = found[0][1].problem
    record = words_of(system.env).problem_record(problem)
    rng = random.Random(3)
    symbols = [
        *system.dialect.vocab.tokens,
        "<answer>",
        "</answer>",
        " ",
        "\n",
        "12 3 4",
        "99999999999",
        "é",
        "r1c1 = 3",
    ]
    judged = 0
    for _ in range(300):
        text = random_text(rng, 6) if rng.random() < 0.3 else "".join(rng.choice(symbols) + " " for _ in range(20))
        ids = [rng.randrange(-3, len(system.dialect.vocab) + 3) for _ in range(rng.randint(0, 40))]
        for verdict in (
            *(task.score_text(record, text), free.score_text(record, text), task.score_stream(problem, text)),
            *(free.score_text(record, f"<answer>{text}</answer>"), task.score_tokens(problem, ids)),
        ):
            judged += verdict.value in (0.0, 1.0)
    assert judged == 1500


def test_paths_are_read_as_people_write_them() -> None:
    task = Task.of("experiment=path_star", streams=False)
    _, found = streams("experiment=path_star", 1)
    trace = found[0][1]
    record = words_of(task.env).problem_record(trace.problem)
    nodes = solution_of(trace, words_of(task.env))
    path = [str(record["start"]), *nodes]
    for text in (" -> ".join(path), " → ".join(nodes), " ".join(nodes), "\n".join(path), f"[{', '.join(nodes)}]"):
        assert task.score_text(record, f"<answer>{text}</answer>").reason == "right", text
    for text, reason in ((" ".join(nodes[1:]), "operand"), ("the last arm", "no_answer"), ("", "no_answer")):
        assert task.score_text(record, f"<answer>{text}</answer>").reason == reason
    assert task.score_text(record, " ".join(nodes), Rules(unmarked=False)).reason == "no_answer"
    with pytest.raises(UserError, match="target is missing: a problem has start, target, edges"):
        task.score_text({"start": 1, "edges": []}, "1")


def test_a_stream_needs_a_dialect() -> None:
    with pytest.raises(UserError, match="streams are read in a dialect"):
        Task(Task.of("env=countdown").env).score_tokens(np.array([7, 3, 1, 2, 4], np.int32), [BOS, EOS])


# sos score


def score_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[Any], *words: str
) -> tuple[int, str, str]:
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    status = call("score", [str(path), *words])
    said = capsys.readouterr()
    return status, said.out, said.err.replace(str(path), "FILE")


def test_score_prints_tables_and_writes_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[Any] = [
        {**RIGHT, "text": "(83 - 64) * 25", "kind": "a"},
        {
            "ground_truth": {"numbers": [83, 64, 25], "target": 475},
            "completion": "<answer>83 + 64</answer>",
            "kind": "b",
        },
        "",
        {
            "reward_model": {"ground_truth": RIGHT},
            "solution_str": "User: ?\nAssistant: \\boxed{(83-64)*25}",
            "kind": "a",
        },
        {**RIGHT, "response": [{"role": "assistant", "content": "\x1b[31m3"}], "kind": "b"},
    ]
    out = tmp_path / "verdicts.jsonl"
    status, said, _ = score_file(tmp_path, capsys, lines, "by=kind", f"out={out}", "rules=rationals")
    assert status == 0
    assert said.startswith("4 answers by the rules rationals: 2 right (50.0%)\n")
    assert [row.split() for row in said.splitlines() if row[:2] in ("a ", "b ")] == [
        ["a", "2", "2", "100.0"],
        ["b", "2", "0", "0.0"],
    ]
    assert "line 2, character 8: it comes to another number than the target: 83 + 64\n" in said
    assert "\x1b" not in said
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["line"], row["score"], row["mark"]) for row in verdicts] == [
        (1, 1.0, "unmarked"),
        (2, 0.0, "tag"),
        (4, 1.0, "box"),
        (5, 0.0, "unmarked"),
    ]
    assert score_file(tmp_path, capsys, lines, "unmarked=false", "errors=0")[1].startswith(
        "4 answers by the rules sos: 1 right"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"nums": [1', "not JSON: Expecting ',' delimiter: line 1 column 12 (char 11)"),
        ("[1]", "not an object, but '[1]'"),
        ("[" * 100_000, "not JSON: maximum recursion depth exceeded while decoding a JSON array from a unicode string"),
        ({"nums": [1, 2], "text": "1"}, "target is missing: a problem has nums and target"),
        ({"target": 3, "text": "1"}, "nums is missing: a problem has nums (or numbers) and target"),
        (
            {**RIGHT},
            "text or completion or response or solution_str or output or answer is missing: the field of the answer",
        ),
        ({**RIGHT, "text": 3}, "text must be a text or messages, got '3'"),
        ({**RIGHT, "target": "475", "text": "1"}, "target must be a whole number, got '475'"),
        ({"ground_truth": 3, "text": "1"}, "ground_truth must be fields of a problem, got '3'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], line: Any, message: str) -> None:
    status, said, error = score_file(tmp_path, capsys, [{**RIGHT, "text": "1"}, line])
    assert (status, said, error) == (2, "", f"error: FILE, line 2: {message}\n")


def test_score_of_files_that_say_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score_file(tmp_path, capsys, [""])[2] == "error: FILE: nothing in it\n"
    assert call("score", [str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"text": "\xe9"}\n')
    assert call("score", [str(path)]) == 2
    assert "line 1: not JSON: 'utf-8' codec" in capsys.readouterr().err
    assert score_file(tmp_path, capsys, [{**RIGHT, "text": "1"}], "by=kind")[2] == (
        "error: FILE, line 1: kind is missing: the field of by=kind\n"
    )


# sos export


@pytest.mark.parametrize("words", ["experiment=smoke", pytest.param("experiment=sudoku", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["tokens", "traces"])
def test_exported_columns_score_and_load(
    words: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The solution in a chat is right, prompt and completion are the text, and Parquet holds what JSON lines do."""
    if (words, kind) == ("experiment=sudoku", "traces"):
        pytest.skip("no dialect of Sudoku writes numbers as digits")
    folder = tmp_path / "set"
    assert call("generate", [words, f"out={folder}", f"kind={kind}", "visits=12"]) == 0
    rows: dict[str, list[dict[str, Any]]] = {}
    for form in FORMS:
        for suffix in ("jsonl", "parquet"):
            assert call("export", [str(folder), f"out={tmp_path}/{form}.{suffix}", f"columns={form}"]) == 0
        rows[form] = [json.loads(line) for line in (tmp_path / f"{form}.jsonl").read_text().splitlines()]
        table = pyarrow.parquet.read_table(tmp_path / f"{form}.parquet")
        assert table.to_pylist() == rows[form]
        assert len(rows[form]) == len(rows["rows"]) >= 6  # some streams are too long
    task = Task.of(words, streams=False)
    solved = 0
    for k in range(len(rows["rows"])):
        row, prompt, chat, verl = (rows[form][k] for form in FORMS)
        joined = prompt["prompt"] + prompt["completion"]
        assert joined.split() == row["text"].split() if kind == "tokens" else joined == row["text"]
        if row["solved"]:
            assert task.score_text(chat, text_of(chat["completion"])).reason == "right"
            solved += 1
        assert chat["prompt"][0]["content"] == verl["prompt"][0]["content"]
        assert task.problem(verl["reward_model"]["ground_truth"]).tolist() == task.problem(row).tolist()
    assert solved >= 5
    capsys.readouterr()
    if words == "experiment=smoke":
        answer = text_of(rows["chat"][0]["completion"])
        truth = rows["verl"][0]["reward_model"]["ground_truth"]
        assert compute_score("sos", answer, truth) == (1.0 if rows["rows"][0]["solved"] else 0.0)


def test_columns_are_of_data_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("export", [str(tmp_path), f"out={tmp_path}/model", "columns=chat"]) == 2
    assert "columns=chat is for data sets" in capsys.readouterr().err
