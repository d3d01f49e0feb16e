"""What every peer's script shares: when a run is over, and the line of JSON that it prints.

Imported in each peer's own environment, so it needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections import deque
from typing import NamedTuple

from tests.bench.machine import cpu_seconds, tree

WINDOW = 100
"""Training episodes whose mean return has to reach the threshold."""
SOLVED = {"CartPole-v1": 475.0, "LunarLander-v3": 200.0, "Pendulum-v1": -300.0}
WARM_SECONDS = 5.0
"""Of a measurement of throughput, before it counts."""


class _Moment(NamedTuple):
    """When it was (time of day), how many steps and updates were done, and CPU seconds of all processes."""

    time: float
    steps: int
    updates: int
    cpu: float


class Watch:
    """Follows one run: `began` before the first environment step, then every episode.

    Args:
        solved: mean return of the last `WINDOW` episodes that ends the run; None to run to the cap.
        cap: seconds after which it ends whatever was reached.
    """

    def __init__(self, solved: float | None, cap: float) -> None:
        self._threshold, self._cap = solved, cap
        self._returns: deque[float] = deque(maxlen=WINDOW)
        self._began = self._now = 0.0
        self._warm: _Moment | None = None
        self._end: _Moment | None = None
        self.solved = False

    def began(self, at: float | None = None) -> None:
        """The first environment step is taken now, or was at that time of day."""
        self._began = self._now = time.time() if at is None else at

    def episode(self, value: float) -> None:
        """A training episode ended with this return."""
        self._returns.append(value)
        if len(self._returns) == WINDOW:
            self.mean(statistics.fmean(self._returns))

    def mean(self, value: float) -> None:
        """The mean return of the last `WINDOW` episodes."""
        if self._threshold is not None and value >= self._threshold and not self.solved:
            self.solved = True
            self._now = time.time()

    def over(self, steps: int, updates: int = 0) -> bool:
        """Whether the run is to end, now that so many steps and updates are done."""
        if self.solved:
            return True
        self._now = time.time()
        elapsed = self._now - self._began
        if self._warm is None and elapsed >= WARM_SECONDS:
            self._warm = self._moment(steps, updates)
        if elapsed < self._cap:
            return False
        self._end = self._moment(steps, updates)
        return True

    def _moment(self, steps: int, updates: int) -> _Moment:
        cpu = sum(map(cpu_seconds, tree(os.getpid())))
        return _Moment(self._now, steps, updates, cpu)

    def print(self, steps: int, updates: int = 0) -> None:
        """The result as one line: whether it solved, seconds since `began`, the time of day when it was reached, and
        steps; of a run that went on to its cap also the rates once warm."""
        result = {
            "solved": self.solved,
            "seconds": self._now - self._began,
            "reached": self._now,
            "steps": steps,
        }
        if self._warm is not None and self._end is not None and self._end.time > self._warm.time:
            spent, done, updated, cpu = (
                end - warm for end, warm in zip(self._end, self._warm, strict=True)
            )
            result["steps/s"] = done / spent
            result["updates/s"] = updated / spent
            result["steps/core-s once warm"] = done / max(1e-9, cpu)
        print("\n" + json.dumps(result), flush=True)


def arguments(*tasks: str) -> argparse.Namespace:
    """The command line of a peer's script: what to run, and how."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=float, default=60.0, help="seconds after which a run ends")
    parser.add_argument("--endless", action="store_true", help="end at the cap alone")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--settings", type=json.loads, help="JSON, in place of the peer's own")
    return parser.parse_args()


def watch(told: argparse.Namespace, environment: str | None) -> Watch:
    """Until the environment is solved; without one until the cap."""
    return Watch(None if told.endless or environment is None else SOLVED[environment], told.cap)
