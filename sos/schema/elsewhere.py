"""Words of Lightning that are no keys here: what does the same, or why nothing does."""

from __future__ import annotations

_BUDGET = "a run ends when its budget is used, which the learning rate follows to its end"
_DATA = "how much is trained on is data.match with data.train_tokens, data.train_problems or data.train_seconds"
# Key of the Trainer -> what to say here.
TRAINER = {
    "max_time": f"{_BUDGET}; for seconds say data.match=seconds data.train_seconds=60",
    "max_epochs": f"{_BUDGET}; a fixed set of problems is data.num_problems",
    "min_epochs": f"{_BUDGET}; a fixed set of problems is data.num_problems",
    "max_steps": f"{_BUDGET}: {_DATA}",
    "min_steps": f"{_BUDGET}: {_DATA}",
    "limit_train_batches": _DATA,
    "limit_val_batches": "the problems of a look at the held-out loss are trainer.val_problems, those of a look at the "
    "solve rate trainer.probe_problems",
    "limit_test_batches": "the problems of the evaluation are eval.num_problems",
    "limit_predict_batches": "the problems of the evaluation are eval.num_problems",
    "overfit_batches": "say data.num_problems=64 for a fixed set of problems, and trainer.val_every=20 to see it "
    "overfitted",
    "fast_dev_run": "say experiment=smoke, which trains and evaluates in seconds",
    "accumulate_grad_batches": "a step takes all of trainer.batch_tokens at once, and the data go on by such steps; "
    "trainer.devices shares them out",
    "val_check_interval": "the steps between two looks at the held-out loss are trainer.val_every",
    "check_val_every_n_epoch": "there are no epochs; the steps between two looks at the held-out loss are "
    "trainer.val_every",
    "num_sanity_val_steps": "everything is checked before the training starts",
    "gradient_clip_val": "say optim.grad_clip",
    "gradient_clip_algorithm": "optim.grad_clip clips the norm of the gradient",
    "log_every_n_steps": "say trainer.log_every",
    "enable_checkpointing": "a run always has a checkpoint, every trainer.checkpoint_every steps",
    "enable_progress_bar": "the bar is a line now and then where there is no terminal",
    "enable_model_summary": "the log says the number of parameters",
    "default_root_dir": "say hydra.run.dir=FOLDER",
    "deterministic": "a run has the same bits again on a CPU, with any number of threads",
    "benchmark": "shapes never change, and PyTorch chooses its kernels itself",
    "detect_anomaly": "a loss or a weight that is not finite ends the training by itself",
    "reload_dataloaders_every_n_epochs": "there are no epochs; problems never repeat, but with data.num_problems",
    "sync_batchnorm": "the model has no batch norm",
    "use_distributed_sampler": "ranks share out every batch by themselves",
    "logger": "say logger.use=[tensorboard,csv]",
    "callbacks": "the group callbacks is beside trainer, not in it: callbacks.best=solve/probe",
    "plugins": "they are chosen by trainer.strategy and by Slurm",
    "inference_mode": "rollouts always take it",
    "barebones": "say trainer.probe_every=0 trainer.log_every=1000 for a run that does little else than train",
}


_NAMED = "loggers are named, logger.use=[tensorboard,csv,wandb,mlflow]; nothing else is built from a config"
LOGGER = {"_target_": _NAMED, "name": _NAMED, "offline": "wandb is offline unless logger.online=true"}
_CHOSEN = (
    "callbacks are chosen by callbacks.best, callbacks.stop and callbacks.ema; nothing else is built from a config"
)
CALLBACKS = {
    "_target_": _CHOSEN,
    "model_checkpoint": "the last checkpoint is always kept; say callbacks.best=solve/probe for the best one, too",
    "early_stopping": "say callbacks.stop=loss/val callbacks.patience=3",
    "monitor": "say callbacks.best=solve/probe or callbacks.stop=loss/val",
    "mode": "less is better of a loss, more of a rate",
    "weight_averaging": "say callbacks.ema=0.999",
    "learning_rate_monitor": "optim/lr is always logged",
    "lr_monitor": "optim/lr is always logged",
    "rich_progress_bar": "the bar tells what is left of the budget, which Lightning's do not know",
    "model_summary": "the log says the number of parameters",
}
GROUPS = {"trainer": TRAINER, "logger": LOGGER, "callbacks": CALLBACKS}


def elsewhere(name: str) -> str | None:
    """Return what to say instead of a key that the schema lacks, or None where nobody would expect it."""
    group, _, key = name.rpartition(".")
    return GROUPS.get(group, {}).get(key)
