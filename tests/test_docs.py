"""What the documents show is what the code writes."""

from __future__ import annotations

import ast
import re
import runpy

import numpy as np
from places import ROOT

from sos.compose import compose
from sos.search.run import run_search
from sos.stream.codec import encode
from sos.stream.dialect.compile import Dialect
from sos.stream.verify import Error, verify_tokens
from sos.stream.viewing import view_trace
from sos.system import build_system
from sos.trace import Event, Trace

CONCEPTS = (ROOT / "docs" / "concepts.md").read_text(encoding="utf-8")
WHOLE = "experiment=whole_numbers"
BLOCKS = re.findall(r"^```\n(.*?)^```$", CONCEPTS, re.M | re.S)


def written(*overrides: str, of: tuple[int, ...] = (11, 5, 11, 17)) -> tuple[str, Trace, Dialect]:
    """The example of the page, a target and numbers, under a config: its text, its trace and the dialect."""
    system = build_system(compose(overrides))
    problem = np.array(system.env.problem_row(of[0], list(of[1:])), np.int32)
    trace = view_trace(system.view, system.env, run_search(system.strategy, system.env, problem, 2000))
    return system.dialect.text(encode(system.dialect, trace)[0]), trace, system.dialect


def test_the_worked_search_is_what_the_code_writes() -> None:
    text, trace, _ = written(WHOLE)
    _, full, published, checked, default, planned, _, wrong = BLOCKS
    assert default.strip() == written(of=(56, 9, 7, 1))[0].strip()
    assert full.strip() == text.strip()
    assert written(WHOLE, "stream=sos")[0].startswith(published)
    assert written(WHOLE, "stream=checked")[0].startswith(checked.strip())
    first, _, last = planned.strip().partition(" ... ")
    with_plan = written(WHOLE, "stream.plan=true")[0].strip()
    assert with_plan.startswith(first)
    assert with_plan.endswith(last)
    assert f"`{written(WHOLE, 'stream.plan=true', 'stream.view=plan_only')[0].strip()}`" in CONCEPTS
    assert f"`{written(WHOLE, 'stream.view=solution_path')[0].strip()}`" in CONCEPTS
    assert "< 0 [ 5 11 17 ] < 0 [ 5 11 17 ]" in written(WHOLE, "stream.view=redundant")[0]
    assert f"| {len(trace.events)} rows |" in CONCEPTS
    assert f"| {len(trace.nodes)} rows, the root first |" in CONCEPTS
    assert f"`{', '.join(map(str, trace.problem))}`" in CONCEPTS
    assert wrong.replace("13", "12").strip() in full


def test_the_search_with_costs_is_what_the_code_writes() -> None:
    sizes = ["env.max_layers=2", "env.max_nodes=2"]
    system = build_system(compose(["experiment=layered", *sizes]))
    problem = np.array(system.env.row([7, 9, 7, 11, 1, 11, 9, 3, 1, 9, 2, 7, 1, 2]), np.int32)
    trace = view_trace(system.view, system.env, run_search(system.strategy, system.env, problem, 2000))
    assert system.dialect.text(encode(system.dialect, trace)[0]) == BLOCKS[6].strip()


def test_the_maze_is_what_the_code_writes() -> None:
    page = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
    page = page[page.index("## Mazes") + 1 :].partition("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S)
    compact, published = (text.strip() for language, text in blocks if not language)
    prompt = published[: published.index(" create")]
    numbers = [int(word) for word in prompt.split() if word.isdigit()]
    cells = [x + 5 * y for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    apart = ["env.coordinates=true", "stream.dialect=published"]
    for text, overrides in ((compact, []), (published, apart)):
        system = build_system(compose(["experiment=maze", "env.width=5", "env.height=5", *overrides]))
        problem = np.array(system.env.row(cells), np.int32)
        trace = view_trace(system.view, system.env, run_search(system.strategy, system.env, problem, 200))
        assert system.dialect.text(encode(system.dialect, trace)[0]) == text


def test_every_kind_of_event_is_explained() -> None:
    for event in Event:
        assert f"\n| {event.name.lower().replace('_', ' ')} | " in CONCEPTS
    assert len(Event) == 7


def test_the_damaged_example_has_the_error_that_the_page_names() -> None:
    system = build_system(compose([WHOLE]))
    text = BLOCKS[1].strip().replace("17 - 5 = 12", "17 - 5 = 13", 1)
    ids = system.dialect.vocab.tokenizer().encode(text).ids
    problem = np.array(system.env.problem_row(11, [5, 11, 17]), np.int32)
    verdict, _, _ = verify_tokens(system.dialect, system.env, problem, np.array([1, *ids, 2]))
    assert Error(int(verdict.errors[1])) == Error.ARITHMETIC


def test_the_table_of_rooms_is_the_house() -> None:
    text = (ROOT / "docs" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ", text, re.M)
    floors = ast.literal_eval(
        re.search(r"^FLOORS = (\(.*?^\))", (ROOT / "tests" / "test_imports.py").read_text(), re.M | re.S)[1]
    )
    expected = [(number, room) for number, rooms in enumerate(floors, start=1) for room in rooms]
    assert sorted((int(number), room) for number, room in rows) == sorted(expected)
    assert len(rows) > 15


def test_the_paths_that_the_documents_name_exist() -> None:
    """In every document but the dated log."""
    named = set()
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if page.name != "experiments.md":
            found = re.findall(r"`((?:sos|conf|tests|docs|\.ci)/[\w/.]*)`", page.read_text(encoding="utf-8"))
            named |= {(page.relative_to(ROOT).as_posix(), path) for path in found}
    assert len(named) >= 40
    assert not [(page, path) for page, path in sorted(named) if not (ROOT / path).exists()]


def test_every_document_stands_in_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    kept = [path for path in sorted(docs.iterdir()) if path.suffix in (".md", ".cff") and path.name != "README.md"]
    assert len(kept) >= 28
    assert not [path.name for path in kept if f"({path.name})" not in index]


def test_the_page_of_all_keys_is_what_the_schemas_say() -> None:
    namespace = runpy.run_path(str(ROOT / ".ci" / "configuration.py"))
    written = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert written == namespace["page"](), "python .ci/configuration.py writes it anew"
    assert written.count("\n| `") > 200


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them: lower case, no punctuation, hyphens for blanks."""
    heads = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_link_of_the_documents_leads_somewhere() -> None:
    followed = 0
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        plain = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", plain):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            to = page if not path else (page.parent / path).resolve()
            assert to.exists(), f"{page.relative_to(ROOT)} links to {target}"
            if anchor:
                assert anchor in anchors(to.read_text(encoding="utf-8")), f"{page.relative_to(ROOT)} links to {target}"
            followed += 1
    assert followed > 40


def test_the_examples_of_mistakes_are_judged_as_the_page_says() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:`([^`]+)`)? ?\|$", page, re.M)
    assert {kind for kind, _ in rows} == {error.name.lower() for error in Error if error} | {"malformed", "unfinished"}
    system = build_system(compose([WHOLE]))
    problem = np.array(system.env.problem_row(11, [5, 11, 17]), np.int32)
    shown = [(kind, example) for kind, example in rows if example]
    for kind, example in shown:
        ids = system.dialect.vocab.tokenizer().encode(f"5 11 17 > 11 : {example}").ids
        verdict, _, _ = verify_tokens(system.dialect, system.env, problem, np.array([1, *ids, 2]))
        found = [Error(int(error)).name.lower() for error in verdict.errors if error] or [verdict.status.name.lower()]
        assert found[0] == kind, example
    assert len(shown) >= 8
