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

from tests.bench.peers.watch import SOLVED, Watch, arguments

ENVIRONMENT = "CartPole-v1"


class Over(Exception):
    """The run is over."""


def main() -> None:
    """Run one task."""
    told = arguments("ppo")
    torch.set_num_threads(1)
    watch = Watch(SOLVED[ENVIRONMENT], told.cap)
    steps = 0

    class Follow(gym.wrappers.RecordEpisodeStatistics):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            nonlocal steps
            if not steps:
                watch.began()
            steps += 1
            observation, reward, done, info = super().step(action)
            if done:
                watch.episode(float(info["episode"]["r"]))
            if (done or steps % 1000 == 0) and watch.over(steps):
                raise Over
            return observation, reward, done, info

    gym.wrappers.RecordEpisodeStatistics = Follow
    sys.argv = ["ppo.py", f"--env-id={ENVIRONMENT}", f"--seed={told.seed}", "--cuda=False"]
    with contextlib.suppress(Over):
        runpy.run_module("cleanrl.ppo", run_name="__main__")
    watch.print(steps)


if __name__ == "__main__":
    main()
