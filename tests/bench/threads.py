"""Whether a second thread of PyTorch makes a peer faster: the reason for the number that each of them gets."""

from __future__ import annotations

from typing import Any

from tests.bench import matched, ours, peer
from tests.bench.group import Figure, Group, Measure, ratio

SECONDS = 15.0
"""Of a run, of which the first five do not count."""
MATCHED = matched.settings(ours.example("cartpole-ppo.yaml"))
RUNS: dict[str, tuple[str, str, dict[str, Any] | None]] = {
    "Stable-Baselines3 PPO with our settings": ("sb3", "CartPole-v1", MATCHED),
    "Stable-Baselines3 PPO with its tuned settings": ("sb3", "CartPole-v1", None),
    "Stable-Baselines3 DQN, 64x64": ("sb3", "dqn-64", None),
    "Stable-Baselines3 DQN, 256x256": ("sb3", "dqn-256", None),
    "RLlib PPO": ("rllib", "ppo", None),
    "CleanRL PPO": ("cleanrl", "ppo", None),
    "Tianshou PPO": ("tianshou", "ppo", None),
}
"""Peer, task and settings."""


def _measure(name: str, threads: int) -> Measure:
    who, task, settings = RUNS[name]
    return lambda seed: peer.run(
        who, task, seed, SECONDS, settings=settings, threads=threads, endless=True
    )


def _figure(name: str) -> Figure:
    return ratio(
        f"Steps/s with two threads / with one: {name}",
        (f"{name}, 2", "steps/s"),
        (f"{name}, 1", "steps/s"),
        None,
        " steps/s",
    )


GROUP = Group(
    "threads",
    "Threads of the peers",
    {f"{name}, {threads}": _measure(name, threads) for name in RUNS for threads in (1, 2)},
    [_figure(name) for name in RUNS],
    quick=0,
    note=(
        "CartPole-v1. A peer that would be faster with two threads of PyTorch gets two in all groups. Sample Factory "
        "gives each of its processes one thread, Ray its runners; TensorFlow in Reverb takes what it wants."
    ),
)
