"""Tests of work that threads share out: what they raise, how they sum, and that their number changes no bit."""

from __future__ import annotations

import os
import random
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpts import make_model, random_documents, tokens_of
from sizes import plain

from sos.config import OptimConfig
from sos.model import cpu
from sos.model.cpu import cores, pieces, threads
from sos.model.cpu.pieces import OrderedSum, pieces_of
from sos.model.cpu.threads import share_out
from sos.model.gpt import IGNORE
from sos.train.lit import packed_loss
from sos.train.optim import build_optimizer


@pytest.fixture(autouse=True)
def torch_threads() -> Iterator[None]:
    """Torch gets its own number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 2, 4])
def num(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many threads share the work out."""
    monkeypatch.setattr(threads, "num_threads", lambda: request.param)
    return request.param


def test_every_piece_is_worked_on_once(num: int) -> None:
    done: list[int] = []
    share_out(done.append, range(100))
    assert sorted(done) == list(range(100))
    share_out(done.append, [])
    assert len(done) == 100


def test_all_threads_take_pieces_at_the_same_time(num: int) -> None:
    meeting, met = threading.Barrier(num), set()

    def work(_: int) -> None:
        meeting.wait(30)
        met.add(threading.get_ident())

    share_out(work, range(num))
    assert len(met) == num


def fail_at_five(piece: int) -> None:
    if piece == 5:
        raise ValueError("piece five")


def test_an_error_keeps_its_traceback_and_ends_the_work(num: int) -> None:
    begun: list[int] = []

    def work(piece: int) -> None:
        begun.append(piece)
        time.sleep(0.001)
        fail_at_five(piece)

    with pytest.raises(ValueError, match="piece five") as caught:
        share_out(work, range(1000))
    assert "fail_at_five" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert len(begun) < 1000
    share_out(begun.append, [7])  # and the threads are there for what comes next
    assert begun[-1] == 7


def test_torch_has_one_thread_inside_and_its_own_number_afterwards(num: int) -> None:
    found: list[tuple[int, bool]] = []
    torch.set_num_threads(3)
    share_out(lambda _: found.append((torch.get_num_threads(), torch.is_grad_enabled())), range(20))
    assert torch.get_num_threads() == 3
    assert found == [(1, False)] * 20


def test_a_process_that_was_forked_has_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    share_out(lambda _: time.sleep(0.01), range(4))
    child = os.fork()
    if child == 0:
        done: list[int] = []
        meeting = threading.Barrier(2)
        share_out(lambda piece: (meeting.wait(30), done.append(piece)), range(2))
        os._exit(len(done))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2


def test_sums_are_made_in_the_order_of_the_numbers() -> None:
    """Whatever order they come in: float32 sums of numbers of many sizes differ in almost any other order."""
    generator, rng = torch.Generator().manual_seed(1), random.Random(1)
    values = [torch.randn(50, generator=generator) * 10.0 ** rng.randrange(6) for _ in range(8)]
    expected = values[0].clone()
    for value in values[1:]:
        expected += value
    backwards = values[-1].clone()
    for value in values[-2::-1]:
        backwards += value
    assert not torch.equal(expected, backwards)
    for _ in range(20):
        released: list[torch.Tensor] = []
        total = OrderedSum(released.append)
        numbers = list(range(8))
        rng.shuffle(numbers)
        workers = [threading.Thread(target=total.add, args=(n, values[n].clone())) for n in numbers]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert total.total is not None
        assert torch.equal(total.total, expected)
        assert len(released) == 7


def test_buffers_of_ever_other_sizes_are_not_kept() -> None:
    pool = pieces.Pool()
    for size in range(100):
        pool.give(size, [size])
        assert pool.take(size, list) == [size]
        pool.give(size, [size])
    kept = [size for size in range(100) if pool.take(size, list)]
    assert 0 < len(kept) <= pieces.MOST_SIZES


def test_pieces_are_whole_rows_and_all_of_them() -> None:
    assert pieces.pieces_of(0, 16) == [slice(0, 0)]
    for num_rows, num_tokens in ((8, 256), (5, 256), (1, 4096), (3, 5), (64, 1024), (7, 300)):
        found = pieces_of(num_rows, num_tokens)
        assert [row for piece in found for row in range(piece.start, piece.stop)] == list(range(num_rows))
        assert all(piece.stop > piece.start for piece in found)
    assert len(pieces_of(8, 256)) == 4


