"""A rollout and a learner that only move experience: prepared segments in, what is sampled out."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from rljob import spec
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.process.context import actor_number, job_number
from rljob.process.trace import Trace
from rljob.roles.learner.source import ExperienceSource
from rljob.roles.rollout.ship import Shipper
from rljob.spec.experience import Field, Replay
from rljob.telemetry.metrics import LearnerMetrics, RolloutMetrics
from rljob.wire.arrays import Layout
from rljob.wire.endpoints import buffer_endpoints
from rljob.wire.experience import ExperienceFormat
from rljob.wire.sockets import Message, Wire
from tests.bench.path import COUNTING
from tests.bench.roles import PATIENCE, job

BATCH = 256
NEVER, ALWAYS = 1e-6, 1e6
"""Samples for each insert: so few that only inserting goes on, or so many that only sampling does."""
WAIT = 0.02
NO_EPISODES = np.zeros((0, 3))


def replay_plan(
    observation: BoxSpace, shape: tuple[int, int], ratio: float, least: int = 1
) -> ExperienceFormat:
    """Segments of so many steps of so many environments, sampled in batches of `BATCH`.

    Args:
        observation: of one environment, which has two actions.
        shape: steps and environments.
        ratio: samples for each insert.
        least: transitions to store before the first batch.
    """
    length, envs = shape
    arrays = [
        ("observation", observation.dtype.name, (length + 1, envs, *observation.shape)),
        ("action", "int64", shape),
        ("reward", "float32", shape),
        ("terminated", "bool", shape),
        ("truncated", "bool", shape),
        ("valid", "bool", shape),
    ]
    layout = Layout(tuple(Field(*array) for array in arrays))
    spaces = Spaces(observation, DiscreteSpace(2))
    return ExperienceFormat(layout, Replay(length, BATCH, least, ratio, 0.0, 1), spaces.to_json())


def buffer_job(capacity: int) -> dict[str, Any]:
    """A job whose buffer stores so many steps; what is fed says the rest."""
    return job(COUNTING, envs=1, seconds=3600, seed=0, capacity=capacity)


NUMBER = job_number(spec.parse(buffer_job(1)))


class Feeder:
    """One rollout's connection to the buffer, through which prepared segments go as credit allows.

    Args:
        address: of the buffer.
    """

    def __init__(self, address: str, plan: ExperienceFormat, index: int = 0) -> None:
        self._wire = Wire(NUMBER, None, lambda *_: None)
        name = f"rollout-{index}"
        endpoint = self._wire.connect(buffer_endpoints(address).experience, name, "buffer")
        self._shipper = Shipper(
            endpoint, plan, actor_number(name), time.time_ns(), RolloutMetrics(), Trace(None, name)
        )
        self._shipped = 0

    @property
    def stored(self) -> int:
        """Segments that the buffer has acknowledged."""
        return self._shipped - self._shipper.unacked

    def run(self, fill: Callable[[dict[str, np.ndarray]], None], until: Callable[[], bool]) -> None:
        """Ship segments, each of them filled first, until something has come true."""
        shipper = self._shipper
        while not until():
            now = time.monotonic()
            shipper.service(now)
            if not shipper.credited:
                self._wire.wait(WAIT)
                continue
            frame = shipper.frame()
            fill(frame.arrays)
            shipper.ship(frame, NO_EPISODES, (0, 0), now)
            self._shipped += 1

    def close(self) -> None:
        self._wire.close()


class Taker:
    """The learner's connection to the buffer: batches come as they are asked for, ahead by a few."""

    def __init__(self, address: str, ahead: int = 1) -> None:
        self._wire = Wire(NUMBER, None, lambda *_: None)
        endpoint = self._wire.connect(buffer_endpoints(address).samples, "learner-0", "buffer")
        self.source = ExperienceSource(
            self._wire,
            endpoint,
            time.time_ns(),
            ahead,
            1,
            LearnerMetrics(),
            same_machine=address.startswith("ipc://"),
        )

    def opened(self) -> None:
        """Wait until there is a store; the rollout has to have said HELLO for it."""
        deadline = time.monotonic() + PATIENCE
        while self.source.poll(time.monotonic()) is None:
            assert time.monotonic() < deadline, "the buffer did not welcome the learner"
            self._wire.wait(WAIT)

    def batch(self) -> Message:
        """The next batch, valid until the one after it is taken."""
        self.source.confirm(0, time.monotonic())
        deadline = time.monotonic() + PATIENCE
        while (message := self.source.take()) is None:
            assert time.monotonic() < deadline, "no batch came"
            self._wire.wait(WAIT)
            self.source.poll(time.monotonic())
        return message

    def close(self) -> None:
        self._wire.close()


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Python processes of their own, started anew, that functions can be run in."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        yield pool
