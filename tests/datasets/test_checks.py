"""The door of the data sets: no kernel and no reader gets an index, a size or a name that a file made up."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_sets import change_manifest, job, reading, resign

from sos.datasets.make import generate, merge
from sos.datasets.read import Shards, read_traces
from sos.datasets.verify import verify_set
from sos.errors import UserError
from sos.interop.datasets import export_data
from sos.view.shards import from_shards


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {kind: tmp_path_factory.mktemp(kind) / "set" for kind in ("tokens", "traces")}
    for kind, folder in folders.items():
        generate(job(folder, kind, visits=60, shard_size=30))
    return folders


def readers(kind: str, folder: Path) -> list[Callable[[], Any]]:
    """Return every way in which a data set is read."""
    size: dict[str, Any] = {"visits": 60, "shard_size": 30}
    both: list[Callable[[], Any]] = [
        lambda: verify_set(job(folder, kind, **size)),
        lambda: export_data(folder, folder / "out.jsonl"),
        lambda: from_shards({"shard": str(folder), "index": "40"}, []),
    ]
    if kind == "traces":
        return [*both, lambda: list(read_traces(folder))]
    return [*both, lambda: reading(folder, 60).chunk(0, 60)]


def assert_refused(kind: str, folder: Path, message: str) -> None:
    found = 0
    for read in readers(kind, folder):
        with pytest.raises(UserError, match=message) as refused:
            read()
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 600
        found += 1
    assert found == 4


def set_to(row: Any, value: Any) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.int32) if array.dtype == np.int8 and array.ndim == 2 else array.copy()
        array[row] = value
        return array

    return change


STREAMS = [
    ("offsets", set_to(3, -50), r"offsets must ascend, got \d+ and then -50"),
    ("offsets", lambda a: a - 50, r"offsets must go from 0 to \d+, got -50"),
    ("offsets", lambda a: a[::-1].copy(), "offsets must go from 0"),
    ("offsets", set_to(2, 2**62), "offsets must ascend"),
    ("offsets", set_to(-1, 10**9), "offsets must go from 0"),
    ("offsets", lambda a: a[:-1], "offsets has 30 rows, not 31"),
    ("offsets", lambda a: a.astype(float), "offsets.npy: it holds float64, not int64"),
    ("offsets", lambda a: a[:, None], r"offsets.npy: it has the shape \(31, 1\), not 1 axes"),
    ("tokens", set_to(5, 139), r"tokens\[5\] must be from 0 to 138, got 139"),
    ("tokens", set_to(5, 65535), r"tokens\[5\] must be from 0 to 138"),
    ("tokens", lambda a: a.astype(np.float32), "it holds float32, not uint16"),
    ("tokens", lambda a: a.astype(">u2"), "it holds >u2, not uint16"),
    ("tokens", lambda a: a[:-1], "kinds has"),
    ("tokens", lambda a: a.astype([("a", "u2")]), "no .npy file of plain numbers"),
    ("kinds", set_to(9, 100), r"kinds\[9\] must be from 0 to 6, got 100"),
    ("kinds", set_to(9, -1), r"kinds\[9\] must be from 0 to 6, got -1"),
    ("prompts", set_to(4, -100000), r"prompts\[4\] must be from 1 to \d+, the length of its stream, got -100000"),
    ("prompts", set_to(4, 300), r"prompts\[4\] must be"),
    ("visits", set_to(4, 3), "visits must ascend, got 33 and then 3|visits.* must be from 30 to 59"),
    ("visits", lambda a: a + 30, r"visits\[0\] must be from 30 to 59, got 60"),
    ("visits", lambda a: a[::-1].copy(), "visits must ascend, got 59 and then 58"),
    ("strategies", set_to(0, 1), r"strategies\[0\] must be from 0 to 0, got 1"),
    ("strategies", set_to(0, -1), r"strategies\[0\] must be from 0 to 0, got -1"),
]
TRACES = [
    ("nodes", set_to((1, 0), 10**6), r"nodes\[1\] is no node of its trace: \[1000000"),
    ("nodes", set_to((1, 0), -1), r"nodes\[1\] is no node"),
    ("nodes", set_to((0, 0), 0), r"nodes\[0\] is no node"),
    ("nodes", set_to((2, 1), -1), r"nodes\[2\] is no node"),
    ("nodes", set_to((2, 3), 4), r"nodes\[2\] is no node"),
    ("nodes", set_to((2, 2), -5), r"nodes\[2\] is no node"),
    ("nodes", lambda a: a[:, :5].copy(), "nodes has 5 columns, not 6"),
    ("nodes", lambda a: np.asfortranarray(a), "nodes.npy: it has the shape"),
    ("events", set_to((1, 0), 7), r"events\[1\] is no event of its trace: \[7"),
    ("events", set_to((1, 0), 5), r"events\[1\] is no event"),
    ("events", set_to((1, 1), 10**6), r"events\[1\] is no event"),
    ("events", set_to((1, 1), 0), r"events\[1\] is no event"),
    ("events", set_to((0, 2), 10**6), r"events\[0\] is no event"),
    ("events", set_to((0, 3), -1), r"events\[0\] is no event"),
    ("events", set_to((slice(None), 0), 0), r"events\[\d+\] is no event"),
    ("states", set_to((0, 0), 4), r"states\[0\] is no state of its problem: \[4"),
    ("states", set_to((0, 0), 0), r"states\[0\] is no state"),
    ("states", set_to((0, 1), -7), r"states\[0\] is no state"),
    ("problems", set_to((3, 1), 4), r"problems\[3\] is no problem"),
    ("problems", set_to((3, 2), -4), r"problems\[3\] is no problem"),
    ("problems", lambda a: a[:, :4].copy(), "problems has 4 columns, not 5"),
    ("problems", lambda a: a[:-1], "problems has 29 rows, not 30"),
    ("offsets", set_to((2, 1), 10**9), r"offsets\[:, 1\] must ascend"),
    ("offsets", set_to((0, 2), 1), r"offsets\[:, 2\] must go from 0"),
    ("offsets", lambda a: a[:, :2].copy(), "offsets has 2 columns, not 3"),
    ("strategies", set_to(0, 7), r"strategies\[0\] must be from 0 to 0, got 7"),
    ("visits", lambda a: a.astype(np.int32), "visits.npy: it holds int32, not int64"),
]
LIES = [("tokens", *lie) for lie in STREAMS] + [("traces", *lie) for lie in TRACES]


@pytest.mark.parametrize(("kind", "column", "change", "message"), LIES)
def test_columns_whose_checksums_are_right_are_checked(sets, tmp_path, kind, column, change, message) -> None:
    folder = Path(shutil.copytree(sets[kind], tmp_path / "copy"))
    path = folder / "shard-00001" / f"{column}.npy"
    np.save(path, change(np.load(path)))
    resign(folder)
    assert_refused(kind, folder, f"damaged .*shard-00001.*{message}")


def test_a_chain_of_nodes_deeper_than_the_task_is_refused(sets, tmp_path) -> None:
    """The encoder's room for a path is that of the deepest node of the task."""
    folder = Path(shutil.copytree(sets["traces"], tmp_path / "copy"))
    path = folder / "shard-00001" / "nodes.npy"
    nodes = np.load(path)
    first = np.flatnonzero(nodes[:, 0] == -1)
    trace = int(np.argmax(np.diff(first)))
    start, stop = first[trace], first[trace + 1]
    assert stop - start > 4
    nodes[start:stop, 0] = np.arange(-1, stop - start - 1)
    np.save(path, nodes)
    resign(folder)
    assert_refused("traces", folder, rf"nodes\[{start + 3}\] is no node of its trace \(deeper than 2\)")


