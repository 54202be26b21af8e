"""What the schema of every environment derives from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sos.schema.keys import key


@dataclass
class EnvConfig:
    """The config group `env`: `name` says whose keys stand beside it; see `sos.envs.registry`.

    The schema of an environment is a dataclass that derives from this one, gives `name` its default and checks its
    keys in `__post_init__`.
    """

    name: str = key("", "The environment.")

    def check_run(self, config: Any) -> None:
        """Raise UserError where the rest of a run's `Config` does not go with this environment.

        Everything does, unless the schema of an environment says otherwise.
        """

    @classmethod
    def check_recorded(cls, values: Mapping[str, Any]) -> None:
        """Raise UserError unless an environment can be sized by the plain keys that a data set recorded; an older
        schema may have had others."""
        known = {field.name for field in dataclasses.fields(cls)}
        cls(**{name: value for name, value in values.items() if name in known})
