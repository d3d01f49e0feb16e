"""Combines deliveries of the buffer into the batch of one policy version."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rljob.algorithms.base import Arrays
from rljob.roles.learner.source import ExperienceSource, Segment
from rljob.spec.experience import OnPolicy
from rljob.wire.arrays import unpack
from rljob.wire.experience import ExperienceFormat
from rljob.wire.sockets import Message


@dataclass
class Batch:
    """Experience for one or more updates, until the next publication.

    Attributes:
        updates: each `[T, N, ...]` or `[B, ...]`, see `Learner.update`.
        lags: versions that each segment or delivery is behind.
        steps: environment steps that are trained on for the first time.
    """

    updates: list[Arrays]
    lags: list[int]
    steps: int
    segments: list[tuple[int, int, int]] = field(default_factory=list)


class Batches:
    """Takes deliveries from the source until there are enough for a batch.

    Args:
        segments_per_batch: where the algorithm leaves it open.
    """

    def __init__(
        self, source: ExperienceSource, plan: ExperienceFormat, segments_per_batch: int
    ) -> None:
        self._source = source
        self._on_policy = isinstance(plan.data, OnPolicy)
        self._count = plan.segments_per_batch(segments_per_batch)
        self._taken: list[Segment] = []

    def next(self, version: int) -> Batch | None:
        """The next batch, to be trained on by policy version `version`, if all of it has come."""
        while (message := self._source.take()) is not None:
            if not self._on_policy:
                return _sampled(message, version)
            segment = self._source.segment(message)
            if segment is not None:
                self._taken.append(segment)
            if len(self._taken) == self._count:
                taken, self._taken = self._taken, []
                return _side_by_side(taken, version)
        return None


def _sampled(message: Message, version: int) -> Batch:
    arrays = unpack(message.payload)
    count = len(arrays["reward"])
    updates = [{name: array[k] for name, array in arrays.items()} for k in range(count)]
    return Batch(updates, [max(0, version - message.header.version)], 0)


def _side_by_side(taken: list[Segment], version: int) -> Batch:
    # By origin, not by arrival: the same segments make the same batch.
    taken.sort(key=lambda segment: segment.origin)
    arrays = taken[0].arrays
    if len(taken) > 1:
        arrays = {
            name: np.concatenate([segment.arrays[name] for segment in taken], axis=1)
            for name in arrays
        }
    lags = [version - segment.version for segment in taken]
    steps = int(np.count_nonzero(arrays["valid"]))
    return Batch([arrays], lags, steps, [segment.origin for segment in taken])