def header(shape: str, descr: str = "'<u2'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000000000,)"),
        header("(1000000000000, 1000000000000)"),
        header("(" + "9" * 40 + ",)"),
        header("(-5,)"),
        header("(True,)"),
        header("(8589934592, 8589934592)"),
        header("(2,)") + b"1234567",
        header("(1,)" * 1000),
        header("(4,)", "'|O'"),
        header("(4,)", "'<U1000000000'"),
        header("(4,)", "[" * 400 + "]" * 400),
        header("()"),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY\x09\x00",
        b"PK\x03\x04",
        b"",
        b"\x80\x04K\x01.",
    ],
    ids=range(17),
)
def test_headers_are_checked_before_anything_is_allocated(sets, tmp_path, content) -> None:
    folder = Path(shutil.copytree(sets["tokens"], tmp_path / "copy"))
    (folder / "shard-00001" / "tokens.npy").write_bytes(content)
    resign(folder)
    assert_refused("tokens", folder, "damaged .*shard-00001")


def test_the_reader_s_vocabulary_counts_not_the_file_s(sets, tmp_path) -> None:
    folder = Path(shutil.copytree(sets["tokens"], tmp_path / "copy"))
    change_manifest(folder, "labels", "vocabulary", value=[str(k) for k in range(1000)])
    path = folder / "shard-00001" / "tokens.npy"
    np.save(path, set_to(5, 999)(np.load(path)))
    resign(folder)
    with pytest.raises(UserError, match=r"tokens\[5\] must be from 0 to 138, got 999"):
        reading(folder, 60).chunk(0, 60)


DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]
MANIFESTS = [
    (("recipe",), ..., "recipe must be an object, got None"),
    (("recipe",), [], r"recipe must be an object, got \[\]"),
    (("recipe", "kind"), "text", "recipe.kind must be one of traces, tokens, got 'text'"),
    (("recipe", "kind"), {}, "recipe.kind must be one of"),
    (("recipe", "split"), "test", "recipe.split must be one of"),
    (("recipe", "env"), ..., "env must be an object"),
    (("recipe", "env", "num_numbers"), 10**9, "num_numbers must be a whole number from 2 to 6"),
    (("recipe", "data", "context"), 0, "context must be a whole number"),
    (("recipe", "env", "name"), "${oc.env:HOME}", "recipe.env.name holds an interpolation"),
    (("recipe", "search", "strategies"), {"a": [{"b": "x${y}"}]}, "recipe.search.strategies.a.0.b holds an interp"),
    (("visits",), 0, "visits must be a whole number from 1"),
    (("visits",), 61, "counts|num_shards must be 3, got 2"),
    (("visits",), 2.0, "visits must be a whole number"),
    (("visits",), True, "visits must be a whole number"),
    (("visits",), 10**30, "visits must be a whole number"),
    (("shard_size",), 0, "shard_size must be a whole number from 1"),
    (("shard_size",), -3, "shard_size must be a whole number from 1"),
    (("num_shards",), 10**12, "num_shards must be 2"),
    (("shards",), ..., "shards must be a list of 2, got None"),
    (("shards",), [], "shards must be a list of 2"),
    (("shards", 1), 5, r"shards\[1\]: a shard is an object"),
    (("shards", 1, "index"), 0, r"shards\[1\]: index must be 1, got 0"),
    (("shards", 1, "index"), "../../1", r"shards\[1\]: index must be 1"),
    (("shards", 1, "start"), -30, r"shards\[1\]: start must be 30"),
    (("shards", 0, "stop"), 10**12, r"shards\[0\]: stop must be 30"),
    (("shards", 1, "counts", "streams"), 10**12, r"shards\[1\]: counts must be of as many streams"),
    (("shards", 1, "counts", "dropped"), -1, "dropped must be a whole number"),
    (("shards", 1, "counts", "tokens"), "many", "tokens must be a whole number"),
    (("shards", 1, "files"), {"../../../etc/passwd": {}}, r"shards\[1\]: files must be tokens.npy"),
    (("shards", 1, "files", "tokens.npy"), [], "tokens.npy must be an object"),
    (("shards", 1, "files", "tokens.npy", "bytes"), -1, "bytes must be a whole number"),
    (("shards", 1, "files", "tokens.npy", "sha256"), None, "tokens.npy: sha256 must be 64 hex digits"),
    (("labels",), ..., "labels must be an object"),
    (("labels", "strategies"), [], "labels.strategies must be a list of 1 to"),
    (("labels", "strategies"), [1], "labels.strategies must be a list"),
    (("labels", "vocabulary"), "abc", "labels.vocabulary must be a list"),
    (("counts", "tokens"), 7, r"counts.tokens must be \d+, as the shards add up to, got 7"),
    (("counts",), None, "counts must be an object"),
    (("format",), DEEP, "nested more than 64 levels deep"),
    (("format",), "1", "has format '1', this version reads 1"),
    (("complete",), 1, "is not complete"),
]


