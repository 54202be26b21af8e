"""One run: build, train, evaluate, record. `train.py` calls `pretrain` with a checked config."""

from __future__ import annotations

import errno
import logging
import math
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.utilities import rank_zero_only

import sos.published  # noqa: F401 (it registers the published metric and split)
from sos.config import Config, TrainerConfig, to_dict
from sos.data.loader import StreamDataModule
from sos.errors import UserError
from sos.files import written_whole
from sos.improve.loader import PracticeData
from sos.judge.evaluation import Evaluation, evaluate, write_metrics
from sos.judge.metrics import ANSWERS, Metric
from sos.model import cpu
from sos.model.cpu import threads
from sos.model.cpu.cores import usable_cores
from sos.model.cpu.watch import obstacle
from sos.model.gpt import GPT
from sos.runs.checkpoint import LoadedCheckpoint
from sos.runs.folder import RunFolder
from sos.runs.provenance import Origin, write_provenance
from sos.train.ahead import compiling_ahead
from sos.train.bars import progress_bars
from sos.train.callbacks import BudgetBar, Checkpoints, Finite, KeepCursor, SolveProbe
from sos.train.lit import LitGPT, gathered
from sos.train.loggers import Loggers, build_logger
from sos.train.plan import Plan, checked_checkpoint
from sos.train.practice import LogRounds, consumed
from sos.train.precision import decoding, set_matmul_precision
from sos.train.saving import ShardedStrategy, WholeCheckpoints
from sos.train.state import training_state
from sos.train.stop import REQUEUE, StopOnSignal, in_slurm, requeue
from sos.train.tensorboard import log_evaluation, log_start
from sos.train.throughput import Throughput
from sos.train.validation import HeldOutLoss, held_out_rows
from sos.train.watching import BEST, KeepBest, StopEarly, watching

log = logging.getLogger(__name__)
PROBED = ("val", "val_target")
# What a user can mend about a disk: no room, no permission, a limit.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped the training; how to continue is the message. Ends a sweep too."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class AlreadyFinished(Exception):
    """The folder holds the result of this very run; how to make it again is the message."""


def is_first_rank() -> bool:
    """Tell whether this process is rank 0, also before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0) == 0


def pretrain(config: Config, folder: Path, origin: Origin, *, again: bool = False) -> Evaluation | None:
    """Train and evaluate one run in `folder`; write `metrics.json`, rollouts, checkpoints and TensorBoard events there.

    What an unfinished attempt at the same run left in `folder` is continued; what another run left is moved aside, and
    with `again` the result of this one, too. Returns what was measured, or None on all ranks but the first. Raises
    UserError for what cannot work, before anything is written, for a training that diverges and for a disk that cannot
    be written; AlreadyFinished; and Interrupted after Ctrl-C.
    """
    set_threads(config.trainer)
    set_matmul_precision(config.trainer)
    home = RunFolder(folder)
    if not is_first_rank():  # the first rank holds the folder
        plan = Plan.of(config)
        return None if home.is_finished(plan.identity) and not again else _run(plan, home, origin)
    with compiling_ahead(config):
        plan = Plan.of(config)
        return _run_as_first(plan, home, origin, again)


def _run_as_first(plan: Plan, home: RunFolder, origin: Origin, again: bool) -> Evaluation | None:
    """Run as the rank that writes."""
    folder = home.path
    with RunFolder.claimed(folder), _told(folder):
        if home.is_finished(plan.identity) and not again:
            raise AlreadyFinished(home.finished_line)
        return _run(plan, home, origin)


def set_threads(options: TrainerConfig) -> None:
    """Have a CPU's work shared out over `trainer.num_threads` threads, or over the cores; beside a GPU, torch's."""
    if options.accelerator == "cpu" or not torch.accelerator.is_available():
        # Threads of torch would spin while they wait, and what they compute depends on their number.
        torch.set_num_threads(1)
        threads.set_num_threads(options.num_threads or max(1, usable_cores() // options.devices))
    elif options.num_threads:
        torch.set_num_threads(options.num_threads)


def threads_line(options: TrainerConfig, model: GPT) -> str:
    """Say how many threads train a model on a CPU."""
    if options.precision == "32-true" and cpu.available(model):
        num = threads.num_threads()
        return (
            f"{num} thread{'s' if num > 1 else ''} on {usable_cores()} physical cores; any number gives the same bits"
        )
    why = obstacle(model) or f"model.kernels={model.config.kernels}, trainer.precision={options.precision}"
    return f"PyTorch trains on one thread, since the kernels do not compute this model: {why}"


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into one line, and record in the folder why the run failed, unless it holds a result."""
    home = RunFolder(folder)
    hook = threading.excepthook

    def quiet(arguments: threading.ExceptHookArgs) -> None:
        # TensorBoard's writer raises the same error where the next event is added.
        if not (isinstance(arguments.exc_value, OSError) and arguments.exc_value.errno in DISK):
            hook(arguments)

    threading.excepthook = quiet
    try:
        yield
    except AlreadyFinished:
        raise
    except Exception as error:
        told = _one_line_of_disk(error, folder)
        if home.is_begun():  # a run that was refused leaves the folder as it was
            home.record_failure(told)
        if told is error:
            raise
        raise told from error
    finally:
        threading.excepthook = hook


