"""PPO on CartPole-v1 in one process and one thread: what is left when nothing is distributed.

The mathematics of `examples/cartpole-ppo.yaml` with plain PyTorch and Gymnasium: environments, acting,
advantages and updates take turns. Acting is numpy, as it is faster for networks of this size.

python -m tests.bench.reference vector|scalar --seed N --cap SECONDS
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import gymnasium
import numpy as np
import torch
from torch import nn

from tests.bench.peers.watch import SOLVED, Watch, arguments

ENVIRONMENT = "CartPole-v1"
LENGTH, ENVS, EPOCHS, MINIBATCHES = 32, 64, 2, 4
GAMMA, LAMBDA, CLIP, RATE, NORM = 0.99, 0.95, 0.2, 4e-3, 0.5


def mlp(outputs: int, gain: float) -> nn.Sequential:
    """Two hidden layers of 64, orthogonal weights."""
    layers = [nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for layer, scale in zip(layers, (2**0.5, 2**0.5, gain), strict=True):
        nn.init.orthogonal_(layer.weight, scale)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.Tanh(), layers[2])


def forward(weights: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network in numpy: weight and bias in turn."""
    for i in range(0, 4, 2):
        x = np.tanh(x @ weights[i].T + weights[i + 1])
    return x @ weights[4].T + weights[5]


def arrays(module: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().numpy() for parameter in module.parameters()]


class Returns:
    """Mean and deviation of the returns of about the last hundred batches."""

    def __init__(self) -> None:
        self._sums = np.zeros(3)

    @property
    def mean(self) -> float:
        return self._sums[1] / self._sums[0] if self._sums[0] else 0.0

    @property
    def std(self) -> float:
        if not self._sums[0]:
            return 1.0
        return float(np.sqrt(max(self._sums[2] / self._sums[0] - self.mean**2, 1e-4)))

    def update(self, values: np.ndarray) -> None:
        new = np.array([1.0, values.mean(), np.square(values).mean()])
        self._sums = 0.99 * self._sums + 0.01 * new


def main() -> None:
    """Run one task."""
    told = arguments("vector", "scalar")
    torch.set_num_threads(1)
    torch.manual_seed(told.seed)
    rng = np.random.default_rng(told.seed)
    mode = "vector_entry_point" if told.task == "vector" else "sync"
    # Both reset on the step after an episode's end, whose row is left out of the batch.
    envs = gymnasium.make_vec(ENVIRONMENT, num_envs=ENVS, vectorization_mode=mode)
    policy, value = mlp(2, 0.01), mlp(1, 1.0)
    parameters = [*policy.parameters(), *value.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE, eps=1e-5, fused=True)
    acting, judging, returns = arrays(policy), arrays(value), Returns()
    observations = np.zeros((LENGTH + 1, ENVS, 4), np.float32)
    actions = np.zeros((LENGTH, ENVS), np.int64)
    log_probs, rewards = (np.zeros((LENGTH, ENVS), np.float32) for _ in range(2))
    terminated, ended, valid = (np.zeros((LENGTH, ENVS), bool) for _ in range(3))
    episode, starting = np.zeros(ENVS), np.zeros(ENVS, bool)
    watch, steps = Watch(SOLVED[ENVIRONMENT], told.cap), 0
    observations[-1], _ = envs.reset(seed=told.seed)
    watch.began()
    while not watch.over(steps):
        observations[0] = observations[-1]
        for t in range(LENGTH):
            logits = forward(acting, observations[t])
            logits -= logits.max(1, keepdims=True)
            log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
            actions[t] = rng.random(ENVS) < np.exp(log_p[:, 1])
            log_probs[t] = np.take_along_axis(log_p, actions[t][:, None], 1)[:, 0]
            observations[t + 1], rewards[t], terminated[t], truncated, _ = envs.step(actions[t])
            valid[t] = ~starting
            ended[t] = terminated[t] | truncated
            episode += rewards[t] * valid[t]
            for i in np.flatnonzero(ended[t]):
                watch.episode(float(episode[i]))
                episode[i] = 0.0
            starting = ended[t].copy()
        steps += LENGTH * ENVS
        values = forward(judging, observations.reshape(-1, 4)).reshape(LENGTH + 1, ENVS)
        values = values * returns.std + returns.mean
        advantages, following = np.zeros((LENGTH, ENVS), np.float32), np.zeros(ENVS)
        for t in reversed(range(LENGTH)):
            delta = rewards[t] + GAMMA * values[t + 1] * ~terminated[t] - values[t]
            following = delta + GAMMA * LAMBDA * ~ended[t] * following
            following[~valid[t]] = 0.0
            advantages[t] = following
        rows = np.flatnonzero(valid.reshape(-1))
        targets = (advantages + values[:-1]).reshape(-1)[rows]
        returns.update(targets)
        scaled = advantages.reshape(-1)[rows]
        scaled = (scaled - scaled.mean()) / (scaled.std() + 1e-8)
        data = [
            torch.from_numpy(np.ascontiguousarray(array))
            for array in (
                observations[:-1].reshape(-1, 4)[rows],
                actions.reshape(-1)[rows],
                log_probs.reshape(-1)[rows],
                scaled.astype(np.float32),
                ((targets - returns.mean) / returns.std).astype(np.float32),
            )
        ]
        for _ in range(EPOCHS):
            for part in np.array_split(rng.permutation(len(rows)), MINIBATCHES):
                index = torch.from_numpy(part)
                x, action, old, advantage, target = (each[index] for each in data)
                new = policy(x).log_softmax(1).gather(1, action[:, None])[:, 0]
                ratio = (new - old).exp()
                gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
                loss = 0.5 * (value(x)[:, 0] - target).square().mean() - gain.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, NORM)
                optimizer.step()
    watch.print(steps)


if __name__ == "__main__":
    main()
