"""Hand-made rollouts for one problem of Countdown: right ones and each kind of wrong one."""

from __future__ import annotations

import numpy as np
from drivers import run_search

from sos.config import Config, DataConfig, ModelConfig, SearchConfig, StreamConfig
from sos.envs.countdown.config import CountdownConfig
from sos.model.rollout import Rollout
from sos.stream.codec import encode, encode_prompt
from sos.system import System
from sos.trace import Outcome

PROBLEM = np.array([14, 3, 2, 3, 4], np.int32)
PERFECT = "3 * 4 = 12 [ 2 12 ] 2 + 12 = 14 !"
DETOUR = f"2 + 3 = 6 [ 4 6 ] 4 + 6 = 10 x < 0 [ 2 3 4 ] {PERFECT}"  # 2 + 3 is 5
UNREADABLE = "3 * 4 = 12 ] ["
FALSE_GOAL = "2 + 3 = 5 [ 4 5 ] 4 + 5 = 9 !"
CUT = "2 + 3 ="
ENV = CountdownConfig(max_target=50, max_value=100)
WHOLE = StreamConfig(dialect="compact", numbers="whole")
CONFIG = Config(
    env=ENV,
    search=SearchConfig(max_nodes=12),
    stream=WHOLE,
    data=DataConfig(context=160, val_fraction=0.3, held_out_fraction=0.1),
    model=ModelConfig(num_layers=3, num_heads=3, width=96),
)
CONFIG.model.width, CONFIG.model.num_heads, CONFIG.model.num_layers = 16, 1, 1


def stream(system: System, text: str, finished: bool = True, problem: np.ndarray = PROBLEM) -> Rollout:
    """Return a rollout whose written part reads `text`."""
    prompt = encode_prompt(system.dialect, problem)
    written = system.dialect.vocab.tokenizer().encode(text, add_special_tokens=False).ids + [2] * finished
    return Rollout(np.array(prompt + written, np.int32), len(prompt), finished, np.zeros(len(written), np.float32))


def hand_made(system: System) -> list[Rollout]:
    """Return five rollouts for PROBLEM: solved, solved after a slip, unreadable, false goal, cut."""
    ended = [stream(system, text) for text in (PERFECT, DETOUR, FALSE_GOAL)]
    return [*ended[:2], stream(system, UNREADABLE, False), ended[2], stream(system, CUT, False)]


def teacher_stream(system: System, problem: np.ndarray) -> tuple[np.ndarray, int, bool]:
    """Return (tokens, prompt tokens, solved) of the strategy's own search, by the slow road."""
    trace = run_search(system.strategy, system.env, problem)
    tokens, _, num_prompt = encode(system.dialect, trace)
    return tokens, num_prompt, trace.outcome == Outcome.SOLVED
