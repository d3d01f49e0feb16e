"""What an algorithm requires: the arrays of a segment, and how experience is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """One array: its name, its numpy dtype, its shape.

    For an array that an algorithm adds to a segment, `shape` is that of one step; the array in the
    segment has the shape `[T, N, *shape]`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class OnPolicy:
    """Each segment is trained on once, in order, within the policy-lag bound.

    Args:
        segment_length: `T`, environment steps in one segment.
        segments_per_batch: segments in one update; None means one per rollout replica.
    """

    segment_length: int
    segments_per_batch: int | None = None


@dataclass(frozen=True)
class Replay:
    """Transitions are stored and sampled many times, in the samples-per-insert band.

    Args:
        segment_length: `T`, environment steps in one segment.
        batch_size: transitions in one update.
        min_size: transitions stored before the first update.
        samples_per_insert: transitions sampled for each one inserted; `buffer.samplesPerInsert` overrides it.
        priority_exponent: 0 samples uniformly, otherwise proportionally to priority**exponent.
        updates_per_publish: updates between two published policy versions.
    """

    segment_length: int
    batch_size: int
    min_size: int
    samples_per_insert: float
    priority_exponent: float = 0.0
    updates_per_publish: int = 8
