"""The rules of the environment against themselves, written down a second time in plain Python."""

import numpy as np
from climb import Climb

from sos import build_source, build_system, decode
from sos.compose import compose
from sos.schema.folders import search_also
from sos.stream.verify import verify

search_also(["hydra.searchpath=[file://conf]"])


def solvable(start: int, target: int) -> bool:
    if start >= target:
        return start == target
    return solvable(start + 3, target) or solvable(2 * start, target)


def test_streams_are_searches_by_the_rules() -> None:
    config = compose(["experiment=climb"])
    system = build_system(config)
    chunk = build_source(config, system).chunk(0, 50)
    solved = 0
    for start, stop in zip(chunk.offsets[:-1], chunk.offsets[1:], strict=True):
        decoded = decode(system.dialect, system.env, chunk.tokens[start:stop])
        verdict = verify(system.env, decoded.trace)
        assert not verdict.errors.any()
        assert verdict.solved == solvable(*decoded.trace.problem.tolist())
        for action in decoded.trace.nodes[1:, 2:]:
            assert 0 <= action[0] <= 1
        solved += verdict.solved
    assert solved > 25


def test_every_problem_that_is_drawn_can_be_solved() -> None:
    from sos.envs.protocol import solvable as judged

    env = Climb()
    work = env.proof_work()
    for start in range(1, 20):
        for target in range(start + 1, env.top + 1):
            assert bool(judged(env, np.array([start, target], np.int32), work)) == solvable(start, target)
