"""PPO and DQN on NatureCNN as a loop of plain PyTorch: the mathematics of ours, and nothing around it."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIONS = 6
AT_ONCE = 256
Batch = dict[str, np.ndarray]


class NatureCNN(nn.Module):
    """Of Mnih et al. 2015, with the outputs side by side; in the memory format that CPUs are fastest with."""

    def __init__(self, outputs: int, half: bool) -> None:
        super().__init__()
        self.half_precision = half
        self.layers = nn.Sequential(
            nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, outputs),
        )  # fmt: skip
        self.to(memory_format=torch.channels_last)

    def forward(self, observation: Tensor) -> Tensor:
        x = observation.contiguous(memory_format=torch.channels_last).float().div_(255)
        half = torch.autocast("cpu", torch.bfloat16)
        with half if self.half_precision else contextlib.nullcontext():
            outputs: Tensor = self.layers(x)
        return outputs.float()


class BarePPO:
    """One epoch of `minibatches` gradient steps on segments `[T, N, ...]`, after valuing them."""

    def __init__(self, half: bool, minibatches: int) -> None:
        self._network = NatureCNN(ACTIONS + 1, half)
        self._minibatches = minibatches
        self._optimizer = torch.optim.Adam(self._network.parameters(), 3e-4, eps=1e-5, fused=True)

    def update(self, batch: Batch) -> None:
        steps, envs = batch["reward"].shape
        observation = torch.from_numpy(batch["observation"].reshape(-1, 4, 84, 84))
        with torch.no_grad():
            parts = [self._network(part)[:, -1] for part in observation.split(AT_ONCE)]  # type: ignore[no-untyped-call]
            value = torch.cat(parts).view(steps + 1, envs)
        advantage = self._advantage(batch, value)
        target = (advantage + value[:-1]).reshape(-1)
        advantage = advantage.reshape(-1)
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        action = torch.from_numpy(batch["action"].reshape(-1))
        old = torch.from_numpy(batch["log_prob"].reshape(-1))
        for rows in torch.randperm(steps * envs).chunk(self._minibatches):
            outputs = self._network(observation[rows])
            policy = torch.distributions.Categorical(logits=outputs[:, :-1], validate_args=False)
            ratio = (policy.log_prob(action[rows]) - old[rows]).exp()
            gain = advantage[rows]
            surrogate = torch.min(ratio * gain, ratio.clamp(0.8, 1.2) * gain).mean()
            error = (outputs[:, -1] - target[rows]).square().mean()
            self._descend(0.5 * error - surrogate - 0.01 * policy.entropy().mean())

    def _advantage(self, batch: Batch, value: Tensor) -> Tensor:
        reward = torch.from_numpy(batch["reward"])
        goes_on = 1 - torch.from_numpy(batch["terminated"]).float()
        advantage = torch.zeros_like(reward)
        following = torch.zeros(reward.shape[1])
        for t in reversed(range(len(reward))):
            error = reward[t] + 0.99 * goes_on[t] * value[t + 1] - value[t]
            following = error + 0.99 * 0.95 * goes_on[t] * following
            advantage[t] = following
        return advantage

    def _descend(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 0.5)
        self._optimizer.step()


class BareDQN:
    """One gradient step on transitions `[B, ...]`."""

    def __init__(self, half: bool) -> None:
        self._network, self._target = NatureCNN(ACTIONS, half), NatureCNN(ACTIONS, half)
        self._target.requires_grad_(False)
        self._optimizer: Any = torch.optim.Adam(self._network.parameters(), 5e-4, fused=True)

    def update(self, batch: Batch) -> None:
        data = {name: torch.from_numpy(array) for name, array in batch.items()}
        with torch.no_grad():
            following = self._target(data["next_observation"]).amax(-1)
            target = data["n_step_return"] + data["n_step_discount"] * following
        values = self._network(data["observation"])
        q = values.gather(-1, data["action"].unsqueeze(-1)).squeeze(-1)
        self._optimizer.zero_grad()
        F.smooth_l1_loss(q, target).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 10.0)
        self._optimizer.step()
