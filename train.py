"""Search, serialize, pretrain, evaluate: `python train.py [key=value ...]`, `-m` for a sweep (see conf/config.yaml)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sos.config import register, to_object

register()


def describe_run() -> tuple[Path, str, dict[str, str]]:
    """Return the run's folder, its name and its overrides as Hydra has them."""
    hydra_config = HydraConfig.get()
    overrides = dict(o.lstrip("+~").split("=", 1) for o in hydra_config.overrides.task if "=" in o)
    folder = Path(hydra_config.runtime.output_dir)
    return folder, hydra_config.job.override_dirname or "default", overrides


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(composed: DictConfig) -> float:
    """Run one job and return its solve rate on `val`, for sweepers that optimize."""
    try:
        config = to_object(composed)
        # Torch and Lightning take seconds to import: --help and --cfg do without them.
        from omegaconf import OmegaConf

        from sos.pretrain import Interrupted, pretrain

        folder, name, overrides = describe_run()
        OmegaConf.save(composed, folder / "config.yaml", resolve=True)
        try:
            evaluation = pretrain(config, folder, name=name, overrides=overrides)
        except Interrupted as interrupted:
            print(f"continue with: resume={interrupted}", file=sys.stderr)
            sys.exit(130)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if evaluation is None:  # another rank prints it
        return 0.0
    print(f"\n{name}\n{evaluation.table()}\n\nrun folder: {folder}")
    return float(evaluation.metrics["solve/val"]["value"] or 0.0)


if __name__ == "__main__":
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # let Hydra raise, so that what it says becomes one line
    try:
        main()
    except (HydraException, OmegaConfBaseException) as error:
        lines = [line.strip() for e in (error, error.__cause__) if e for line in str(e).splitlines() if line.strip()]
        print(f"error: {'; '.join(line for line in dict.fromkeys(lines) if '_type=' not in line)}", file=sys.stderr)
        sys.exit(2)
