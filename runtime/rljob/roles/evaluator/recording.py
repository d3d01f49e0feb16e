"""Records one greedy episode as a video, with the action scores below each picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rljob.algorithms.base import Acted
from rljob.checkpoints.checkpoint import SavedPolicy
from rljob.envs.spaces import Arrays, DiscreteSpace, MultiDiscreteSpace, Space
from rljob.envs.teams import of_teams
from rljob.envs.vector import Environments
from rljob.errors import InputError, RunError
from rljob.roles.evaluator.film import writing
from rljob.roles.evaluator.overlay import Bar, FrameCanvas, Panel, bars
from rljob.roles.evaluator.play import GreedyActing, Interrupted, acting
from rljob.spec import RLJob

MOST_STEPS = 5000
"""Longest video; a longer episode is cut."""
LAST_SECONDS = 1.0
"""Duration of the last picture."""


@dataclass(frozen=True)
class Recorded:
    """Content of a video."""

    path: Path
    steps: int
    returned: float
    whole: bool


class EpisodeRecorder:
    """Plays in its own rendered environment. Of several agents, the scores of the first are shown.

    Raises:
        InputError: the environment cannot be recorded.
    """

    def __init__(self, job: RLJob) -> None:
        self._environment = Environments(job.spec.environment, 1, pictures=True)
        try:
            self._algorithm, self._networks = acting(job, self._environment)
            self._environment.reset(0)
            self._shape = self._environment.picture().shape
        except BaseException:
            self._environment.close()
            raise

    def record(
        self,
        policy: Arrays,
        path: Path,
        seed: int | None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Recorded:
        """Play one episode into the file `path`, which ends in `.mp4` or `.gif`.

        Raises:
            Interrupted: `stopping` returned True; no file is written.
            RunError: the environment failed.
        """
        environment = self._environment
        self._networks.load(policy)
        rate = environment.pictures_per_second
        track = _Track(environment.spaces.action)
        greedy = GreedyActing(self._algorithm, self._networks, environment, seed)
        returned, steps, over, acted = 0.0, 0, False, greedy.act()
        canvas = FrameCanvas(self._shape, acted.scores.values.shape[1] if acted.scores else 0)
        with writing(path, canvas.size, rate) as film:
            while not over and steps < MOST_STEPS:
                if stopping():
                    raise Interrupted
                film.add(canvas.draw(self._picture(), track.panel(steps, returned, acted)))
                valid = environment.valid
                step = greedy.step(acted)
                agents = environment.spaces.agents
                reward, ended, _ = of_teams(step.reward, step.ended, valid, agents)
                returned, steps = returned + float(reward[0]), steps + 1
                over = bool(ended[0])
                acted = greedy.act()
            last = canvas.draw(self._picture(), Panel(steps, returned))
            for _ in range(max(1, round(LAST_SECONDS * rate))):
                film.add(last)
        return Recorded(path, steps, returned, over)

    def close(self) -> None:
        self._environment.close()

    def _picture(self) -> np.ndarray:
        picture = self._environment.picture()
        if picture.shape != self._shape:
            message = f"cannot be recorded: its pictures have different shapes: {self._shape} and {picture.shape}"
            raise InputError(message, path="environment")
        return picture


class _Track:
    """The range of the bars: the known range, else the range of all values so far."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._low, self._high = np.inf, -np.inf

    def panel(self, steps: int, returned: float, acted: Acted) -> Panel:
        if (shown := acted.scores) is None:
            return Panel(steps, returned)
        values = shown.values[0]
        # Some are NaN where there are masks, never all: an action is always allowed.
        self._low = min(self._low, float(np.nanmin(values)))
        self._high = max(self._high, float(np.nanmax(values)))
        low, high = shown.range or (self._low, self._high)
        found: tuple[list[Bar], int] = bars(values, self._chosen(acted.action[0]), low, high)
        return Panel(steps, returned, shown.label, *found)

    def _chosen(self, action: np.ndarray) -> list[int]:
        """Indices of the action among the values; empty where every value is part of it."""
        match self._space:
            case DiscreteSpace():
                return [int(action)]
            case MultiDiscreteSpace(nvec=nvec):
                starts = np.concatenate([[0], np.cumsum(nvec)[:-1]])
                return [int(start + choice) for start, choice in zip(starts, action, strict=True)]
        return []


def record_policy(job: RLJob, policy: SavedPolicy, path: Path, seed: int | None) -> Recorded:
    """Record one episode of a trained policy with `EpisodeRecorder`."""
    recorder = EpisodeRecorder(job)
    try:
        return recorder.record(policy.tensors, path, seed)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    finally:
        recorder.close()
