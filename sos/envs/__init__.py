"""Search environments: `ENVS` maps a config's `env.name` to its NamedTuple, imported when it is first asked for."""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "ENVS":
        raise AttributeError(name)
    from sos.envs.countdown.rules import Countdown

    return {"countdown": Countdown}
