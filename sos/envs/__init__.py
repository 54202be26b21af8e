"""Search environments: `ENVS` maps a config's `env.name` to its NamedTuple."""

from sos.envs.countdown import Countdown

ENVS = {"countdown": Countdown}
