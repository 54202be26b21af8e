"""The model card of an export: README.md, with what was measured, how the run was made, and how to use the model."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import yaml

from sos.errors import UserError
from sos.files import read_json
from sos.judge.metrics import Metric, format_metric

if TYPE_CHECKING:
    from sos.model.gpt import GPT
    from sos.runs.checkpoint import LoadedCheckpoint
    from sos.runs.folder import RunFolder
    from sos.system import System

LEFT_OUT = ("error/", "flops", "pass_flops@")  # of the metrics: details

RECIPE = """
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
prompts = ["{prompt}"]
batch = tokenizer(prompts, return_tensors="pt", padding=True)
answers = model.generate(batch["input_ids"], attention_mask=batch["attention_mask"])
print(tokenizer.batch_decode(answers, skip_special_tokens=True)[0])
"""


def card_of(home: RunFolder, loaded: LoadedCheckpoint, model: GPT, system: System) -> str:
    """Return the model card of a checkpoint in the run folder `home`. Raises UserError for a damaged metrics.json."""
    from sos.data.splits import evaluation_problems
    from sos.envs.registry import UNNAMED
    from sos.stream.codec import encode_prompt

    config = loaded.config
    problem = evaluation_problems(system.env, system.splits, "val", 1, seed=0)[0]
    prompt = system.dialect.text(encode_prompt(system.dialect, problem))
    task = config.get("env", {}).get("name", UNNAMED)
    head = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["sos", "stream-of-search", task],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {_line(home.path.resolve().name)}",
        f"A GPT of {model.num_parameters():,} parameters, trained on Stream-of-Search streams of {_line(task)}: it is "
        "given a problem, and writes a whole search for its solution, wrong turns included.",
        "## Use",
        _fenced(RECIPE.format(prompt=_escaped(prompt)).strip(), "python"),
        f"A prompt is the statement of a problem in the dialect `{_line(system.dialect.name)}`; the tokenizer puts "
        "`<bos>` in front, and refuses a word that is no token. A stream ends with `<eos>`. "
        "`sos import FOLDER out=RUN` makes a run of this folder, also when the model was trained on.",
        "## What was measured",
        _measured(home, loaded),
        "## How it was made",
        _made(home),
        _fenced(yaml.safe_dump(config, sort_keys=False).strip(), "yaml"),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(home: RunFolder, loaded: LoadedCheckpoint) -> str:
    """Return the run's metrics as a table, where they are those of this checkpoint."""
    from sos.runs.finished import read_metrics

    if not home.metrics.exists():
        return "Nothing: the run had not come to its end."
    content = read_metrics(home.path)
    steps = loaded.train["steps"]
    if content["train"].get("steps") != steps:
        return f"Nothing: the checkpoint is of step {steps}, the evaluation of the run of another."

    rows = ["| metric | split | value [95% interval] | problems |", "| --- | --- | --- | --- |"]
    for name, entry in content["metrics"].items():
        metric = Metric(*(entry.get(key) for key in Metric._fields))
        what, _, split = name.rpartition("/")
        if not name.startswith(LEFT_OUT):
            rows.append(f"| {_line(what)} | {_line(split)} | {format_metric(name, metric)} | {metric.num} |")
    used = ", ".join(f"{key} {value:,}" for key, value in loaded.train.items())
    return "\n".join(rows) + f"\n\nTrained for: {used}."


def _made(home: RunFolder) -> str:
    """Return the command, the commit and the versions of the run, as far as it recorded them."""
    try:
        found: dict[str, Any] = read_json(home.provenance, missing={})
    except UserError:
        return "Its provenance cannot be read."
    if not found:
        return "No provenance was recorded."
    git = found.get("git") if isinstance(found.get("git"), dict) else {}
    facts = {
        "code_hash": found.get("code_hash"),
        "config_hash": found.get("config_hash"),
        "dialect_hash": found.get("dialect_hash"),
        "commit": git.get("commit"),  # type: ignore[union-attr]
        "versions": found.get("versions"),
        "data_hashes": found.get("data_hashes"),
    }
    command = _fenced(str(found.get("command") or "not recorded"), "bash")
    return command + "\n\n" + _fenced(yaml.safe_dump(facts, sort_keys=False).strip(), "yaml")


def _fenced(text: str, language: str) -> str:
    """Return a block of code that holds any text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _line(text: str) -> str:
    """Return text as it may stand in a line or a cell."""
    return textwrap.shorten(text.replace("`", "'").replace("|", "/"), 120)


def _escaped(text: str) -> str:
    """Return text as it stands between quotes in Python."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
