"""One run: build, train, evaluate, record. `train.py` calls `pretrain` with a checked config."""

from __future__ import annotations

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from sos.config import Config, to_dict
from sos.data.loader import StreamDataModule
from sos.datasets.source import build_source
from sos.errors import UserError
from sos.judge.evaluation import Evaluation, evaluate, write_metrics
from sos.model.gpt import GPT
from sos.runs.checkpoint import load_checkpoint, load_model
from sos.runs.folder import LAST, RunFolder
from sos.runs.identity import identity
from sos.runs.provenance import Origin, write_provenance
from sos.system import System, build_system, gpt_config
from sos.train.callbacks import BudgetBar, Checkpoints, KeepCursor, SolveProbe
from sos.train.lit import LitGPT, gathered
from sos.train.precision import decoding, set_matmul_precision
from sos.train.stop import REQUEUE, StopOnSignal, in_slurm, requeue
from sos.train.tensorboard import flatten, log_evaluation, log_start
from sos.train.throughput import Throughput

log = logging.getLogger(__name__)
PROBED = ("val", "val_target")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped the training; how to continue is the message. Ends a sweep too."""


def is_first_rank() -> bool:
    """Tell whether this process is rank 0, also before there is a trainer."""
    return getattr(rank_zero_only, "rank", 0) == 0


def find_checkpoint(path: str | Path) -> Path:
    """Return the checkpoint of a run folder, or the path itself if it is one. Raises ValueError where there is none."""
    path = Path(path)
    candidates = [path, path / LAST, RunFolder(path).checkpoint] if path.is_dir() else [path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(f"resume={path}: no checkpoint there")


def progress_bars() -> tuple[Callable[[str, int, int], None], Callable[[], None]]:
    """Return (update, close): one bar per phase of an evaluation."""
    bars: dict[str, tqdm] = {}

    def close() -> None:
        for bar in bars.values():
            bar.close()

    def update(phase: str, done: int, total: int) -> None:
        if phase not in bars:
            close()
            bars[phase] = tqdm(total=total, desc=phase, unit="problems", leave=False)
        bars[phase].update(done - bars[phase].n)

    return update, close


def build_trainer(config: Config, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
    """Return the Trainer; its loggers and checkpoints write into `folder`."""
    options = config.trainer
    strategy: Any = options.strategy
    if strategy == "fsdp":
        from lightning.pytorch.strategies import ModelParallelStrategy

        ranks = options.devices * options.num_nodes
        # One file with the whole model, which any number of ranks and `sos.commands.evaluate` can read.
        strategy = ModelParallelStrategy(
            data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
    logger = TensorBoardLogger(save_dir=folder, name="", version="", default_hp_metric=False)
    # Lightning prints an advertisement and warns about the few workers of a loader that is no DataLoader.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings(
        "ignore",
        message=".*(many workers|`training_step` returned|isinstance\\(treespec|`srun` command is available).*",
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
        use_distributed_sampler=False,
        default_root_dir=folder,
        plugins=[SLURMEnvironment(auto_requeue=False)] if in_slurm() else [],
    )


def check_devices(config: Config) -> None:
    """Raise ValueError if this machine has not the GPUs that the config asks for."""
    options = config.trainer
    found = max(CUDAAccelerator.auto_device_count(), int(MPSAccelerator.is_available()))
    if options.accelerator == "gpu" and found < options.devices:
        raise UserError(
            f"trainer.accelerator=gpu with trainer.devices={options.devices}: this machine has {found}; trainer=cpu needs none"
        )


def rows_per_batch(config: Config) -> int:
    """Return the rows of one optimizer step over all ranks. Raises ValueError if there are fewer than ranks."""
    ranks = config.trainer.devices * config.trainer.num_nodes
    rows = config.trainer.batch_tokens // config.data.context
    if rows < ranks or rows % ranks:
        raise UserError(
            f"trainer.batch_tokens={config.trainer.batch_tokens} gives {rows} rows of data.context={config.data.context}, "
            f"which {ranks} ranks cannot share evenly"
        )
    return rows


def pretrain(config: Config, folder: Path, origin: Origin) -> Evaluation | None:
    """Train and evaluate one run in `folder`; write `metrics.json`, rollouts, checkpoints and TensorBoard events there.

    What an unfinished attempt at the same run left in `folder` is continued; what another run left is moved aside. Returns
    what was measured, or None on all ranks but the first. Raises ValueError for what cannot work, before any training, and
    Interrupted after Ctrl-C.
    """
    if not is_first_rank():  # the first rank holds the folder
        return _pretrain(config, folder, origin)
    with RunFolder.claimed(folder):
        return _pretrain(config, folder, origin)


def _pretrain(config: Config, folder: Path, origin: Origin) -> Evaluation | None:
    if config.trainer.num_threads:
        torch.set_num_threads(config.trainer.num_threads)
    set_matmul_precision(config.trainer)
    check_devices(config)
    system = build_system(config)
    rows = rows_per_batch(config)
    home, this = RunFolder(folder), identity(config, system)
    checkpoint = home.unfinished_checkpoint(this)
    begun = checkpoint is not None
    if checkpoint is None and config.resume:
        checkpoint = find_checkpoint(config.resume)
    vocabulary = system.dialect.vocab.to_json()
    torch.manual_seed(config.seed)
    record = {"config": to_dict(config), "vocabulary": vocabulary}
    lit = LitGPT(
        gpt_config(config, len(system.dialect.vocab)),
        config.optim,
        seed=config.seed,
        log_every=config.trainer.log_every,
        record=record,
    )
    if checkpoint is not None:
        check_resume(config, system, checkpoint)
    source = build_source(config, system)
    if is_first_rank() and not begun:
        home.set_aside(checkpoint)
        write_provenance(home, config, origin, system, source)
    if config.trainer.compile:
        lit.model.compile()
    data = StreamDataModule(
        source,
        rows_per_batch=rows,
        block=config.data.block,
        prompt_loss=config.data.prompt_loss,
        match=config.data.match,
        amount=config.data.train_tokens if config.data.match == "tokens" else config.data.train_problems,
        length_warmup=config.data.length_warmup,
        length_start=config.data.length_start,
    )
    stop = StopOnSignal(config.trainer.log_every)
    checkpoints = Checkpoints(home.checkpoint, config.trainer.checkpoint_every)
    throughput = Throughput(config.trainer.log_every, [checkpoints])
    callbacks: list[L.Callback] = [
        KeepCursor(),
        throughput,
        BudgetBar(f"train {origin.name}", config.trainer.log_every),
        stop,
        checkpoints,
    ]
    probe_config = to_dict(config)["eval"] | {
        "num_problems": config.trainer.probe_problems,
        "pass_k": [],
        "num_rollout_texts": 0,
        "legacy": False,
    }
    probe_eval = type(config.eval)(**probe_config)

    def solve(model: GPT) -> dict[str, Any]:
        with decoding(model.device, config.trainer.precision):
            return evaluate(model, system, probe_eval, splits=PROBED).metrics

    if config.trainer.probe_every:
        probe = SolveProbe(lambda model: solve(model)["solve/val"]["value"], config.trainer.probe_every)
        throughput.pauses.append(probe)
        callbacks.append(probe)
    trainer = build_trainer(config, folder, callbacks)
    if begun and trainer.is_global_zero:
        log.info("continuing an earlier attempt at this run")
    elif trainer.is_global_zero:
        log.info(
            "%s parameters, %s tokens in the vocabulary, context %s",
            f"{lit.model.num_parameters():,}",
            len(system.dialect.vocab),
            system.context,
        )
        # Without probes the untrained model is not asked either: its rollouts use up the whole context.
        found = (
            solve(lit.model)
            if config.trainer.probe_every
            else {f"solve/{split}": {"value": math.nan} for split in PROBED}
        )
        before = {f"hp/{key}": value["value"] for key, value in found.items() if key.startswith("solve/")}
        log_start(trainer, to_dict(config), str((origin.sweep or {}).get("arm") or ""), before)
    started = time.perf_counter()
    trainer.fit(lit, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    seconds = time.perf_counter() - started
    if stop.stopped_by == REQUEUE:
        if trainer.is_global_zero:
            log.info("signal %d: saved at step %d, asking Slurm to run this job again", REQUEUE, trainer.global_step)
            requeue()
        sys.exit(-1)  # no result: submitit waits for the next attempt
    if stop.stopped_by:
        raise Interrupted(f"continue with: resume={home.checkpoint}")
    # At the end Lightning moves what it has trained to the CPU.
    model = gathered(lit.model.to(trainer.strategy.root_device))
    if not trainer.is_global_zero:
        return None
    update, close = progress_bars()
    with decoding(model.device, config.trainer.precision):
        evaluation = evaluate(model, system, config.eval, progress=update)
    close()
    train = {
        "tokens": data.cursor.tokens,
        "problems": data.cursor.streams,
        "dropped": data.cursor.dropped,
        "steps": trainer.global_step,
        "seconds": seconds,
        "data_seconds": data.cursor.data_seconds,
        "parameters": model.num_parameters(),
        "flops": float(model.flops_per_token()) * data.cursor.tokens,
        **throughput.summary(),
    }
    evaluation.write(folder)
    log_evaluation(trainer, evaluation, data.cursor.tokens, config.stream.view)
    write_metrics(
        folder,
        name=origin.name,
        overrides=origin.overrides,
        seed=config.seed,
        config=to_dict(config),
        config_hash=this.config_hash,
        code_hash=this.code_hash,
        train=train,
        evaluation=evaluation,
    )
    return evaluation


def check_resume(config: Config, system: System, checkpoint: Path) -> None:
    """Refuse a checkpoint that is damaged or of another run. Raises ValueError that names the file and the key."""
    loaded = load_checkpoint(checkpoint)
    old, new = flatten(loaded.config), flatten(to_dict(config))
    free = ("resume", "eval.", "trainer.", "data.shards")
    for key in sorted(old.keys() | new.keys()):
        if not key.startswith(free) and old.get(key) != new.get(key):
            raise UserError(
                f"resume={checkpoint}: it was trained with {key}={old.get(key)}, this run has {key}={new.get(key)}"
            )
    if old["trainer.batch_tokens"] != new["trainer.batch_tokens"]:
        raise UserError(f"resume={checkpoint}: it was trained with trainer.batch_tokens={old['trainer.batch_tokens']}")
    load_model(loaded, system)
