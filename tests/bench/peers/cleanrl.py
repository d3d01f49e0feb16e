"""CleanRL: `cleanrl/ppo.py` of its package as it is, with its own defaults, on CartPole-v1.

https://docs.cleanrl.dev/rl-algorithms/ppo/#ppopy. The script is run unchanged; only the wrapper that
counts its episodes tells the watch of them, and ends the run when it is over.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from typing import Any

import gym
import torch

from tests.bench.peers.watch import arguments, watch

ENVIRONMENT = "CartPole-v1"


class Over(Exception):
    """The run is over."""


def main() -> None:
    """Run one task."""
    told = arguments("ppo")
    torch.set_num_threads(told.threads)
    following = watch(told, ENVIRONMENT)
    steps = 0

    class Follow(gym.wrappers.RecordEpisodeStatistics):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            nonlocal steps
            if not steps:
                following.began()
            steps += 1
            observation, reward, done, info = super().step(action)
            if done:
                following.episode(float(info["episode"]["r"]))
            if (done or steps % 1000 == 0) and following.over(steps):
                raise Over
            return observation, reward, done, info

    gym.wrappers.RecordEpisodeStatistics = Follow
    sys.argv = ["ppo.py", f"--env-id={ENVIRONMENT}", f"--seed={told.seed}", "--cuda=False"]
    with contextlib.suppress(Over):
        runpy.run_module("cleanrl.ppo", run_name="__main__")
    following.print(steps)


if __name__ == "__main__":
    main()
