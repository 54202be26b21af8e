"""From words on the command line to a `Config`: where conf/ lies, and Hydra's own grammar and composition."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from sos import ROOT
from sos.config import Config, register, to_object
from sos.errors import UserError, one_line


def config_folder() -> Path:
    """Return the folder of the configs: `conf` of this checkout, or of the working folder. Raises UserError without either."""
    folders = [ROOT.parent / "conf", Path.cwd() / "conf"]
    folder = next((folder for folder in folders if (folder / "config.yaml").is_file()), None)
    if folder is None:
        raise UserError(f"no configs: neither {folders[0]} nor {folders[1]} holds config.yaml")
    return folder.resolve()


def compose(overrides: Sequence[str]) -> Config:
    """Compose the config of conf/ with Hydra overrides. Raises ValueError in one line."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    register()
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            return to_object(hydra_compose("config", overrides=list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(one_line(error)) from error


def combinations(overrides: Sequence[str]) -> Iterator[tuple[list[str], str]]:
    """Yield (overrides of one combination, its swept values as text) for overrides with commas, as Hydra's multirun has them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise UserError(one_line(error)) from error
    choices, swept = [], []
    for override in parsed:
        if override.is_sweep_override():
            key = override.get_key_element()
            values = list(override.sweep_string_iterator())
            choices.append([f"{key}={value}" for value in values])
            swept.append([key.rpartition(".")[2] + "=" + value for value in values])
        else:
            choices.append([str(override.input_line)])
            swept.append([""])
    for chosen, names in zip(itertools.product(*choices), itertools.product(*swept), strict=True):
        yield list(chosen), " ".join(filter(None, names))