@pytest.mark.parametrize(("keys", "value", "message"), MANIFESTS)
def test_manifests_are_checked(sets, tmp_path, keys, value, message) -> None:
    folder = Path(shutil.copytree(sets["tokens"], tmp_path / "copy"))
    change_manifest(folder, *keys, value=value)
    for read in (*readers("tokens", folder)[1:], lambda: Shards(folder)):
        with pytest.raises(UserError, match=message) as refused:
            read()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "shard-00001 does not belong here: start is None, expected 30"),
        ("[]", "shard.json: it holds no JSON object"),
        ('{"start": NaN}', "shard.json: NaN is no number"),
        ("", "damaged .*shard.json"),
    ],
)
def test_records_of_shards_are_checked(sets, tmp_path, content, message) -> None:
    folder = Path(shutil.copytree(sets["tokens"], tmp_path / "copy"))
    (folder / "shard-00001" / "shard.json").write_text(content)
    for work in (generate, merge):
        with pytest.raises(UserError, match=message):
            work(job(folder, visits=60, shard_size=30))
    change_manifest(folder, "recipe", value=3)
    with pytest.raises(UserError, match="was made with recipe=3"):
        generate(job(folder, visits=60, shard_size=30))


def test_a_manifest_with_a_byte_order_mark_is_read(sets, tmp_path) -> None:
    folder = Path(shutil.copytree(sets["tokens"], tmp_path / "copy"))
    path = folder / "manifest.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(reading(folder, 60).chunk(0, 60).visits) == 60


# Verification


def swapped(folder: Path, kind: str, rows: tuple[int, int]) -> None:
    """File one trace or stream under the visit of another, with checksums that fit."""
    path = folder / "shard-00001"
    units = {"tokens": ("tokens", "kinds"), "traces": ("events", "nodes", "states")}[kind]
    offsets = np.load(path / "offsets.npy")
    order = np.arange(len(offsets) - 1)
    order[list(rows)] = order[list(rows[::-1])]
    starts = offsets if offsets.ndim == 2 else np.repeat(offsets[:, None], len(units), 1)
    lengths = np.diff(starts, axis=0)[order]
    for k, name in enumerate(units):
        array = np.load(path / f"{name}.npy")
        np.save(path / f"{name}.npy", np.concatenate([array[starts[row, k] : starts[row + 1, k]] for row in order]))
    joined = np.concatenate([np.zeros((1, len(units)), np.int64), np.cumsum(lengths, 0)])
    np.save(path / "offsets.npy", joined if offsets.ndim == 2 else joined[:, 0])
    if kind == "traces":
        np.save(path / "problems.npy", np.load(path / "problems.npy")[order])
    resign(folder)


@pytest.mark.parametrize("kind", ["tokens", "traces"])
def test_verification_finds_what_is_filed_under_another_visit(sets, tmp_path, kind) -> None:
    folder = Path(shutil.copytree(sets[kind], tmp_path / "copy"))
    swapped(folder, kind, (3, 7))
    Shards(folder).columns(1)  # nothing that the door would see
    unit = {"tokens": "stream", "traces": "trace"}[kind]
    with pytest.raises(
        UserError, match=rf"shard-00001: the {unit} of visit 33 is of problem \[.*\], the visit is of \["
    ):
        verify_set(job(folder, kind, visits=60, shard_size=30))


@pytest.mark.parametrize("kind", ["tokens", "traces"])
def test_verification_finds_a_problem_of_another_split(tmp_path, kind) -> None:
    """A training set that is made of the validation problems says in its manifest that it is of `train`."""
    options: dict[str, Any] = {"values": {"seed": 3}, "visits": 20, "shard_size": 20}
    generate(job(tmp_path / "set", kind, split="val", **options))
    assert verify_set(job(tmp_path / "set", kind, split="val", **options)) == 20
    change_manifest(tmp_path / "set", "recipe", "split", value="train")
    with pytest.raises(UserError, match=r"shard-00000: the (stream|trace) of visit 0 is of problem"):
        verify_set(job(tmp_path / "set", kind, **options))
