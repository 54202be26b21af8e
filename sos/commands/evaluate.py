"""Evaluate a checkpoint: `python -m sos.commands.evaluate checkpoint=PATH [eval.num_problems=2000 ...] [out=FOLDER] [device=cpu]`.

PATH is a checkpoint or a run folder. `eval.*` overrides what the run was configured with. FOLDER (default: `evaluation` in
the run folder) gets metrics.json, rollouts_<split>.npz and rollouts.md. `device` is any name that torch knows (default:
cuda where there is one).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sos.commands.cli import report_keyed
from sos.errors import UserError
from sos.files import read_json

KEYS = ("checkpoint", "out", "device")


def parse(arguments: Sequence[str]) -> tuple[dict[str, str], dict[str, str], dict[str, Any]]:
    """Return (checkpoint, out and device; the `eval.*` arguments as text; the same as a nested dict).

    Raises ValueError for anything that is neither, or not `key=value`.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    options: dict[str, str] = {}
    overrides: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not value:
            raise UserError(f"arguments are key=value, got {argument!r}")
        if key in KEYS:
            options[key] = value
        elif key.startswith("eval."):
            overrides[key] = value
        else:
            raise UserError(f"unknown key {key!r}; known are {', '.join(KEYS)} and eval.*")
    if "checkpoint" not in options:
        raise UserError("checkpoint=PATH is missing")
    try:
        nested = OmegaConf.to_container(OmegaConf.from_dotlist([f"{k}={v}" for k, v in overrides.items()]))
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"cannot read {' '.join(overrides)}: {' '.join(str(error).split())}") from error
    assert isinstance(nested, dict)
    return options, overrides, {str(k): v for k, v in nested.items()}


def earlier_metrics(path: Path) -> dict[str, Any]:
    """Return the run's own metrics.json, or an empty dict where training did not get that far."""
    found: dict[str, Any] = read_json(path, missing={}, finite=False)
    return found


def run(arguments: Sequence[str]) -> None:
    """Evaluate as the arguments say; print the table and write the files. Raises ValueError in one line."""
    options, overrides, nested = parse(arguments)

    import torch

    from sos import source_hash
    from sos.config import config_from_dict, config_hash, to_dict
    from sos.judge.evaluation import evaluate, write_metrics
    from sos.runs.checkpoint import load_checkpoint, load_model
    from sos.runs.folder import RunFolder, checkpoint_of
    from sos.system import build_system

    path = checkpoint_of(options["checkpoint"])
    loaded = load_checkpoint(path)
    try:
        trained = config_from_dict(loaded.config)
    except ValueError as error:
        raise UserError(f"{path} was written under another schema: {error}") from error
    values = to_dict(trained)
    config = config_from_dict(values | {"eval": values["eval"] | nested.get("eval", {})})
    system = build_system(config)
    model = load_model(loaded, system)
    device = options.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without the device
        raise UserError(f"device={device}: {str(error).splitlines()[0]}") from error

    from sos.train.bars import progress_bars
    from sos.train.precision import decoding

    update, close = progress_bars()
    with decoding(model.device, config.trainer.precision):
        evaluation = evaluate(model, system, config.eval, progress=update)
    close()

    home = RunFolder.of_checkpoint(path)
    earlier = earlier_metrics(home.metrics)
    train = {"tokens": 0, "problems": 0, "parameters": model.num_parameters()} | loaded.train
    if earlier.get("train", {}).get("steps") == train["steps"]:  # the end of the run: it also knows the time
        train = earlier["train"] | train
    out = Path(options.get("out", home.evaluation))
    evaluation.write(out)
    write_metrics(
        out,
        name=str(earlier.get("name", home.path.name)),
        overrides=earlier.get("overrides", {}) | overrides,
        seed=config.seed,
        config=to_dict(config),
        config_hash=config_hash(config),
        code_hash=source_hash(),
        train=train,
        evaluation=evaluation,
    )
    print(f"{path}\n{evaluation.table()}\n\n{evaluation.cost}\nwrote {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit status: 0, or 2 for what the user can mend."""
    return report_keyed(run, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
