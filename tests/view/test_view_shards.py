"""`sos view shard=FOLDER`: what a data set holds, found by its number over all shards."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from sos.commands.cli import call
from sos.config import Config
from sos.datasets.make import generate, make_job
from sos.datasets.source import build_source, build_trace_source
from sos.system import build_system

main = partial(call, "view")

CONFIG = Config()
VISITS, SIZE = 7, 3


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    parent = tmp_path_factory.mktemp("sets")
    for kind in ("traces", "tokens"):
        generate(make_job(CONFIG, kind=kind, split="train", folder=parent / kind, visits=VISITS, shard_size=SIZE))
    return {kind: parent / kind for kind in ("traces", "tokens")}


def shown(arguments: list[str], out: Path) -> list[dict]:
    assert main([*arguments, f"out={out}"]) == 0
    found = re.search(r'id="data">(.*?)</script>', out.read_text(encoding="utf-8"), re.S)
    assert found
    traces: list[dict] = json.loads(found[1])["traces"]
    return traces


def test_traces_and_streams_by_number(sets: dict[str, Path], tmp_path: Path) -> None:
    system = build_system(CONFIG)
    chunk = build_source(CONFIG, system).chunk(0, VISITS)
    streams = np.split(chunk.tokens, chunk.offsets[1:-1])
    traces = list(build_trace_source(CONFIG).chunk(0, VISITS).traces())
    indices = "index=6,0,3"
    from_traces = shown([f"shard={sets['traces']}", indices], tmp_path / "a.html")
    from_streams = shown([f"shard={sets['tokens']}", indices], tmp_path / "b.html")
    for index, a, b in zip((6, 0, 3), from_traces, from_streams, strict=True):
        assert a["title"] == f"trace {index} · dfs"
        assert b["title"] == f"stream {index} · dfs"
        assert len(a["tokens"]) == len(b["tokens"]) == len(streams[index])
        for one in (a, b):
            assert len(one["kinds"]) == len(traces[index].events)
            assert not one["mistakes"]
            assert one["solved"] == (traces[index].outcome == 0)
    both = shown([f"shard={sets['traces']}", "stream=compact,sos"], tmp_path / "c.html")
    assert len(both) == 2
    assert len(both[0]["tokens"]) < len(both[1]["tokens"])


def damaged(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    (file,) = to.glob("shard-00001/events.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    return to


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["shard=/nowhere"], "no data set at /nowhere"),
        (["shard={traces}", "index=7"], "index=7: {traces} holds 7 traces"),
        (["shard={tokens}", "index=2,70"], "index=70: {tokens} holds 7 streams"),
        (["shard={traces}", "split=val"], "shard takes index, not split and problem"),
        (["shard={tokens}", "stream=sos"], "stream=sos has no place here"),
        (["shard={damaged}", "index=4"], "events.npy has another checksum"),
        (["shard={traces}", "traces=x"], "traces and shard are two sources"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], complaint: str, sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: str(path) for name, path in sets.items()} | {"damaged": str(tmp_path / "damaged")}
    damaged(sets["traces"], tmp_path / "damaged")
    out = tmp_path / "t.html"
    assert main([*(argument.format(**names) for argument in arguments), f"out={out}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert complaint.format(**names) in error
    assert not out.exists()
