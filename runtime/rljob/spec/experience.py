"""What an algorithm requires: the arrays of a segment, and how experience is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Weighting = Literal["proportional", "rank", "linearRank"]
"""How chances follow from priorities; see `Replay`."""


@dataclass(frozen=True)
class Field:
    """One array: its name, its numpy dtype, its shape.

    For an array that an algorithm adds to a segment, `shape` is that of one step; the array in the
    segment has the shape `[T, N, *shape]`. Two names have a meaning: `next_row` and `priority`, see
    docs/design/protocol.md.
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

    def __post_init__(self) -> None:
        _positive(self, "segment_length")


@dataclass(frozen=True)
class Replay:
    """Transitions, or sequences of them, are stored and sampled many times, in the samples-per-insert band.

    Args:
        segment_length: `T`, environment steps in one segment.
        batch_size: transitions, or sequences, in one update; with `agents`, those of whole groups.
        min_size: transitions stored before the first update.
        samples_per_insert: transitions sampled for each one inserted, those of sequences one by one;
            `buffer.samplesPerInsert` overrides it.
        priority_exponent: 0 samples uniformly, otherwise by priorities as `weighting` says.
        updates_per_publish: updates between two published policy versions.
        length: environment steps of what is drawn; 1 draws transitions. A sequence goes on over the ends of
            segments and episodes.
        period: a sequence may begin at every `period`-th row of a segment, and the array `core` has only
            these rows. It divides `segment_length`.
        start: `episode` lets a sequence begin at the first row of an episode only; `period` is then 1.
        agents: columns beside each other that are drawn together, as columns beside each other of the batch. It
            is 1, or `spaces.agents` for an algorithm that trains the agents of an environment together.
        weighting: chances are proportional to priority**exponent, with `rank` to rank**-exponent, and with
            `linearRank` to 1 + exponent * (n - rank); the highest of n priorities has rank 1.
    """

    segment_length: int
    batch_size: int
    min_size: int
    samples_per_insert: float
    priority_exponent: float = 0.0
    updates_per_publish: int = 8
    length: int = 1
    period: int = 1
    start: Literal["row", "episode"] = "row"
    agents: int = 1
    weighting: Weighting = "proportional"

    def __post_init__(self) -> None:
        names = ("segment_length", "batch_size", "min_size", "samples_per_insert")
        _positive(self, *names, "updates_per_publish", "length", "period", "agents")
        _one_of(self, "weighting", get_args(Weighting))
        _one_of(self, "start", ("row", "episode"))

    @property
    def samples(self) -> int:
        """Environment steps drawn between two published policy versions; each agent's step is one."""
        return self.updates_per_publish * self.batch_size * self.length * self.agents

    @property
    def span(self) -> int:
        """Segments that one sequence reaches over, at most."""
        return (self.segment_length - self.period + self.length - 1) // self.segment_length + 1


def _positive(of: OnPolicy | Replay, *names: str) -> None:
    for name in names:
        value = getattr(of, name)
        if not value > 0:
            raise ValueError(f"{type(of).__name__}: {name} is {value}, and has to be above 0")


def _one_of(of: Replay, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(of, name)
    if value not in allowed:
        raise ValueError(f"Replay: {name} is {value!r}, and has to be {' or '.join(allowed)}")
