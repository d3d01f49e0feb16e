"""Predicts the rates of a job from the costs of its parts. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rljob.plan.costs import Costs, Work
from rljob.roles.learner.publish_schedule import PUBLISH_EVERY

BUSY = 0.9
"""Share of time from which the learner is called busy."""
FULL = 0.95
"""Share of a machine's cores from which they are called full."""
MOST_ROLLOUTS = 1024


@dataclass(frozen=True)
class Deployment:
    """Where a job runs.

    Attributes:
        cores: of the machine that all processes share; with `pods`, of each pod.
        pods: whether every rollout, the buffer and the learner have cores of their own.
    """

    cores: float
    pods: bool = False


@dataclass(frozen=True)
class Prediction:
    """Of a job with so many rollouts.

    Attributes:
        learner_busy: share of time in which the learner has something to do.
        cores_busy: cores that compute, on average; `cores_held` are reserved.
        core_seconds_per_million_steps: of busy cores.
    """

    rollouts: int
    steps_per_second: float
    updates_per_second: float
    learner_busy: float
    bottleneck: str
    cores_busy: float
    cores_held: float
    core_seconds_per_million_steps: float


def predict(costs: Costs, rollouts: int, where: Deployment) -> Prediction:
    """Predict the time from one policy version to the next, and all rates from that; see docs/how-to/planning.md."""
    cores = math.inf if where.pods else where.cores
    segments = costs.segments_per_version or float(rollouts)
    active = float(rollouts)
    if costs.on_policy:
        # The buffer grants one batch ahead of the one that is trained on.
        active = min(active, segments if costs.alternating else 2 * segments)
    learner, published = _learner(costs, rollouts, segments)
    loads = min(1.0, published * rollouts / segments)
    segment = costs.collecting + costs.sending + costs.loading * loads
    collecting = Work(segment.cpu * segments, segment.seconds * segments / active)
    buffer = costs.buffering * segments
    cpu = collecting.cpu + learner.cpu + buffer.cpu
    rounds = math.ceil(segments / active) if costs.on_policy else segments / active
    # Rollouts that take turns with the learner send at the same time.
    stored = costs.buffering.seconds * (active if costs.alternating else 1.0)
    turns = segment.seconds * rounds + stored + learner.seconds
    if costs.alternating:
        slower = max(1.0, collecting.cpu / collecting.seconds / cores)
        turns += collecting.seconds * (slower - 1)
        period, trained = max(turns, cpu / cores), learner.seconds
    else:
        # On-policy, two batches are on their way at a time.
        turns = turns / 2 if costs.on_policy else 0.0
        collected, trained = side_by_side(collecting, learner, cores)
        period = max(collected, trained, turns, buffer.seconds, cpu / cores)
    steps, busy = segments * costs.segment_steps, min(1.0, trained / period)
    if cpu / period >= FULL * cores:
        bottleneck = "all cores are busy"
    elif busy >= BUSY:
        bottleneck = "updating the policy"
    elif turns > max(collecting.seconds, buffer.seconds):
        bottleneck = "waiting for each other"
    elif buffer.seconds > collecting.seconds:
        bottleneck = "storing experience"
    else:
        bottleneck = next(iter(shares(costs)))
    return Prediction(
        rollouts,
        steps / period,
        costs.updates_per_version / period,
        busy,
        bottleneck,
        cpu / period,
        where.cores * (rollouts + 2) if where.pods else where.cores,
        1e6 * cpu / steps,
    )


def fewest(costs: Costs, where: Deployment) -> int | None:
    """Rollouts that keep the learner busy; None where no number of them does."""
    counts = range(1, MOST_ROLLOUTS + 1)
    return next((n for n in counts if predict(costs, n, where).learner_busy >= BUSY), None)


def shares(costs: Costs) -> dict[str, float]:
    """Parts of the time that a rollout takes for a segment, the largest first."""
    collecting = costs.collecting.seconds
    stepping, acting = collecting * costs.stepping_share, collecting * costs.acting_share
    parts = {
        "stepping environments": stepping,
        "choosing actions": acting,
        "packing and sending": max(0.0, collecting - stepping - acting) + costs.sending.seconds,
        "loading policies": costs.loading.seconds,
    }
    total = sum(parts.values())
    return {name: parts[name] / total for name in sorted(parts, key=lambda name: -parts[name])}


def side_by_side(one: Work, other: Work, cores: float) -> tuple[float, float]:
    """When each ends of two works that begin together and share the cores evenly."""
    wanted = [work.cpu / work.seconds if work.seconds else 0.0 for work in (one, other)]
    both = min(one.seconds, other.seconds) * max(1.0, sum(wanted) / cores)
    ends = [
        both + max(0.0, mine.seconds - theirs.seconds) * max(1.0, want / cores)
        for mine, theirs, want in ((one, other, wanted[0]), (other, one, wanted[1]))
    ]
    return ends[0], ends[1]


def _learner(costs: Costs, rollouts: int, segments: float) -> tuple[Work, float]:
    """The learner's work for one version, and the share of the versions that it publishes."""
    update = costs.update + costs.update_per_segment * segments
    work = costs.receiving * (segments if costs.on_policy else 1.0)
    work += update * costs.updates_per_version
    published = 1.0 if costs.on_policy else min(1.0, work.seconds / PUBLISH_EVERY)
    publishing = costs.publishing + costs.publishing_per_rollout * rollouts
    return work + publishing * published, published
