"""Search environments: `ENVS` maps a config's `env.name` to its NamedTuple."""

from sos.envs.countdown.rules import Countdown

ENVS = {"countdown": Countdown}
