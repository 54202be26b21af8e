"""The loggers of a run behind one: what a run logs goes to each of them."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from sos.schema.logger import LoggerConfig


class Silent:
    """Stands where there is no TensorBoard: takes every call of its writer and does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("add_", "flush", "close")):
            return lambda *arguments, **options: None
        raise AttributeError(name)


class Loggers(Logger):
    """Several loggers, or none, as one. `experiment` is TensorBoard's writer, or one that is silent."""

    def __init__(self, loggers: list[Logger]) -> None:
        super().__init__()
        self.loggers = loggers

    @property
    def name(self) -> str:
        return "sos"

    @property
    def version(self) -> str:
        return ""

    @property
    def experiment(self) -> Any:
        found = [logger.experiment for logger in self.loggers if isinstance(logger, TensorBoardLogger)]
        return found[0] if found else Silent()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        for logger in self.loggers:
            logger.log_metrics(dict(metrics), step)

    def log_hyperparams(self, params: Any, metrics: Any = None) -> None:
        """Log the keys of a config; `metrics`, what the untrained model does, is TensorBoard's alone."""
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.log_hyperparams(params, metrics)
            else:
                logger.log_hyperparams(vars(params) if isinstance(params, Namespace) else dict(params))

    def save(self) -> None:
        for logger in self.loggers:
            logger.save()

    def finalize(self, status: str) -> None:
        for logger in self.loggers:
            logger.finalize(status)

    def close(self) -> None:
        """Let wandb end its run: the next one of this process would go on with it."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.finish()


def others(logger: Any) -> list[Logger]:
    """Return the loggers of a run that are not TensorBoard's."""
    found = logger.loggers if isinstance(logger, Loggers) else [logger]
    return [one for one in found if not isinstance(one, TensorBoardLogger)]


def build_logger(options: LoggerConfig, folder: Path, name: str) -> Logger:
    """Return the loggers of a run, which write into `folder`; `name` is the run's."""
    made: list[Logger] = [_logger(kind, options, folder, name) for kind in options.use]
    return made[0] if options.use == ["tensorboard"] else Loggers(made)


def _logger(kind: str, options: LoggerConfig, folder: Path, name: str) -> Logger:
    if kind == "tensorboard":
        return TensorBoardLogger(save_dir=folder, name="", version="", default_hp_metric=False)
    if kind == "csv":
        return CSVLogger(folder, name="csv")  # a folder for each attempt: csv/version_0
    if kind == "wandb":
        logging.getLogger("wandb").setLevel(logging.WARNING)
        return WandbLogger(name=name, save_dir=folder, project=options.project, offline=not options.online)
    place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    return MLFlowLogger(options.project, name, tracking_uri=place)
