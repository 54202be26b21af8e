"""The registry of environments: whose keys the group `env` has, what is refused, and that general code knows no game."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from places import ROOT

from sos.commands.completion import script
from sos.commands.presets import help_text
from sos.compose import compose
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.data.splits import make_splits
from sos.envs.config import EnvConfig
from sos.envs.countdown.config import CountdownConfig
from sos.envs.countdown.rules import Countdown
from sos.envs.protocol import implemented, needed
from sos.envs.registry import ENVIRONMENTS, recorded_env, register_environment
from sos.errors import UserError
from sos.schema.keys import check_keys, describe_keys, key
from sos.system import build_env


class Toy(NamedTuple):
    """A graph of which only the sizes are needed here."""

    num_nodes: int
    directed: bool

    @property
    def problem_width(self) -> int:
        return 2 + self.num_nodes

    @property
    def groups(self) -> np.ndarray:
        return np.zeros(1, np.int32)


@dataclass
class ToyConfig(EnvConfig):
    """The keys of a toy."""

    name: str = key("toy", "The environment.", choices=("toy",))
    num_nodes: int = key(7, "The nodes.", low=2, high=99)
    directed: bool = key(False, "Edges go one way.")

    def __post_init__(self) -> None:
        check_keys(self, "env")

    def check_run(self, config: Any) -> None:
        if config.data.context < self.num_nodes:
            raise UserError(f"env.num_nodes={self.num_nodes} is too many for data.context={config.data.context}")


@pytest.fixture
def toy() -> Iterator[None]:
    register_environment("toy", ToyConfig, f"{__name__}:Toy")
    yield
    del ENVIRONMENTS["toy"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("words", [["env.name=toy"], ["++env.name=toy"]])
def test_the_name_chooses_the_keys(words: list[str]) -> None:
    config = compose([*words, "env.num_nodes=12", "+env.directed=yes"])
    assert config.env == ToyConfig(num_nodes=12, directed=True)
    assert to_dict(config)["env"] == {"name": "toy", "num_nodes": 12, "directed": True}
    assert config_from_dict(to_dict(config)) == config
    assert config_hash(config) != config_hash(compose(words)) != config_hash(Config())
    assert compose([]).env == CountdownConfig(descending=True)


@pytest.mark.usefixtures("toy")
def test_a_file_in_a_folder_of_the_search_path_chooses_the_keys(tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env/large_toy.yaml").write_text("name: toy\nnum_nodes: 30\n")
    words = [f"hydra.searchpath=[file://{tmp_path}]", "env=large_toy"]
    assert compose(words).env == ToyConfig(num_nodes=30)
    assert compose([*words, "env.num_nodes=31"]).env == ToyConfig(num_nodes=31)
    with pytest.raises(UserError, match=r"env\.max_number is no key of the config"):
        compose([*words, "env.max_number=31"])


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("sign", ["", "+", "++"])
@pytest.mark.parametrize(
    ("words", "name", "instead"),
    [
        (["env.name=toy"], "num_numbers", "num_nodes"),
        (["env.name=toy"], "nodes", "num_nodes"),
        ([], "num_nodes", "num_numbers"),
        (["env=countdown_paper"], "num_node", "num_numbers"),
    ],
)
def test_keys_of_another_environment_are_refused(sign: str, words: list[str], name: str, instead: str) -> None:
    message = rf"^env\.{name} is no key of the config \(did you mean env\.{instead}\?\)$"
    with pytest.raises(UserError, match=message):
        compose([*words, f"{sign}env.{name}=5"])
    plain = {"name": "toy"} if "env.name=toy" in words else {}
    with pytest.raises(UserError, match=message):
        config_from_dict({"env": plain | {name: 5}})


@pytest.mark.usefixtures("toy")
def test_keys_of_a_file_of_another_environment_are_refused() -> None:
    with pytest.raises(UserError, match=r"env\.\w+ is no key of the config"):
        compose(["env=countdown_paper", "env.name=toy"])


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.num_nodes=x"], "env.num_nodes must be a whole number, got 'x'"),
        (["env.num_nodes=1"], "env.num_nodes must be at least 2, got 1"),
        (["env.num_nodes=null"], "env.num_nodes"),
        (["env.num_nodes=???"], "env.num_nodes is missing: say env.num_nodes=..."),
        (["~env.name"], "env.name cannot be removed"),
        (
            ["env.name=chess"],
            "env.name must be one of countdown, path_star, layered, sudoku, maze, sat, sokoban, toy, or MODULE:NAME of one of your "
            "own, got 'chess'",
        ),
        (["env.num_nodes=20", "data.context=16"], "env.num_nodes=20 is too many for data.context=16"),
    ],
)
def test_values_of_a_chosen_environment_are_checked(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        compose(["env.name=toy", *words])
    assert "\n" not in str(caught.value)


def test_an_interpolation_may_name_a_default_of_another_group() -> None:
    assert compose(["env.max_number=${data.block}", "env.max_value=${data.block}"]).env.max_number == 2048


@pytest.mark.usefixtures("toy")
def test_help_and_completion_have_the_keys_of_every_environment() -> None:
    text = help_text("config", Config)
    assert re.search(r"env.num_nodes=7 +With env.name=toy: The nodes\.", text)
    assert text.count("env.name=countdown") == 1
    assert text.count("env.name=toy ") == 0
    assert "env.num_nodes=" in script("bash")
    assert "env.num_numbers=" in script("bash")
    names = [found.name for found in describe_keys(Config, groups={"env": ToyConfig})]
    assert "env.directed" in names
    assert "env.num_numbers" not in names


def test_a_plain_config_without_a_name_is_of_the_default() -> None:
    """As checkpoints hold it."""
    assert config_from_dict({"env": {"num_numbers": 4}}).env == CountdownConfig(num_numbers=4)
    for name in ("chess", 3, None, ["toy"]):
        with pytest.raises(UserError, match=r"env\.name must be"):
            config_from_dict({"env": {"name": name}})


def test_the_default_is_built_with_its_keys() -> None:
    config = config_from_dict({"env": {"num_numbers": 5, "descending": True}})
    assert build_env(config) == Countdown(5, 1, 20, 10, 100, 120, True)


def test_an_environment_is_registered_once_under_its_own_name_and_with_all_kernels() -> None:
    before = dict(ENVIRONMENTS)
    with pytest.raises(ValueError, match="environment countdown is registered already"):
        register_environment("countdown", CountdownConfig, Countdown)
    with pytest.raises(ValueError, match="must derive from EnvConfig and have the name other"):
        register_environment("other", ToyConfig, Countdown)
    with pytest.raises(TypeError, match=r"^Toy lacks .*draw, .*problem_key, .*solvable") as caught:
        register_environment("toy", ToyConfig, Toy)
    assert "groups" not in str(caught.value)
    assert before == ENVIRONMENTS


@pytest.mark.usefixtures("toy")
def test_a_kind_by_name_is_checked_when_it_is_first_needed() -> None:
    with pytest.raises(TypeError, match=r"^Toy lacks "):
        ENVIRONMENTS["toy"].build(ToyConfig())


def test_countdown_implements_what_is_needed() -> None:
    assert {"draw", "successors", "solvable", "root_state"} <= needed() <= implemented(Countdown)
    assert "prepare" not in needed()  # it has a default
    assert implemented(Toy) == set()


def test_a_recorded_environment_tells_the_width_of_its_problems() -> None:
    assert recorded_env({"num_numbers": 4}) == Countdown(4)
    assert recorded_env({"name": "countdown", "num_numbers": 2, "of_an_older_schema": 1}) == Countdown(2)
    with pytest.raises(UserError, match="num_numbers must be a whole number from 2 to 6, got True"):
        recorded_env({"num_numbers": True})


def test_what_a_data_set_recorded_is_checked_before_it_sizes_anything() -> None:
    ToyConfig.check_recorded({"name": "toy", "num_nodes": 5, "of_an_older_schema": 1})
    for value in (1, 10**9, "5", None, [5]):
        with pytest.raises(UserError, match=r"env\.num_nodes must be"):
            ToyConfig.check_recorded({"num_nodes": value})


def test_the_printed_config_has_all_keys_of_its_environment() -> None:
    words = ["env=countdown_paper", "env.max_target=90", "seed=3"]
    command = [sys.executable, "-m", "sos", "train", *words, "--cfg", "job"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120).stdout
    assert yaml.safe_load(printed) == to_dict(compose(words))


def test_one_group_of_problems_is_never_held_out() -> None:
    for fraction in (0.0, 0.12, 1.0):
        splits = make_splits(Toy(5, False), 0.1, fraction)
        assert (len(splits.groups), len(splits.held_out)) == (1, 0)
    two = Countdown(3, min_target=10, max_target=11)
    assert len(make_splits(two, 0.1, 0.01).held_out) == 1
    assert two.groups.tolist() == [10, 11]


# --- the words of a game ---

WORDS = re.compile("countdown|num_numbers|max_target|min_target|max_number|min_number|max_value|operand", re.IGNORECASE)
# The places of that game; no other may say them.
MAY = {
    "envs/countdown": "the game itself",
    "envs/registry.py": "it names the environments of this package",
    "published": "the published experiment is Countdown's",
    "interop/answers": "free text that answers it, in anybody's words",
    "interop/columns.py": "such text as a solution",
    "interop/tasks.py": "which environment such text is of",
}
# The name of an error, which metrics carry: of an action on what its state does not hold, in any environment.
NAME = "OPERAND"


def said(path: Path) -> list[str]:
    """The identifiers and strings of a module that hold a word of a game; comments may."""
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return [
        f"{path}:{t.start[0]}: {t.string[:60]}"
        for t in tokens
        if t.type != tokenize.COMMENT and WORDS.search(t.string.replace(NAME, ""))
    ]


def test_general_rooms_do_not_know_the_words_of_a_game() -> None:
    paths = {path.relative_to(ROOT / "sos").as_posix(): path for path in sorted((ROOT / "sos").rglob("*.py"))}
    excepted: dict[str, list[str]] = {name: [] for name in MAY}
    found, looked = [], 0
    for name, path in paths.items():
        exception = next((place for place in MAY if name == place or name.startswith(f"{place}/")), None)
        words = said(path)
        looked += 1
        if exception is None:
            found += words
        else:
            excepted[exception] += words
    assert looked > 100
    assert found == []
    assert [name for name, words in excepted.items() if not words] == [], "no longer needed"
