"""The group `logger`: where the curves and the result of a run go, besides its folder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from sos.errors import UserError
from sos.schema.keys import check_keys, key

# Logger -> the packages that it needs besides this one.
LOGGERS: dict[str, tuple[str, ...]] = {
    "tensorboard": (),
    "csv": (),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}


@dataclass
class LoggerConfig:
    """Where curves go; a logger is named, and nothing else is ever built from a config."""

    use: list[str] = key(["tensorboard"], f"The loggers, several at once: any of {', '.join(LOGGERS)}.", later=True)
    project: str = key("sos", "The project of wandb, the experiment of mlflow.", later=True)
    online: bool = key(False, "What wandb logs is sent at once; else `wandb sync` does it later.", later=True)

    def __post_init__(self) -> None:
        check_keys(self, "logger")
        if len(set(self.use)) < len(self.use) or not set(self.use) <= set(LOGGERS):
            raise UserError(f"logger.use must name some of {', '.join(LOGGERS)}, each once, got {list(self.use)}")
        if self.online and "wandb" not in self.use:
            raise UserError("logger.online=true has no use without wandb among logger.use")
        if self.project != LoggerConfig.project and not {"wandb", "mlflow"} & set(self.use):
            raise UserError(f"logger.project={self.project} has no use without wandb or mlflow among logger.use")

    def check_installed(self) -> None:
        """Raise UserError for a logger whose package is not here."""
        for name in self.use:
            missing = [package for package in LOGGERS[name] if find_spec(package) is None]
            if missing:
                raise UserError(f"logger.use: {name} is not installed: pip install {name}")
