"""What a run writes to TensorBoard besides its losses: hyperparameters, the layout of the custom charts, and the final
result.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from sos.envs.config import EnvConfig
from sos.envs.registry import ENVIRONMENTS
from sos.judge.metrics import ANSWERS
from sos.search.config import SearchConfig
from sos.search.keys import StrategyConfig
from sos.search.registry import SEARCHES

if TYPE_CHECKING:  # they take seconds to import
    import lightning as L
    from lightning.pytorch.loggers import TensorBoardLogger

    from sos.config import Config
    from sos.judge.evaluation import Evaluation
    from sos.train.loggers import Loggers

# Charts that hold the curves of all chosen runs: tags are regular expressions.
LAYOUT = {
    "Are the mistakes worth anything?": {
        "solved against training tokens": ["Multiline", ["solve_by_tokens/probe", "solve_by_tokens/val$"]],
        "solved against training tokens, held-out targets": ["Multiline", ["solve_by_tokens/val_target"]],
        "loss against training tokens": ["Multiline", ["loss_by_tokens/all"]],
        "loss against training problems": ["Multiline", ["loss_by_problems/all"]],
    },
    "What is hard to learn?": {
        "loss by kind of event": ["Multiline", ["loss/kind/.*"]],
    },
    "Speed": {
        "tokens per second": ["Multiline", ["throughput/tokens_per_s"]],
        "share of the time that data takes": ["Multiline", ["throughput/data_share"]],
    },
}
OF_HELD_OUT = {
    "loss against training tokens, trained and held out": ["Multiline", ["loss_by_tokens/(all|val|val_target)$"]]
}
OF_PLANS = {"right plans against training tokens": ["Multiline", ["plan_by_tokens/probe", "plan_by_tokens/val$"]]}


def log_start(trainer: L.Trainer, config: Config, arm: str, before: dict[str, Any]) -> None:
    """Write the layout, and the hyperparameters with what the untrained model does, which the final result replaces.

    TensorBoard shows the first few keys by name only: what tells the runs of a sweep apart is repeated as `arm...`.
    """
    first = {"arm": arm or "none", "arm.match": config.data.match, "arm.seed": config.seed}
    first["arm.view"] = config.stream.view
    logger = tensorboard(trainer)
    layout = LAYOUT | ({"Plans": OF_PLANS} if config.stream.plan else {})
    layout |= {"Overfitting": OF_HELD_OUT} if config.trainer.val_every else {}
    logger.experiment.add_custom_scalars(layout)
    logger.log_hyperparams(first | hyperparameters(config) | {"resume": "none"}, before)


def hyperparameters(config: Any, prefix: str = "") -> dict[str, bool | int | float | str]:
    """Return all keys of the schema with dots, each of one type in all runs, those of other environments and searches
    included.

    TensorBoard takes its columns and their types from the first run that it meets. Numbers that may be missing are -1
    then, texts "none"; lists are joined by spaces, and groups whose keys are the user's (such as the members of a
    mixture) are JSON. A key to which they give different types is a text.
    """
    kinds = get_type_hints(type(config))
    result: dict[str, bool | int | float | str] = {}
    for field in dataclasses.fields(config):
        key, value = f"{prefix}{field.name}", getattr(config, field.name)
        if not prefix and isinstance(value, EnvConfig | StrategyConfig):
            result |= _of_all(value, f"{key}.")
        elif dataclasses.is_dataclass(value):
            result |= hyperparameters(value, f"{key}.")
        else:
            result[key] = _one_type(kinds[field.name], value)
    return result


def _of_all(chosen: EnvConfig | StrategyConfig, prefix: str) -> dict[str, bool | int | float | str]:
    """Return the keys of an environment or a search, and those of all others of the package as if they were missing."""
    schemas: list[type] = [environment.schema for environment in ENVIRONMENTS.values()]
    if isinstance(chosen, StrategyConfig):
        schemas = [SearchConfig, *(search.schema for search in SEARCHES.values())]
    result = hyperparameters(chosen, prefix)
    known: dict[str, set[type]] = {key: {type(value)} for key, value in result.items()}
    for schema in schemas:
        if schema is type(chosen):
            continue
        for key, value in hyperparameters(schema(), prefix).items():
            known.setdefault(key, set()).add(type(value))
            result.setdefault(key, _MISSING[type(value)])
    return {key: value if len(known[key]) == 1 else str(value) for key, value in result.items()}


_MISSING: dict[type, bool | int | float | str] = {bool: False, int: -1, float: -1.0, str: "none"}


def _one_type(kind: Any, value: Any) -> bool | int | float | str:
    """Return a value as the type that all values of its key have in TensorBoard."""
    for number in (bool, int, float):
        if number in (kind, *get_args(kind)) and get_origin(kind) not in (list, tuple, dict):
            return number(-1 if value is None else value)
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    if isinstance(value, dict):
        return json.dumps(value, sort_keys=True, default=dataclasses.asdict)
    return "none" if value is None else str(value)


def tensorboard(trainer: L.Trainer) -> TensorBoardLogger | Loggers:
    """Return the run's logger, whose `experiment` takes what TensorBoard's writer takes."""
    logger: Any = trainer.logger
    assert logger is not None
    return logger


def log_evaluation(trainer: L.Trainer, evaluation: Evaluation, tokens: int, view: str) -> None:
    """Write the result to the loggers: to TensorBoard as columns beside the hyperparameters, texts and a figure.

    A chart of one point says nothing: of the final metrics only the rates of right answers are scalars there, those of
    the hyperparameters' table and the last points of the curves against tokens. All of them are the text `result`.
    """
    from sos.analysis.figures import budget_panels_figure
    from sos.train.loggers import others

    logger = tensorboard(trainer)
    values = {key: metric.value for key, metric in evaluation.metrics.items() if metric.value is not None}
    for other in others(logger):
        other.log_metrics(values, step=trainer.global_step)
    writer = logger.experiment
    for key, value in values.items():
        if key.startswith(ANSWERS):
            answer, split = key.split("/")
            writer.add_scalar(f"hp/{key}", value, trainer.global_step)
            writer.add_scalar(f"{answer}_by_tokens/{split}", value, tokens)
    writer.add_text("result/table", f"```text\n{evaluation.table()}\n```", trainer.global_step)
    writer.add_text("result/metrics", _all_metrics(evaluation), trainer.global_step)
    for number, text in enumerate(evaluation.texts):
        writer.add_text(f"rollouts/{number}", text, trainer.global_step)
    panels = {split: {view: curve} for split, curve in evaluation.budget_curve.items()}
    writer.add_figure("budget_curve", budget_panels_figure(panels), trainer.global_step)
    logger.save()
    writer.flush()


def _all_metrics(evaluation: Evaluation) -> str:
    """Return every metric with its interval as a Markdown table."""
    rows = ["| metric | value | low | high | of |", "| --- | ---: | ---: | ---: | ---: |"]
    for key, metric in sorted(evaluation.metrics.items()):
        numbers = ("" if number is None else f"{number:.6g}" for number in metric[:3])
        rows.append(f"| {key} | {' | '.join(numbers)} | {metric.num} |")
    return "\n".join(rows)
