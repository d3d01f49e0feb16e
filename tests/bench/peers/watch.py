"""What every peer's script shares: when a run is over, and the line of JSON that it prints.

Imported in each peer's own environment, so it needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import deque

WINDOW = 100
"""Training episodes whose mean return has to reach the threshold."""
SOLVED = {"CartPole-v1": 475.0, "LunarLander-v3": 200.0, "Pendulum-v1": -300.0}
WARM_SECONDS = 5.0
"""Of a measurement of throughput, before it counts."""


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
        self._warm: tuple[float, int, int] | None = None
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
            self._warm = (self._now, steps, updates)
        return elapsed >= self._cap

    def print(self, steps: int, updates: int = 0) -> None:
        """The result as one line: seconds since `began`, the time of day when it was reached, steps,
        and rates once warm."""
        since, first_steps, first_updates = self._warm or (self._began, 0, 0)
        seconds = max(1e-9, self._now - since)
        result = {
            "solved": self.solved,
            "seconds": self._now - self._began,
            "reached": self._now,
            "steps": steps,
            "steps/s": (steps - first_steps) / seconds,
            "updates/s": (updates - first_updates) / seconds,
        }
        print("\n" + json.dumps(result), flush=True)


def arguments(*tasks: str) -> argparse.Namespace:
    """`TASK --seed N --cap SECONDS` from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=float, default=60.0)
    return parser.parse_args()
