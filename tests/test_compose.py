"""Words of the command line: unknown keys, keys without use, and random overrides end in a system or in one line."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from omegaconf import OmegaConf

from sos.compose import combinations, compose, no_such_key, plainly
from sos.config import BuiltInConfig, Config, StrategyConfig, TrainerConfig
from sos.envs.path_star.config import PathStarConfig
from sos.errors import UserError
from sos.schema.elsewhere import TRAINER
from sos.schema.keys import describe_keys, hints, nested


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+nonsense=1", "nonsense is no key of the config"),
        ("experiment=null", "a group of the config takes a name, not null"),
        ("+optim.learning_rate=0.1", r"optim.learning_rate is no key of the config .did you mean optim.lr\?."),
        ("optim.learning_rate=0.1", r"optim.learning_rate is no key of the config .did you mean optim.lr\?."),
        ("++trainer.devcies=4", r"trainer.devcies is no key of the config .did you mean trainer.devices\?."),
        ("+trainer.max_time=60", "trainer.max_time is no key of the config"),
        ("+env.max_numbers=5", r"did you mean env.max_number\?"),
        ("optimm=muon", r"optimm is no key of the config .did you mean optim\?."),
        ("~optim.lr", "optim.lr"),
    ],
)
def test_a_key_that_the_schema_lacks_is_named_with_the_nearest(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compose([word])
    assert "\n" not in str(caught.value)
    assert " +" not in str(caught.value), "never advise the sign that hides a typo"


def test_every_word_of_lightnings_trainer_is_a_key_or_said_where_it_is_not() -> None:
    import inspect

    from lightning import Trainer

    words = set(inspect.signature(Trainer).parameters) | {"min_steps", "max_time", "accumulate_grad_batches"}
    words -= {"model_registry", "enable_autolog_hparams"}  # of Lightning's own services
    keys = {field.name for field in dataclasses.fields(TrainerConfig)}
    assert not keys & TRAINER.keys()
    assert words <= keys | TRAINER.keys()
    for word, said in TRAINER.items():
        assert str(no_such_key(f"trainer.{word}")) == f"trainer.{word} is no key of the config: {said}"
    with pytest.raises(UserError, match=f"^trainer.fast_dev_run is no key of the config: {TRAINER['fast_dev_run']}$"):
        compose(["+trainer.fast_dev_run=true"])
    assert len(TRAINER) > 25


def test_what_is_said_in_place_of_a_word_is_a_key() -> None:
    known = {key.name for key in describe_keys(Config)} | {"trainer", "callbacks", "hydra.run.dir"}
    named = [name for said in TRAINER.values() for name in re.findall(r"\b(?:[a-z]+\.)+[a-z_]+", said)]
    assert len(named) > 15
    assert set(named) - known <= {"logger.use", "callbacks.best"}


SCHEMAS = {"all": Config, "path_star": PathStarConfig, "a member": BuiltInConfig}
# Values of another type.
WRONG: dict[Any, list[Any]] = {
    str: [{"a": 1}, ["a"]],
    int: ["word", [1]],
    float: ["word", [1]],
    bool: ["maybe", [True]],
    int | None: ["word"],
    list[str]: ["word", 3, [None]],
    list[int]: ["word", 3, ["word"]],
    dict[str, float]: [3, {"a": "word"}],
    dict[str, StrategyConfig]: [3, {"a": 3}],
}


def leaves(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a schema with its type."""
    for name, hint in ((field.name, hints(schema)[field.name]) for field in dataclasses.fields(schema)):
        if nested(hint) is hint:
            yield from leaves(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_value_of_another_type_is_one_line_for_every_key(schema: type) -> None:
    keys = dict(leaves(schema))
    node: Any = OmegaConf.structured(schema)
    seen = 0
    for name, hint in keys.items():
        for value in [*WRONG.get(hint, []), *([] if type(None) in get_args(hint) else [None])]:
            said = rf"^{re.escape(name)}(\[0\]|\.a)? must be [^;]*, got [^;]*$"
            with pytest.raises(UserError, match=said) as caught, plainly():
                OmegaConf.update(node, name, value)
            assert str(caught.value).endswith(("null", "3", "]", "}", "'word'", "'maybe'")), value
            assert "\n" not in str(caught.value)
            seen += 1
    assert seen > 2 * len(keys) - 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stream.view=null"], "stream.view must be a text, got null"),
        (["eval.splits=val"], "eval.splits must be a list of texts, such as [val], got 'val'"),
        (["eval.pass_k={a:1}"], "eval.pass_k must be a list of whole numbers, got {'a': 1}"),
        (["eval.splits=[[a]]"], "eval.splits must be a list of texts, got [[a]]"),
        (["env=path_star", "env.num_arms=null"], "env.num_arms must be a whole number, got null"),
        (["search.weights=null"], "search.weights must be keys with values, got null"),
        (["+search.strategies.a.width=x"], "search.strategies.a.width must be a whole number, got 'x'"),
        (["stream=[3]"], "stream=[3]: a group of the config takes a name, not 3"),
    ],
)
def test_what_hydra_is_given_is_said_in_the_same_words(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        compose(words)


@pytest.mark.parametrize(
    "words",
    [
        ["search=beam", "search.look_ahead=2"],
        ["stream.dose=0.3"],
        ["optim=adamw", "optim.momentum=0.9"],
        ["optim.schedule=constant", "optim.final_lr=0.1"],
        ["data.train_problems=500"],
        ["data.match=problems", "data.train_tokens=500"],
        ["search.bound=200"],
        ["data.length_start=0.5"],
        ["trainer.probe_every=0", "trainer.probe_problems=5"],
        ["eval.pass_k=[]", "eval.temperature=2"],
        ["eval.pass_k=[]", "eval.pass_k_problems=7"],
        ["stream=sos", "stream.whole_max=99"],
    ],
)
def test_a_key_without_use_is_refused(words: list[str]) -> None:
    key = words[-1].partition("=")[0]
    with pytest.raises(UserError, match=f"^{key}=.*(has no use with|needs)"):
        compose(words)


def test_presets_may_hold_values_for_several_modes() -> None:
    words = ["experiment=smoke", "data.train_tokens=8000", "trainer.probe_every=0", "eval.pass_k=[]"]
    assert compose(words).data.train_problems == 300
    assert compose([*words[:1], "data.match=problems"]).data.match == "problems"


def test_groups_may_be_chosen_with_a_plus() -> None:
    assert compose(["+sweep=view"]) == compose([])


@pytest.mark.parametrize("path", ["outputs/a=1,b=2", "with space", "it's"])
def test_paths_need_no_quotes(path: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / path).mkdir(parents=True)
    assert compose([f"resume={path}", f"data.shards={path}"]).resume == path
    assert [words for words, _ in combinations([f"resume={path}", "seed=1,2"])][1][1] == "seed=2"


def test_random_overrides_end_in_a_system_or_in_one_line() -> None:
    from bench.fuzz_overrides import fuzz

    counts = fuzz(40, seed=7)
    assert counts["failed"] == 0, counts
    assert counts["built"] + counts["refused"] == 40
    assert min(counts["built"], counts["refused"]) > 3, counts
