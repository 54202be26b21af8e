"""What a run will do: everything that can be refused about it is refused here, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from sos.config import Config, EvalConfig, to_dict
from sos.data.chunks import Chunk
from sos.data.loader import Budget, Cursor, LengthWarmup, PackedLoader, Ranks, Source, StreamDataModule
from sos.datasets.source import build_source
from sos.errors import UserError
from sos.improve.attempts import check_trees
from sos.improve.critic import Critic
from sos.improve.guided import check_guidance
from sos.improve.loader import PracticeData, RoundCursor, RoundLoader
from sos.improve.objective import objective_of
from sos.improve.rounds import Practice, Task, draw
from sos.improve.teacher import LOOKED_AT, Teacher, check_context
from sos.judge.evaluation import pose_all
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.published.metric import check_game
from sos.runs.checkpoint import LoadedCheckpoint, check_model, config_of, load_checkpoint
from sos.runs.identity import Identity, identity
from sos.runs.provenance import data_hashes, first_block
from sos.runs.resume import check_same_run
from sos.runs.start import load_start, with_shape_of
from sos.schema.improve_words import APA, DISTILLATION
from sos.schema.keys import as_typed
from sos.schema.slot import NEEDED, NONE
from sos.schema.start import find_checkpoint
from sos.system import System, build_system, gpt_config
from sos.train.lit import LitGPT
from sos.train.precision import decoding
from sos.train.state import Cursors

# So many streams tell a slot that stays empty, where this share of them at most has none by chance.
ENOUGH, MOST_DROPPED = 256, 0.9


def check_devices(config: Config) -> None:
    """Raise UserError if this machine has not the GPUs that the config asks for."""
    options = config.trainer
    found = max(CUDAAccelerator.auto_device_count(), int(MPSAccelerator.is_available()))
    if options.accelerator == "gpu" and found < options.devices:
        raise UserError(
            f"trainer.accelerator=gpu with trainer.devices={options.devices}: this machine has {found}; "
            "trainer=cpu needs none"
        )


def check_clock(config: Config) -> None:
    """Raise UserError where a budget of seconds cannot be kept to: ranks have clocks of their own, shards an end."""
    options, data = config.trainer, config.data
    ranks = options.devices * options.num_nodes
    if data.match == "seconds" and data.shards is not None:
        raise UserError(
            f"data.match=seconds can use up more than data.shards={data.shards} holds; "
            "data.match=tokens and data.match=problems go with it"
        )
    if data.match == "seconds" and ranks > 1:
        raise UserError(
            f"data.match=seconds needs one process, trainer.devices={options.devices} and "
            f"trainer.num_nodes={options.num_nodes} make {ranks}"
        )


def check_practice(config: Config) -> None:
    """Raise UserError where rollouts cannot be what is learned from: a process that writes some needs the whole model,
    second attempts are not shared out, and the published metric knows one game.
    """
    options = config.trainer
    ranks = options.devices * options.num_nodes
    if config.improve.on and ranks > 1:
        if options.strategy == "fsdp":
            raise UserError(
                f"improve.loss={config.improve.loss} needs the whole model in each process, trainer.strategy=fsdp "
                "shares it out; trainer.strategy=ddp goes with it"
            )
        if config.improve.second != NONE:
            raise UserError(
                f"improve.second={config.improve.second} needs one process, trainer.devices={options.devices} and "
                f"trainer.num_nodes={options.num_nodes} make {ranks}"
            )
    if config.improve.on and config.improve.reward == "sos_legacy":
        check_game(config.env.name, "improve.reward=sos_legacy")


def check_watched(config: Config, system: System) -> None:
    """Raise UserError where callbacks watch held-out groups that there are not."""
    for name in ("best", "stop"):
        metric = getattr(config.callbacks, name)
        if metric is not None and "target" in metric and not len(system.splits.held_out):
            raise UserError(f"callbacks.{name}={metric}: no group of problems is held out")


def check_contexts(config: Config, system: System) -> None:
    """Raise UserError where the contexts of the evaluation cannot be put before its problems."""
    if any(context != NONE for context in config.eval.context):
        pose_all(system, config.eval, config.eval.splits)


def check_shown(config: Config, system: System, first: Chunk) -> None:
    """Raise UserError for a slot that stays empty: of `ENOUGH` streams none has the context that some should."""
    starts = first.offsets[:-1].astype(np.int64)
    if first.continued is not None:
        starts = starts[~first.continued]
    if config.improve.on or not config.slot.on or config.slot.dropout > MOST_DROPPED or len(starts) < ENOUGH:
        return
    assert system.dialect.slot is not None
    if not (first.tokens[starts + 1] == system.dialect.slot.begin).any():
        needed = " or ".join(NEEDED[kind] for kind in config.slot.kinds if kind in NEEDED)
        raise UserError(
            f"slot.kinds={as_typed(config.slot.kinds)}: none of the first {len(starts)} streams has a context: no "
            f"problem has {needed or 'what it would show'}"
        )


def task_of(config: Config, system: System) -> Task:
    """Return what a stage practises."""
    precision = config.trainer.precision
    return Task(system, config.improve, config.seed, config.eval.batch_size, lambda device: decoding(device, precision))


def check_practised(config: Config, system: System) -> None:
    """Raise UserError where the contexts of a stage cannot be put before its problems."""
    if config.improve.context != NONE:
        few = replace(config.improve, problems=min(LOOKED_AT, config.improve.problems))
        task = task_of(replace(config, improve=few), system)
        check_context(task, draw(task, 0))


def rows_per_batch(config: Config) -> int:
    """Return the rows of one optimizer step over all ranks. Raises UserError if there are fewer than ranks."""
    ranks = config.trainer.devices * config.trainer.num_nodes
    rows = config.trainer.batch_tokens // config.data.context
    if rows < ranks or rows % ranks:
        raise UserError(
            f"trainer.batch_tokens={config.trainer.batch_tokens} gives {rows} rows of "
            f"data.context={config.data.context}, which {ranks} ranks cannot share evenly"
        )
    return rows


def budget_of(config: Config) -> Budget:
    """Return what the training uses up."""
    return Budget(config.data.match, config.data.budget)


def warmup_of(config: Config) -> LengthWarmup:
    """Return how the longest stream grows."""
    return LengthWarmup(config.data.length_warmup, config.data.length_start)


@dataclass(frozen=True)
class Plan:
    """A run that can be made."""

    config: Config
    system: System
    source: Source
    identity: Identity
    rows: int  # of a batch, over all ranks
    gpt: GPTConfig
    data_hashes: dict[str, str]
    resumed: LoadedCheckpoint | None  # what `resume` names
    start: LoadedCheckpoint | None = None  # what `start` names

    @classmethod
    def of(cls, config: Config) -> Plan:
        """Check the config and what it names; nothing is written. Raises UserError that names the key or the file."""
        check_devices(config)
        check_clock(config)
        check_practice(config)
        config.logger.check_installed()
        system = build_system(config)
        check_watched(config, system)
        if config.improve.guided:
            check_guidance(system, "improve.guided=true")
        if config.improve.corrected != NONE:
            check_guidance(system, f"improve.corrected={config.improve.corrected}")
        check_practised(config, system)
        if config.improve.second != NONE:
            check_trees(system, f"improve.second={config.improve.second}")
        start = load_start(config, system)
        config = with_shape_of(config, start)
        rows = 0 if config.improve.on else rows_per_batch(config)
        gpt = gpt_config(config, len(system.dialect.vocab))
        resumed = checked_checkpoint(find_checkpoint(config.resume), config, system) if config.resume else None
        source = build_source(config, system)
        first = first_block(config, source)
        longest = warmup_of(config).longest(config.data.context, 0.0)
        if not len(first.up_to(longest).prompts):
            raise UserError(
                f"{_shortest_key(config, longest)}: no stream of the first {config.data.block} visits fits into it"
            )
        check_shown(config, system, first)
        check_contexts(config, system)
        hashes = data_hashes(config, system, first)
        return cls(config, system, source, identity(config, system), rows, gpt, hashes, resumed, start)

    @property
    def budget(self) -> Budget:
        return budget_of(self.config)

    def probe_eval(self) -> EvalConfig:
        """Return the evaluation of a look at the solve rate in mid-training."""
        options = self.config.trainer
        return replace(
            self.config.eval,
            num_problems=options.probe_problems,
            pass_k=[],
            num_rollout_texts=0,
            legacy=False,
            context=["none"],
            max_seconds=None,
        )

    def loader(self, ranks: Ranks, cursor: Cursor) -> PackedLoader:
        """Return the training batches behind a cursor, as one of several ranks sees them."""
        data = self.config.data
        return PackedLoader(
            self.source,
            self.budget,
            rows_per_batch=self.rows,
            block=data.block,
            prompt_loss=data.prompt_loss,
            warmup=warmup_of(self.config),
            ranks=ranks,
            cursor=cursor,
        )

    def data(self, model: GPT, critic: Critic | None = None) -> StreamDataModule | PracticeData:
        """Return what the model is trained on: written searches, or its own rollouts, valued by a critic."""
        config = self.config
        if not config.improve.on:
            return StreamDataModule(self.loader)
        task = task_of(config, self.system)
        compared = critic is None and config.improve.has_reference
        reference = self.reference() if compared else None

        def loader(ranks: Ranks, cursor: RoundCursor) -> RoundLoader:
            return RoundLoader(Practice(task._replace(ranks=ranks), model, reference, critic, self.reference), cursor)

        return PracticeData(loader)

    @property
    def cursors(self) -> Cursors:
        """Return how a checkpoint of this run says where its training data go on."""
        config = self.config
        if config.improve.on:
            steps = config.improve.steps if config.improve.from_start else None
            return Cursors("PracticeData", RoundCursor, lambda cursor: cursor.complaint(config.improve), steps)
        limits = (self.budget, config.data.block, config.data.context)
        return Cursors("StreamDataModule", Cursor, lambda cursor: cursor.complaint(*limits))

    def reference(self) -> GPT:
        """Return the model that the run begins with, which is not trained."""
        assert self.start is not None
        model = GPT(self.gpt)
        model.load_state_dict(self.start.state_dict)
        return model.requires_grad_(False)

    def model(self) -> LitGPT:
        """Return the model before training: the weights of `start`, or drawn from the run's seed."""
        config = self.config
        record = {
            "config": to_dict(config),
            "vocabulary": self.system.dialect.vocab.to_json(),
            "dialect_hash": self.identity.dialect_hash,
        }
        torch.manual_seed(config.seed)
        lit = LitGPT(self.gpt, config.optim, seed=config.seed, log_every=config.trainer.log_every, record=record)
        if self.start is not None:
            lit.model.load_state_dict(self.start.state_dict)
            lit.start_weights = self.start.state_dict if config.improve.from_start else None
        if config.improve.loss == APA:
            assert self.start is not None
            lit.critic = Critic(self.gpt, config.improve, self.start.state_dict)
        if config.improve.loss == DISTILLATION:
            assert self.start is not None
            lit.teacher = Teacher(self.gpt, config.improve, self.start.state_dict)
        if config.improve.on:
            lit.objective = objective_of(config.improve, config.data.context, lit.critic, lit.teacher)
        return lit


def _shortest_key(config: Config, longest: int) -> str:
    context = f"data.context={config.data.context}"
    whole = longest == config.data.context
    return context if whole else f"{context} and data.length_start={config.data.length_start} ({longest} tokens)"


def checked_checkpoint(path: Path, config: Config, system: System) -> LoadedCheckpoint:
    """Read a checkpoint and check that it is of this run. Raises UserError that names the file and the key."""
    loaded = load_checkpoint(path)
    check_same_run(config, loaded)
    check_model(loaded, config_of(loaded), system)
    return loaded
