"""Every experiment composes, and what it describes can be built."""

from __future__ import annotations

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from places import CONF

from sos.compose import register, to_object
from sos.config import Config
from sos.search import Mixture
from sos.system import build_system

EXPERIMENTS = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix() for path in (CONF / "experiment").rglob("*.yaml")
)


def composed(*overrides: str) -> Config:
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return to_object(compose("config", overrides=list(overrides)))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_builds(experiment: str) -> None:
    config = composed(f"experiment={experiment}")
    system = build_system(config)
    assert system.context == config.data.context
    assert len(system.strategy_names) >= 1


@pytest.mark.parametrize("control", sorted(path.stem for path in (CONF / "control").glob("*.yaml")))
def test_every_control_goes_with_the_default_and_the_speedrun(control: str) -> None:
    for base in ([], ["experiment=speedrun"]):
        plain, changed = composed(*base), composed(*base, f"control={control}")
        assert changed != plain or (control == "three_numbers" and not base)
        assert changed.model == plain.model
        assert changed.optim == plain.optim
        assert changed.trainer == plain.trainer
        build_system(changed)


def test_controls_say_what_is_matched() -> None:
    speedrun = composed("experiment=speedrun")
    problems = composed("experiment=speedrun", "control=path_same_problems")
    tokens = composed("experiment=speedrun", "control=path_same_tokens")
    assert (speedrun.stream.view, speedrun.data.match) == ("full", "seconds")
    assert (problems.stream.view, problems.data.match) == ("solution_path", "problems")
    assert (tokens.stream.view, tokens.data.match) == ("solution_path", "tokens")
    assert problems.data.train_problems == speedrun.data.train_problems


@pytest.mark.parametrize("search", sorted(path.stem for path in (CONF / "search").glob("*.yaml")))
def test_every_search_composes_and_builds(search: str) -> None:
    task = (
        ["experiment=layered"] if search in ("a_star", "branches") else ["stream=sos", "data.context=4096"]
    )  # what goes with costs alone
    assert build_system(composed(*task, f"search={search}")).strategy_names


def test_the_papers_arms_share_everything_but_their_subject() -> None:
    sos, op, compact = (composed(f"experiment=paper/{name}") for name in ("sos", "op", "sos_compact"))
    assert sos.env == op.env == compact.env
    assert sos.data == op.data == compact.data
    assert sos.model == op.model == compact.model
    assert (sos.stream.dialect, sos.stream.view, sos.stream.numbers) == ("sos", "full", "digits")
    assert (op.stream.dialect, op.stream.view) == ("sos", "solution_path")
    assert (compact.stream.dialect, compact.search) == ("compact", sos.search)
    splits = build_system(sos).splits
    assert (len(splits.groups), len(splits.held_out)) == (82, 9)


def test_the_papers_mixture_is_the_twelve_strategies() -> None:
    system = build_system(composed("experiment=paper/sos"))
    assert isinstance(system.strategy, Mixture)
    shares = dict(zip(system.strategy_names, np.diff(system.strategy.bounds, prepend=0.0), strict=True))
    beams = {f"beam_{heuristic}_{width}" for heuristic in ("sum", "mult") for width in range(1, 6)}
    assert set(shares) == beams | {"dfs_sum", "dfs_mult"}
    assert all(share == pytest.approx(0.05 if name in beams else 0.25) for name, share in shares.items())
