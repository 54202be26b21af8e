"""Checkpoints as Lightning writes and reads them: whole files, and only what was verified."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import ModelParallelStrategy

from sos.files import written_whole


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, and hands out the verified content instead of reading a file again.

    So what is trained on is what was checked, whatever happens to the file meanwhile.
    """

    def __init__(self, verified: dict[str, Any] | None = None) -> None:
        self.verified = verified

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write next to the file and rename. Raises OSError that names the file."""
        # Torch turns a full disk into a RuntimeError, and a file that it cannot close ends the process.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with written_whole(path) as partial, open(partial, "wb") as file:
            file.write(content.getbuffer())

    def load_checkpoint(
        self, path: Any, map_location: Callable[[Any], Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        assert self.verified is not None, f"{path} was not verified"
        return self.verified


class ShardedStrategy(ModelParallelStrategy):
    """FSDP2 with one file for the whole model, which any number of ranks and the evaluation can read."""

    def __init__(self, ranks: int) -> None:
        super().__init__(data_parallel_size=ranks, tensor_parallel_size=1, save_distributed_checkpoint=False)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Load the verified content on every rank. Lightning reads it from a file, which is of this process alone."""
        from lightning.fabric.strategies.model_parallel import _load_checkpoint

        verified = self.checkpoint_io.load_checkpoint(checkpoint_path)
        assert self.lightning_module is not None
        state: dict[str, Any] = {"state_dict": self.model}
        state |= {f"optimizer_{number}": optimizer for number, optimizer in enumerate(self.optimizers)}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / os.path.basename(checkpoint_path)
            torch.save(verified, path)
            return _load_checkpoint(
                path=path,
                state=state,
                strict=self.lightning_module.strict_loading,
                optimizer_states_from_list=True,
                weights_only=True,
            )