def _one_line_of_disk(error: Exception, folder: Path) -> Exception:
    """Return the error for a user where a disk refused to be written, else the error itself."""
    if not isinstance(error, OSError) or error.errno not in DISK:
        return error
    text = str(error.strerror)
    where = error.filename if error.filename else folder
    return UserError(text if text.startswith("cannot write") else f"cannot write {where}: {text}")


@dataclass
class Parts:
    """What a training consists of."""

    lit: LitGPT
    data: StreamDataModule | PracticeData
    stop: StopOnSignal
    throughput: Throughput
    trainer: L.Trainer

    @classmethod
    def of(cls, plan: Plan, home: RunFolder, name: str) -> Parts:
        """Build everything; nothing is written yet."""
        options = plan.config.trainer
        lit = plan.model()
        if options.compile:
            lit.model.compile()
        practises = plan.config.improve.on
        stop = StopOnSignal(options.log_every, "round" if practises else "step")
        finite = Finite(plan.config.optim.lr, home.checkpoint, options.log_every)
        checkpoints = Checkpoints(home.checkpoint, options.checkpoint_every, finite)
        throughput = Throughput(options.log_every, [checkpoints])
        bar = BudgetBar(f"train {name}", options.log_every, [checkpoints])
        looks: list[SolveProbe | HeldOutLoss] = []
        if options.probe_every:
            looks.append(
                SolveProbe(lambda model: _probed_rates(plan, model), options.probe_every, lambda: throughput.seconds)
            )
        if options.val_every:
            rows = max(1, options.batch_tokens // plan.config.data.context)
            looks.append(HeldOutLoss(lambda: held_out_rows(plan.config, plan.system), options.val_every, rows))
        watches = watching(plan.config.callbacks, lit.model, home.checkpoint.with_name(BEST))
        for look in looks:
            throughput.pauses.append(look)
            bar.pauses.append(look)
            look.listeners += [watch.measured for watch in watches if isinstance(watch, KeepBest | StopEarly)]
        # What ends the training stands before what saves it.
        callbacks = [KeepCursor(), finite, throughput, bar, *looks, *watches, stop, checkpoints]
        callbacks += [LogRounds()] if practises else []
        logger = build_logger(plan.config.logger, home.path, name)
        trainer = build_trainer(plan.config, home.path, callbacks, logger)
        return cls(lit, plan.data(lit.model, lit.critic), stop, throughput, trainer)


def build_trainer(config: Config, folder: Path, callbacks: list[L.Callback], logger: Logger) -> L.Trainer:
    """Return the Trainer; its checkpoints write into `folder`."""
    options = config.trainer
    strategy: Any = options.strategy
    if strategy == "fsdp":
        strategy = ShardedStrategy(options.devices * options.num_nodes)
    # Lightning prints an advertisement and warns about the few workers of a loader that is no DataLoader.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore",
        message=".*(many workers|`training_step` returned|isinstance\\(treespec|`srun` command is available|"
        "your dataloader is not resumable).*",
    )
    return L.Trainer(
        accelerator=options.accelerator,
        devices=options.devices,
        num_nodes=options.num_nodes,
        strategy=strategy,
        precision=options.precision,  # type: ignore[arg-type]
        max_epochs=1,
        min_epochs=0,
        gradient_clip_val=config.optim.grad_clip or None,
        logger=logger,
        log_every_n_steps=1,  # LitGPT logs every trainer.log_every steps itself
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        profiler=_profiler(options.profiler, folder),
        use_distributed_sampler=False,
        default_root_dir=folder,
        plugins=[WholeCheckpoints(), *([SLURMEnvironment(auto_requeue=False)] if in_slurm() else [])],
    )


