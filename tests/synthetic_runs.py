"""Synthetic run folders: valid metrics.json and rollouts without any training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from sos.judge.intervals import wilson

NUM = 200  # evaluation problems per run


def problems(num: int = NUM) -> np.ndarray:
    """Return distinct problems, int32 (P, 4)."""
    return np.stack([np.arange(num), np.arange(num) % 7, np.arange(num) % 5, np.arange(num) % 40], axis=1, dtype="i4")


def counted(successes: int, num: int = NUM) -> dict[str, float]:
    low, high = wilson(successes, num)
    return {"value": successes / num, "low": low, "high": high, "num": num}


def write_run(
    folder: Path,
    overrides: dict[str, str] | None = None,
    seed: int = 1,
    solved: int = 100,
    *,
    config: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    evaluated: np.ndarray | None = None,
    sweep: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a valid run folder; `changes` replace keys of metrics.json."""
    folder.mkdir(parents=True)
    tokens = [8, 16, 32, 64]
    content = {
        "name": ",".join(f"{key}={value}" for key, value in (overrides or {}).items()),
        "overrides": overrides or {},
        "seed": seed,
        "config": config if config is not None else {"seed": seed},
        "config_hash": "c0",
        "code_hash": "5e",
        "train": {"tokens": 10_600_000, "problems": 98_000, "steps": 10, "seconds": 9.5, "parameters": 5, "flops": 1.0},
        "metrics": {
            "solve/val": counted(solved),
            "solve/val_target": counted(solved // 2),
            "teacher/val": counted(190),
            "pass@4/val": {"value": 0.8, "low": 0.75, "high": 0.85, "num": NUM},
            "error/arithmetic/val": counted(20),
            "tokens_per_solved/val": {"value": 300.0 + seed, "low": 290.0, "high": 310.0, "num": solved},
            "nodes/val": {"value": 18.0, "low": None, "high": None, "num": NUM},
        }
        if metrics is None
        else metrics,
        "budget_curve": {"val": {"tokens": tokens, "solved": [solved / NUM * t / 64 for t in tokens]}},
    } | changes
    (folder / "config.yaml").write_text("seed: 1\n")
    if sweep is not None:
        (folder / "provenance.json").write_text(json.dumps({"sweep": sweep}))
    (folder / "metrics.json").write_text(json.dumps(content))
    rows = problems() if evaluated is None else evaluated
    columns = ("generated_tokens", "tokens_to_goal", "nodes")
    arrays: dict[str, Any] = {name: np.zeros(len(rows), "i4") for name in columns}
    luck = np.random.default_rng(seed + 1000 * solved).permutation(len(rows))
    arrays["solved"] = np.argsort(luck) < solved
    num_errors = (np.arange(len(rows)) % 4 == 0).astype("i4") * 2  # two errors in every fourth trace
    np.savez(folder / "rollouts_val.npz", problems=rows, num_errors=num_errors, **arrays)
    return folder


def write_sweep(root: Path) -> Path:
    """Three views, two seeds each, in numbered folders as a multirun leaves them; return `root`."""
    solved = {"full": (140, 150), "solution_path": (120, 124), "dose": (130, 130)}
    names = iter(("0", "1", "2", "3", "9", "10"))
    for view, counts in solved.items():
        for seed, count in enumerate(counts, start=1):
            write_run(root / next(names), {"stream.view": view, "seed": str(seed)}, seed, count)
    return root


def write_arms(root: Path, solved: dict[str, list[int]], **changes: Any) -> Path:
    """Write runs of a sweep file: arm -> problems solved with seeds 1, 2, ...; the first arm is the baseline."""
    for arm, counts in solved.items():
        sweep = {"name": "s", "question": "Which is better?", "primary": "solve/val", "baseline": next(iter(solved))}
        for seed, count in enumerate(counts, start=1):
            config = {"seed": seed, "stream": {"view": arm}, "trainer": {"batch_tokens": 2048}}
            options: dict[str, Any] = {"config": config, "sweep": sweep | {"arm": arm, "arms": list(solved)}}
            write_run(
                root / f"{arm},seed={seed}", {"stream.view": arm, "seed": str(seed)}, seed, count, **options | changes
            )
    return root
