"""What a stage practises, and how."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from sos.data.loader import Ranks
from sos.schema.improve import ImproveConfig
from sos.system import System


class Task(NamedTuple):
    """What is practised, and how."""

    system: System
    options: ImproveConfig
    seed: int
    batch_size: int  # rollouts that are written together
    decoding: Callable[[torch.device], AbstractContextManager[Any]]  # in what the model computes them
    ranks: Ranks = Ranks()  # the processes that make its rounds together