# Rows, tokens, of the model: a batch that pieces do not divide; shared keys; widths that are no multiple of a vector.
SHAPES: list[tuple[int, int, dict[str, Any]]] = [
    (5, 37, {"qk_norm": True}),
    (7, plain(20, 8), {"num_heads": 4, "num_kv_heads": 2, "width": 24, "tie_embeddings": False}),
    (1, 40, {}),
    (6, 37, {"dropout": 0.3, "qk_norm": True}),
]


def trained(
    num: int, rows: int, num_tokens: int, shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> list[bytes]:
    """Return the weights and the losses after a few steps with so many threads; torch has one, as in a training."""
    monkeypatch.setattr(threads, "num_threads", lambda: num)
    torch.set_num_threads(1)
    model = make_model(**shape).train()
    optimizer = build_optimizer(model, model.blocks, OptimConfig(), fused=True)
    result = []
    for step in range(plain(4, 2)):
        positions, doc_ids = random_documents(rows, num_tokens, 3 + 4 * step)
        targets = tokens_of(rows, num_tokens, seed=2 + step).where(doc_ids >= 0, IGNORE)
        tokens = tokens_of(rows, num_tokens, seed=50 + step)
        batch = {"tokens": tokens, "positions": positions, "doc_ids": doc_ids, "targets": targets}
        torch.manual_seed(step)
        loss, losses = packed_loss(model, batch | {"num_targets": int((targets >= 0).sum())})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result.append(losses.detach().numpy().tobytes())
    return result + [p.detach().numpy().tobytes() for p in model.parameters()]


@pytest.mark.parametrize("case", plain([0, 1, 2, 3], [1]))
def test_any_number_of_threads_trains_the_same_bits(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, num_tokens, shape = SHAPES[case]
    monkeypatch.setattr(pieces, "TOKENS", plain(50, 20))
    assert len(pieces_of(rows, num_tokens)) in (1, 3, 4)
    first, *others = (trained(num, rows, num_tokens, shape, monkeypatch) for num in (1, 2, 4))
    assert all(other == first for other in others)
    assert len(set(first)) > 5


def test_a_graph_can_be_gone_through_twice_and_two_graphs_can_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers that are used again hold nothing that a graph still needs."""
    rows, num_tokens = plain((4, 30), (2, 12))
    monkeypatch.setattr(pieces, "TOKENS", num_tokens)
    model = make_model(num_layers=plain(2, 1))
    assert cpu.available(model)
    positions, doc_ids = random_documents(rows, num_tokens, 9)

    def losses_of(seed: int) -> torch.Tensor:
        tokens, targets = (tokens_of(rows, num_tokens, seed=seed + k) for k in range(2))
        return model(tokens, positions, doc_ids, targets).sum()

    def gradients(loss: torch.Tensor, **options: Any) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(model.parameters()), **options))

    alone = gradients(losses_of(1))
    first, second = losses_of(1), losses_of(3)
    with torch.inference_mode():
        losses_of(5)
    assert not torch.equal(gradients(second)[0], alone[0])
    for _ in range(2):
        found = gradients(first, retain_graph=True)
        losses_of(7)
        assert all(torch.equal(a, b) for a, b in zip(found, alone, strict=True))


def test_cores_that_share_hardware_count_once(tmp_path: Path) -> None:
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings + "\n")
    assert cores.physical_cores(range(4), tmp_path) == 2
    assert cores.physical_cores([0, 2], tmp_path) == 1
    assert cores.physical_cores([0, 1, 2], tmp_path) == 2
    assert cores.physical_cores(range(3), tmp_path / "nowhere") == 3


QUOTAS = {
    "none": ({}, "0::/a/b\n", float("inf")),
    "version 2": ({"a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n"}, "0::/a/b\n", 1.5),
    "version 2, own tree": ({"cpu.max": "200000 100000\n"}, "0::/of/the/host\n", 2.0),
    "version 1": (
        {"cpu,cpuacct/x/cpu.cfs_quota_us": "50000", "cpu,cpuacct/x/cpu.cfs_period_us": "100000"},
        "5:memory:/y\n4:cpu,cpuacct:/x\n",
        0.5,
    ),
    "version 1, unlimited": (
        {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/x\n", float("inf"),
    ),
    "damaged": ({"cpu.max": "many"}, "0::/\nrubbish\n", float("inf")),
}  # fmt: skip


@pytest.mark.parametrize("case", QUOTAS)
def test_quotas_of_control_groups_are_read(case: str, tmp_path: Path) -> None:
    files, own, expected = QUOTAS[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cores.quota(tmp_path, tmp_path / "own") == expected


def test_a_process_counts_its_cores() -> None:
    assert 1 <= cores.usable_cores() <= (os.cpu_count() or 1)
