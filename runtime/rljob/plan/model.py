"""What a job will do: rates, how busy each role is, what bounds it, how old its experience gets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rljob.plan.measured import Costs
from rljob.plan.simulation import Counts, Job

Bound = Literal["learner", "environment", "acting", "sending", "buffer", "cores", "turns"]
BUSY = 0.9
"""Share of time from which a role is called busy."""
FULL = 0.95
"""Share of a machine's cores from which they are called full."""
MOST_ROLLOUTS = 1024
WARM, LONG = 4, 12
"""Segments of each rollout that has credit, and at least `LEAST` times as many versions, that are played
before counting, and while counting."""
LEAST = 3
MOST_EVENTS = 1_000_000
PROFIT = 1.02
"""A gain in rate below this is none."""


@dataclass(frozen=True)
class Place:
    """Where a job runs.

    Attributes:
        cores: of the one machine that all processes share; with `pods`, of each pod.
        pods: whether every rollout, the buffer and the learner have cores of their own.
        buffers: shards of the buffer; the runtime has one.
    """

    cores: float
    pods: bool = False
    buffers: int = 1

    def held(self, rollouts: int) -> float:
        """Cores that are taken, whether busy or not."""
        return self.cores * (rollouts + self.buffers + 1) if self.pods else self.cores


@dataclass(frozen=True)
class Prediction:
    """Of one job with so many rollouts.

    Attributes:
        steps, updates: of environments and of the learner, each second.
        learner, rollout, buffer: shares of time in which they have something to do; of rollouts and of
            shards of the buffer, the mean.
        lag: policy versions that experience is behind when it is trained on, for half of it and for 95 %
            of it; None with replay, where it is not bounded.
        cores: busy ones; `held` are those that are taken.
    """

    rollouts: int
    steps: float
    updates: float
    learner: float
    rollout: float
    buffer: float
    bound: Bound
    lag: tuple[int, int] | None
    cores: float
    held: float

    @property
    def core_seconds(self) -> float:
        """Busy core-seconds for a million environment steps."""
        return 1e6 * self.cores / self.steps

    def cost(self, price: float) -> float:
        """Of a million environment steps.

        Args:
            price: of one core for an hour, busy or not.
        """
        return 1e6 * self.held / self.steps * price / 3600


def predict(costs: Costs, rollouts: int, place: Place) -> Prediction:
    """Play the job long enough for its rates to be steady."""
    job = Job(costs, rollouts, None if place.pods else place.cores, place.buffers)
    before = _play(job, WARM)
    known = len(job.lags)
    after = _play(job, LONG)
    seconds = after.seconds - before.seconds
    learner = (after.learner_busy - before.learner_busy) / seconds
    rollout = (after.rollout_busy - before.rollout_busy) / seconds / rollouts
    buffer = (after.buffer_busy - before.buffer_busy) / seconds / place.buffers
    cores = (after.core_seconds - before.core_seconds) / seconds
    lags = sorted(job.lags[known:])
    return Prediction(
        rollouts,
        (after.steps - before.steps) / seconds,
        (after.updates - before.updates) / seconds,
        learner,
        rollout,
        buffer,
        _bound(costs, learner, rollout, buffer, 0.0 if place.pods else cores / place.cores),
        (_share(lags, 0.5), _share(lags, 0.95)) if costs.on_policy else None,
        cores,
        place.held(rollouts),
    )


def fewest(costs: Costs, place: Place, most: int = MOST_ROLLOUTS) -> Prediction | None:
    """With the fewest rollouts that keep the learner busy; None where no number of them does."""
    count, best = 1, 0.0
    while (found := predict(costs, count, place)).learner < BUSY:
        full = not place.pods and found.cores >= FULL * place.cores
        if count >= most or (full and found.steps < best * PROFIT):
            return None
        best, count = max(best, found.steps), min(most, 2 * count)
    low, high = count // 2, count
    while high - low > 1:
        middle = (low + high) // 2
        tried = predict(costs, middle, place)
        if tried.learner >= BUSY:
            high, found = middle, tried
        else:
            low = middle
    return found


def shares(costs: Costs) -> dict[str, float]:
    """Where the time of a step in a rollout goes that waits for nobody, the most first."""
    length = costs.length
    parts = {
        "stepping environments": costs.stepping.seconds,
        "choosing actions": costs.acting.seconds,
        "packing and sending": (costs.packing.seconds + costs.shipping.seconds) / length,
        "loading policies": costs.applying.seconds / length,
    }
    total = sum(parts.values())
    return dict(sorted(((k, v / total) for k, v in parts.items()), key=lambda entry: -entry[1]))


def _play(job: Job, segments: int) -> Counts:
    """Go on until there were so many segments of each rollout that has credit, and some versions; up to a
    moment at which a version is made, so that whole ones are counted."""
    start, version = job.counts(), job.version
    enough = start.segments + segments * job.active
    for _ in range(MOST_EVENTS):
        if not job.machine.step():
            raise AssertionError("the simulated job stands still")
        made, version = job.version > version, job.version
        if made and job.segments >= enough and version >= start.versions + LEAST * segments:
            break
    return job.counts()


def _bound(costs: Costs, learner: float, rollout: float, buffer: float, machine: float) -> Bound:
    if machine >= FULL:
        return "cores"
    if learner >= BUSY:
        return "learner"
    if buffer >= BUSY:
        return "buffer"
    if rollout >= BUSY:
        parts: dict[Bound, float] = {
            "environment": costs.stepping.seconds * costs.length,
            "acting": costs.acting.seconds * costs.length,
            "sending": costs.packing.seconds + costs.shipping.seconds,
        }
        return max(parts, key=lambda name: parts[name])
    return "turns"


def _share(values: list[int], share: float) -> int:
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0
