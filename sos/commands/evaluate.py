"""`sos evaluate RUN`: a checkpoint evaluated anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sos.commands.output import check_out, held
from sos.commands.words import configs, option, places
from sos.errors import UserError
from sos.files import damaged, read_json
from sos.schema.start import CHECKPOINTS

FILES = ("metrics.json", "rollouts*")


@dataclass
class Options:
    """The config is the run's own, but for the eval keys that are given. The folder gets metrics.json,
    rollouts_SPLIT.npz and rollouts.md."""

    run: list[str] = places("RUN", "a run folder or a checkpoint", most=1)
    out: str | None = option(None, "the folder of the results; null: evaluation, in the run's")
    device: str | None = option(None, "any name that torch knows; null: cuda where there is one")
    overrides: list[str] = configs(("eval",), "such as eval.num_problems=2000 eval.splits=[val]")


def nested(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values of `eval.KEY=VALUE` words by key, as Hydra reads them. Raises UserError for a word that is
    none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from sos.errors import one_line

    values: dict[str, Any] = {}
    for word in overrides:
        try:
            override = OverridesParser.create().parse_override(word)
            if override.is_sweep_override() or not word.startswith("eval."):
                raise UserError(f"{word}: eval.KEY=VALUE, one value, or a list in brackets")
            values[override.key_or_group.removeprefix("eval.")] = override.value()
        except HydraException as error:
            raise UserError(f"{word}: {one_line(error)}") from error
    return values


def earlier_metrics(path: Path) -> dict[str, Any]:
    """Return the run's own metrics.json, or an empty dict where training did not get that far. Raises UserError that
    names the file."""
    found: dict[str, Any] = read_json(path, missing={}, finite=False)
    for key in ("train", "overrides"):
        if not isinstance(found.get(key, {}), dict):
            raise damaged(path, f"{key} must hold keys, got {str(found[key])[:60]}")
    return found


def run(options: Options) -> None:
    """Evaluate, write the files and print the table."""
    typed = nested(options.overrides)
    check_out(options.out, folder=True)
    if options.out is not None and (Path(options.out) / CHECKPOINTS).is_dir():
        raise UserError(f"out={options.out} is a run's own folder, whose result would be overwritten; name another one")
    import torch

    import sos.published  # noqa: F401 (it registers the published metric and split)
    from sos import source_hash
    from sos.config import config_from_dict, config_hash, to_dict
    from sos.judge.evaluation import evaluate, write_metrics
    from sos.runs.checkpoint import config_of, load_checkpoint, load_model, moved, system_of
    from sos.runs.folder import RunFolder, checkpoint_of

    path = checkpoint_of(options.run[0])
    loaded = load_checkpoint(path)
    values = to_dict(config_of(loaded))
    config = config_from_dict(values | {"eval": values["eval"] | typed})
    system = system_of(loaded, config)
    model = moved(load_model(loaded, system), options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    home = RunFolder.of_checkpoint(path)
    earlier = earlier_metrics(home.metrics)
    train = {"tokens": 0, "problems": 0, "parameters": model.num_parameters()} | loaded.train
    if earlier.get("train", {}).get("steps") == train["steps"]:  # the end of the run: it also knows the time
        train = earlier["train"] | train

    from sos.train.bars import progress_bars
    from sos.train.precision import decoding

    out = Path(options.out or home.evaluation)
    with held("evaluate", FILES, out):
        update, close = progress_bars()
        with decoding(model.device, config.trainer.precision):
            evaluation = evaluate(model, system, config.eval, progress=update)
        close()
        print(f"{path}\n{evaluation.table()}\n\n{evaluation.cost}", flush=True)  # also where the disk is full
        write_metrics(
            out,
            name=str(earlier.get("name", home.path.name)),
            overrides=earlier.get("overrides", {}) | dict(word.split("=", 1) for word in options.overrides),
            config=to_dict(config),
            config_hash=config_hash(config),
            code_hash=source_hash(),
            train=train,
            evaluation=evaluation,
        )
    print(f"wrote {out}")
