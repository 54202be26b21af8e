"""What a run writes to TensorBoard besides its losses: hyperparameters, the layout of the custom charts, and the final
result.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from sos.judge.metrics import ANSWERS

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
        "mistakes on val": ["Multiline", ["errors_per_trace/val$", "first_goal_wrong/val$", "error/unfinished/val$"]],
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
    """Return all keys of the schema with dots, each of one type in all runs.

    TensorBoard takes its columns and their types from the first run that it meets. Numbers that may be missing are -1
    then, texts "none"; lists are joined by spaces, and groups whose keys are the user's (such as the members of a
    mixture) are JSON.
    """
    kinds = get_type_hints(type(config))
    result: dict[str, bool | int | float | str] = {}
    for field in dataclasses.fields(config):
        key, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            result |= hyperparameters(value, f"{key}.")
        else:
            result[key] = _one_type(kinds[field.name], value)
    return result


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
    """Write the final metrics, rollouts as text and the budget curve as a figure to TensorBoard."""
    from sos.analysis.figures import budget_panels_figure

    logger = tensorboard(trainer)
    values = {key: metric.value for key, metric in evaluation.metrics.items() if metric.value is not None}
    logger.log_metrics(values, step=trainer.global_step)
    logger.log_metrics(
        {f"hp/{key}": values[key] for key in values if key.startswith(ANSWERS)}, step=trainer.global_step
    )
    writer = logger.experiment
    for key, value in values.items():
        if key.startswith(ANSWERS):
            answer, split = key.split("/")
            writer.add_scalar(f"{answer}_by_tokens/{split}", value, tokens)
    for number, text in enumerate(evaluation.texts):
        writer.add_text(f"rollouts/{number}", text, trainer.global_step)
    panels = {split: {view: curve} for split, curve in evaluation.budget_curve.items()}
    writer.add_figure("budget_curve", budget_panels_figure(panels), trainer.global_step)
    logger.save()
    writer.flush()
