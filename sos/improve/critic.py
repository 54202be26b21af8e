"""What a stage of advantage-induced policy alignment trains and keeps beside its model: values, and a reference.

The value of a token is what reward is still to be expected before it is written: read from the residual stream at the
position that predicts the token, by one linear map, which begins as 0. The stream is the model's own, so that values
train the model too, or that of a network of its own, which begins as the start (kanishkg/RLHF-APA has the latter).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sos.improve.losses_apa import AdaptiveKL
from sos.model.gpt import GPT
from sos.model.shape import GPTConfig
from sos.schema.improve import ImproveConfig


class Critic(nn.Module):
    """Values of tokens, the reference policy, and how much the divergence from it costs. All of it is in `state_dict`.

    `kl_weight` is the weight of the next round, and `rewards` are the mean rewards of the rounds since the reference
    was set or found to be no plateau, at most two times `improve.plateau`.
    """

    def __init__(self, config: GPTConfig, options: ImproveConfig, start: dict[str, Tensor]) -> None:
        super().__init__()
        self.options = options
        self.trunk = GPT(config) if options.value == "network" else None
        if self.trunk is not None:
            self.trunk.load_state_dict(start)
            if not config.tie_embeddings:
                self.trunk.head.requires_grad_(False)  # nothing is predicted with it
        self.head = nn.Linear(config.width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.reference: GPT | None = None
        if options.has_reference:
            self.reference = GPT(config).requires_grad_(False)
            self.reference.load_state_dict(start)
        self.kl_weight = options.kl_weight
        self.rewards: list[float] = []

    @property
    def blocks(self) -> nn.Module:
        """The blocks whose matrices are trained."""
        return nn.ModuleList() if self.trunk is None else self.trunk.blocks

    def forward(self, model: GPT, batch: dict[str, Any]) -> Tensor:
        """Return the value at each position of packed rows, (B, C)."""
        trunk = model if self.trunk is None else self.trunk
        hidden_BCW = trunk.hidden(batch["tokens"], batch["positions"], batch["doc_ids"])
        values_BC: Tensor = self.head(hidden_BCW)[..., 0]
        return values_BC

    def note(self, model: GPT, reward: float, kl: float, num: int) -> bool:
        """Note the mean reward of a round of `num` rollouts, and its divergence from the reference, for the next one.

        Returns whether the reference became the model, as it is now.
        """
        options = self.options
        if options.kl_target is not None:
            self.kl_weight = AdaptiveKL(self.kl_weight, options.kl_target, options.kl_horizon).update(kl, num)
        if options.plateau is None:
            return False
        assert self.reference is not None
        self.rewards.append(reward)
        if len(self.rewards) < 2 * options.plateau:
            return False
        before, after = self.rewards[: options.plateau], self.rewards[options.plateau :]
        if np.mean(after) > np.mean(before):
            self.rewards = after
            return False
        self.rewards = []
        self.reference.load_state_dict(model.state_dict())
        return True

    def get_extra_state(self) -> Tensor:
        """Return the numbers beside the weights, float64 (2 + 2 plateau,): weight, number of rewards, rewards."""
        size = 2 * (self.options.plateau or 0)
        padded = [*self.rewards, *[0.0] * (size - len(self.rewards))]
        return torch.tensor([self.kl_weight, float(len(self.rewards)), *padded], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take what `get_extra_state` returned."""
        weight, num, *rewards = state.tolist()
        self.kl_weight, self.rewards = weight, rewards[: int(num)]
