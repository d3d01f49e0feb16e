"""Progress of a run and its stop conditions. Pure; the clock is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rljob.algorithms.progress import Progress
from rljob.spec import StopSpec

WINDOW_EPISODES = 100
"""Training episodes in the mean return."""


@dataclass(frozen=True)
class StopReached:
    """A stop condition that is met.

    Attributes:
        reason: in one word.
        text: its field and value, and what there is.
    """

    reason: str
    text: str


@dataclass(frozen=True)
class Totals:
    """What stop conditions look at.

    Attributes:
        mean: return over a full window of episodes; None before there is one.
        seconds: spent training.
    """

    mean: float | None
    steps: int
    updates: int
    episodes: int
    seconds: float


def reached(stop: StopSpec, totals: Totals) -> StopReached | None:
    """The condition that is met, if any."""
    mean, seconds = totals.mean, totals.seconds
    if stop.mean_return is not None and mean is not None and mean >= stop.mean_return:
        text = f"stop.meanReturn {stop.mean_return:g} was reached with {mean:.1f}"
        return StopReached("MeanReturnReached", text)
    for name in ("steps", "updates", "episodes"):
        most, number = getattr(stop, name), getattr(totals, name)
        if most is not None and number >= most:
            text = f"stop.{name} {most} was reached with {number}"
            return StopReached(f"{name.capitalize()}Reached", text)
    if stop.duration is not None and seconds >= stop.duration.seconds:
        text = f"stop.duration {stop.duration} was reached after {seconds:.0f} s"
        return StopReached("DurationReached", text)
    return None


@dataclass
class TrainingProgress:
    """Counters of a run over all lives of its learner.

    Attributes:
        steps: environment steps: on-policy those trained on, with replay those stored.
        seconds: spent training, from the first experience of each life on; earlier lives included.
        last_length: steps of the episode that ended last, in this life of the learner.
    """

    steps: int = 0
    episodes: int = 0
    updates: int = 0
    seconds: float = 0.0
    best_return: float | None = None
    last_length: float | None = field(default=None, compare=False)
    _returns: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW_EPISODES))

    def ended(self, episodes: np.ndarray) -> None:
        """Take episodes float64 `[E, 2 + any]`, of return, length and others, in the order in which they ended."""
        for value in episodes[:, 0]:
            self._returns.append(float(value))
        if len(episodes):
            self.last_length = float(episodes[-1, 1])
        self.episodes += len(episodes)
        mean = self.mean_return
        if mean is not None and len(self._returns) == WINDOW_EPISODES:
            self.best_return = mean if self.best_return is None else max(self.best_return, mean)

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last 100 training episodes, or of all when there were fewer."""
        return sum(self._returns) / len(self._returns) if self._returns else None

    @property
    def last_return(self) -> float | None:
        return self._returns[-1] if self._returns else None

    def reached(self, stop: StopSpec) -> StopReached | None:
        """The stop condition that is met, if any; none before the first update.

        The mean return counts only over a full window: a lucky first episode ends no run.
        """
        if self.updates == 0:
            return None
        full = len(self._returns) == WINDOW_EPISODES
        mean = self.mean_return if full else None
        return reached(stop, Totals(mean, self.steps, self.updates, self.episodes, self.seconds))

    def updates_left(self, stop: StopSpec) -> int | None:
        """Updates until `stop.updates`, which is never exceeded; None where nothing limits them."""
        return None if stop.updates is None else max(0, stop.updates - self.updates)

    def out_of_time(self, stop: StopSpec) -> bool:
        """Whether the time to train is used up, whether or not there is experience to train on."""
        used_up = stop.duration is not None and self.seconds >= stop.duration.seconds
        return used_up and self.updates > 0

    def at(self, stop: StopSpec) -> Progress:
        """For schedules."""
        return Progress(self.steps, self.share(stop), self.updates)

    def share(self, stop: StopSpec) -> float:
        """How much of the budget is used, in [0, 1]: by `StopSpec.measure`; 0 without one.

        Schedules follow it. The mean return has no part in it: a schedule must not jump when
        learning does, and a run in strict mode must not look at the clock.
        """
        if stop.measure is None:
            return 0.0
        if stop.measure == "duration":
            assert stop.duration is not None
            return min(1.0, self.seconds / stop.duration.seconds)
        return min(1.0, float(getattr(self, stop.measure) / getattr(stop, stop.measure)))

    def to_json(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "episodes": self.episodes,
            "updates": self.updates,
            "seconds": self.seconds,
            "best_return": self.best_return,
            "returns": list(self._returns),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingProgress:
        values = dict(value)
        progress = cls(**{name: values[name] for name in values if name != "returns"})
        progress._returns.extend(values["returns"])
        return progress


@dataclass
class StoredSteps:
    """Counts the steps that the buffer stored, over lives of the learner and of the buffer.

    The buffer's own count starts anew with each arena (its file of experience), so only differences
    within one arena are taken.

    Args:
        arena: whose count was seen last, or None.
        seen: that count.
    """

    arena: int | None = None
    seen: int = 0

    def more(self, arena: int, steps: int) -> int:
        """Steps stored since the last look; all of a new arena's."""
        before = self.seen if arena == self.arena else 0
        self.arena, self.seen = arena, max(before, steps)
        return self.seen - before

    def then(self, steps: int, stored: np.ndarray) -> np.ndarray:
        """Steps of the run at the times at which the buffer had stored so many; it has `steps` now.

        When the learner hears of something depends on the time. How many steps there were then does not.
        """
        return (stored + (steps - self.seen)).clip(min=0)
