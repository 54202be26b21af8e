"""Schemas: one default for every key, a range for every number, a sentence for each, and nothing from files is resolved."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest
from places import CONF

from sos.compose import compose, to_object
from sos.config import Config, config_from_dict, config_hash, to_dict
from sos.errors import UserError
from sos.schema import stream as schema
from sos.schema.keys import describe_keys, hints, nested, path_keys
from sos.search.config import BuiltInConfig
from sos.stream.views import VIEWS
from sos.system import build_env, build_strategy, gpt_config


def fields(schema: type, prefix: str = "") -> list[tuple[str, dataclasses.Field, Any]]:
    """(dotted name, field, type) of every key, those of a mixture's strategies left out."""
    found = []
    for field in dataclasses.fields(schema):
        hint = hints(schema)[field.name]
        if nested(hint) is hint:
            found += fields(hint, f"{prefix}{field.name}.")
        else:
            found.append((prefix + field.name, field, hint))
    return found


KEYS = fields(Config)
NUMBERS = [name for name, _, hint in KEYS if hint in (int, float, int | None, list[int])]


def changed(name: str, value: Any) -> dict[str, Any]:
    """The default config, with one key changed."""
    values = to_dict(Config())
    group, _, key = name.rpartition(".")
    (values[group] if group else values)[key] = value
    return values


@pytest.mark.parametrize("name", sorted(path_keys(Config)))
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_path_is_refused_by_its_key(name: str, value: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(name)}={value} is empty, and must be a path"):
        config_from_dict(changed(name, value))


def test_the_schemas_are_the_default_run() -> None:
    assert compose([]) == Config()
    assert config_hash(compose([])) == config_hash(Config())


def test_every_key_has_a_sentence_and_every_number_a_range() -> None:
    assert len(KEYS) > 60
    for name, field, _ in KEYS:
        sentence = field.metadata["sentence"]
        assert sentence[0].isupper() or sentence.startswith(("dfs", "target", "1 ")), name
        assert sentence.endswith("."), name
        if name in NUMBERS and field.metadata["choices"] is None:
            limits = [field.metadata[side] for side in ("low", "above")], [field.metadata[s] for s in ("high", "below")]
            assert all(any(limit is not None for limit in side) for side in limits), name
    assert [key.name for key in describe_keys(Config)] == [name for name, _, _ in KEYS]


def test_the_views_of_the_schema_are_those_of_the_streams() -> None:
    assert schema.VIEWS == VIEWS


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_refused_by_name_or_taken(name: str) -> None:
    refused = 0
    values = [math.inf, -math.inf, math.nan, 10**20, 2**64, 10**400, 1e308, -1e308, -1, -1e-9, 5e-324, 0, "1", True, {}]
    for value in values:
        value = [value] if name == "eval.pass_k" else value
        try:
            config_from_dict(changed(name, value))
        except UserError as error:
            said = str(error)
        else:
            continue
        assert name.rpartition(".")[2] in said, (name, value)
        assert "\n" not in said
        refused += 1
    assert refused >= 10  # no key takes an infinite or a huge number, a text, a truth value or a group


@pytest.mark.parametrize("name", [name for name, _, hint in KEYS if hint is str or hint is bool])
def test_texts_and_switches_are_refused_by_name(name: str) -> None:
    for value in (17, None, [], {}, "\0"):
        with pytest.raises(UserError, match=name):
            config_from_dict(changed(name, value))


def test_values_of_files_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hidden")
    for name in ("data.shards", "stream.dialect", "resume"):
        config = config_from_dict(changed(name, "${oc.env:SECRET}"))
        assert "hidden" not in str(to_dict(config))
        assert "${oc.env:SECRET}" in str(to_dict(config))


@pytest.mark.parametrize(
    "values", [{"sead": 1}, {"env": {"max_numbre": 1}}, {"search": {"strategies": {"a": {"b": 1}}}}]
)
def test_unknown_keys_of_files_are_named(values: dict) -> None:
    with pytest.raises(UserError, match="is no key of the config"):
        config_from_dict(values)
    with pytest.raises(UserError, match="must hold keys"):
        config_from_dict({"env": 3})


def test_a_config_survives_its_plain_form() -> None:
    for words in ([], ["search=paper_mixture"], ["experiment=speedrun", "control=dose_25"]):
        config = compose(words)
        assert config_from_dict(to_dict(config)) == config


def test_the_models_shape_comes_from_the_config_alone() -> None:
    config = compose(["model.qk_norm=false"])
    shape = dataclasses.asdict(gpt_config(config, 50))
    assert shape == to_dict(config)["model"] | {"vocab_size": 50, "context": config.data.context}


OTHER: dict[str, Any] = {
    "heuristic": "size", "threshold": "target", "skip_seen": False, "announce_leaves": True, "width": 7,
    "visit_leaves": True, "shuffle": True, "depth_weight": 0.5, "look_ahead": 1, "skip_out_of_range": True,
    "bound": 200, "max_nodes": 99,
}  # fmt: skip


@pytest.mark.parametrize("name", ["dfs", "beam", "best_first", "widening"])
def test_no_key_of_a_search_is_ignored(name: str) -> None:
    """Each changes the strategy that is built, or is refused, as a search's own key and as that of a mixture's part."""
    env = build_env(Config())
    plain = build_strategy(config_from_dict({"search": {"name": name}}).search, env)
    keys = [field.name for field in dataclasses.fields(BuiltInConfig) if field.name != "name"]
    assert set(keys) == set(OTHER)
    used = 0
    for key in keys:
        options = {"name": name, key: OTHER[key]}
        for values in (options, {"name": "mixture", "strategies": {"a": options}}):
            try:
                config = config_from_dict({"search": values})
            except UserError as error:
                said = str(error)
            else:
                said = ""
            if said:
                assert key in said or "strategies.a.name" in said, key
            elif values is options:
                assert build_strategy(config.search, env) != plain, key
                used += 1
    assert 4 < used < len(keys)


def test_a_mixture_has_no_use_for_the_keys_of_one_search() -> None:
    for key, value in OTHER.items():
        with pytest.raises(UserError, match=f"search.{key}={str(value).lower()} has no use with search.name=mixture"):
            config_from_dict({"search": {"name": "mixture", "strategies": {"a": {}}, key: value}})


def test_no_file_of_conf_repeats_a_default_but_the_names() -> None:
    import yaml

    looked = 0
    for group in ("env", "search", "stream", "data", "model", "optim", "trainer", "eval"):
        defaults = {name.removeprefix(f"{group}."): field.default for name, field, _ in KEYS if name.startswith(group)}
        for path in (CONF / group).glob("*.yaml"):
            for key, value in yaml.safe_load(path.read_text()).items():
                looked += 1
                shape = (
                    "name",
                    "dialect",
                    "numbers",
                    "match",
                    "splits",
                    "accelerator",
                    "num_layers",
                    "num_heads",
                    "width",
                )
                assert key in shape or defaults.get(key) != value, (path, key)
    assert looked > 50


def test_to_object_names_what_is_missing() -> None:
    from omegaconf import OmegaConf

    composed = OmegaConf.structured(Config)
    composed.seed = "???"
    with pytest.raises(UserError, match="seed is missing"):
        to_object(composed)