def _profiler(name: str | None, folder: Path) -> Profiler | None:
    """Return Lightning's profiler of that name, which writes `profile-*.txt` into the folder."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return None if name is None else kinds[name](dirpath=folder, filename="profile")


def _probe(plan: Plan, model: GPT) -> dict[str, Any]:
    """Return what the model does on a few problems."""
    splits = [split for split in PROBED if split != "val_target" or len(plan.system.splits.held_out)]
    with decoding(model.device, plan.config.trainer.precision):
        return evaluate(model, plan.system, plan.probe_eval(), splits=splits).metrics


def _probed_rates(plan: Plan, model: GPT) -> dict[str, Any]:
    """Return the rates of right answers on the problems that no training saw, by the name of the answer; of a run that
    practises those on held-out groups, too."""
    found = _probe(plan, model)
    splits = {"val": "", "val_target": "_target"} if plan.config.improve.on else {"val": ""}
    return {
        f"{name}{end}": found[f"{name}/{split}"].value
        for split, end in splits.items()
        for name in ("solve", "plan")
        if f"{name}/{split}" in found
    }


def _run(plan: Plan, home: RunFolder, origin: Origin) -> Evaluation | None:
    unfinished = home.unfinished_checkpoint(plan.identity)
    loaded = plan.resumed if unfinished is None else checked_checkpoint(unfinished, plan.config, plan.system)
    parts = Parts.of(plan, home, origin.name)
    if loaded is not None:
        _continue_from(loaded, plan, parts)
    if is_first_rank():
        _begin(plan, home, origin, loaded, continued=unfinished is not None)
    trainer = parts.trainer
    if trainer.is_global_zero and unfinished is not None:
        log.info("continuing an earlier attempt at this run")
    elif trainer.is_global_zero:
        _log_first(plan, parts, origin)
    try:
        checkpoint = None if loaded is None else loaded.path
        trainer.fit(parts.lit, datamodule=parts.data, ckpt_path=checkpoint, weights_only=True)
        _check_stopped(parts, home)
        # At the end Lightning moves what it has trained to the CPU.
        model = gathered(parts.lit.model.to(trainer.strategy.root_device))
        return _finish(plan, home, origin, parts, model) if trainer.is_global_zero else None
    finally:
        if isinstance(trainer.logger, Loggers):
            trainer.logger.close()


def _continue_from(loaded: LoadedCheckpoint, plan: Plan, parts: Parts) -> None:
    """Have Lightning continue with the checked content of a checkpoint. Raises UserError where it cannot be
    continued.
    """
    state = training_state(loaded, parts.trainer, parts.lit, plan.cursors)
    io = parts.trainer.strategy.checkpoint_io
    assert isinstance(io, WholeCheckpoints)
    io.verified = state


def _begin(plan: Plan, home: RunFolder, origin: Origin, loaded: LoadedCheckpoint | None, *, continued: bool) -> None:
    """Write what the run is made of; what another run left is moved aside before."""
    if not continued:
        home.set_aside(None if loaded is None else loaded.path)
    home.failed.unlink(missing_ok=True)
    with written_whole(home.config) as partial:
        partial.write_text(yaml.safe_dump(to_dict(plan.config), sort_keys=False), encoding="utf-8")
    if not continued:
        write_provenance(home, plan.config, origin, plan.identity, plan.data_hashes)


def _log_first(plan: Plan, parts: Parts, origin: Origin) -> None:
    """Log the sizes, and to TensorBoard what the untrained model does; without probes its rollouts are not made,
    either.
    """
    log.info(
        "%s parameters, %s tokens in the vocabulary, context %s",
        f"{parts.lit.model.num_parameters():,}",
        len(plan.system.dialect.vocab),
        plan.config.data.context,
    )
    for key in plan.config.timed:
        log.info("%s follows the clock: this run cannot be repeated bit by bit", key)
    if parts.trainer.strategy.root_device.type == "cpu":
        log.info(threads_line(plan.config.trainer, parts.lit.model))
    probed = plan.config.trainer.probe_every
    answers = ("solve", "plan") if plan.config.stream.plan else ("solve",)
    found = (
        _probe(plan, parts.lit.model)
        if probed
        else {f"{name}/{split}": Metric(math.nan, None, None, 0) for name in answers for split in PROBED}
    )
    before = {f"hp/{key}": metric.value for key, metric in found.items() if key.startswith(ANSWERS)}
    log_start(parts.trainer, plan.config, str((origin.sweep or {}).get("arm") or ""), before)


def _check_stopped(parts: Parts, home: RunFolder) -> None:
    """End the process where a signal ended the training."""
    trainer, number = parts.trainer, parts.stop.stopped_by
    if number == REQUEUE:
        if trainer.is_global_zero:
            log.info("signal %d: saved at step %d, asking Slurm to run this job again", REQUEUE, trainer.global_step)
            requeue()
        sys.exit(-1)  # no result: submitit waits for the next attempt
    if number:
        raise Interrupted(f"continue with: resume={home.checkpoint}", number)


def _finish(plan: Plan, home: RunFolder, origin: Origin, parts: Parts, model: GPT) -> Evaluation:
    """Evaluate the trained model and write the result."""
    config, cursor, trainer = plan.config, parts.data.cursor, parts.trainer
    update, close = progress_bars()
    with decoding(model.device, config.trainer.precision):
        evaluation = evaluate(model, plan.system, config.eval, progress=update)
    close()
    train = {
        **consumed(cursor),
        "steps": trainer.global_step,
        "seconds": parts.throughput.seconds,
        "data_seconds": cursor.data_seconds,
        "parameters": model.num_parameters(),
        "flops": float(model.flops_per_token()) * cursor.tokens,
        **parts.throughput.summary(),
    }
    log_evaluation(trainer, evaluation, cursor.tokens, config.stream.view)
    write_metrics(
        home.path,
        name=origin.name,
        overrides=origin.overrides,
        config=to_dict(config),
        config_hash=plan.identity.config_hash,
        code_hash=plan.identity.code_hash,
        train=train,
        evaluation=evaluation,
    )
    return evaluation
