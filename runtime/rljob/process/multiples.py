"""Intervals by steps and updates: whether training has passed a multiple of them. Pure."""

from __future__ import annotations

from typing import Protocol


class Every(Protocol):
    """A section of the spec with such intervals; None where there is none."""

    @property
    def every_steps(self) -> int | None: ...

    @property
    def every_updates(self) -> int | None: ...


class Multiples:
    """Remembers how many multiples were passed when something was done last.

    Args:
        every: the intervals.
    """

    def __init__(self, every: Every) -> None:
        self._every = (every.every_steps, every.every_updates)
        self._done = self._counted(0, 0)

    @property
    def any(self) -> bool:
        """Whether there is an interval by steps or updates."""
        return any(self._every)

    def passed(self, steps: int, updates: int) -> bool:
        """Whether another multiple was passed since `done`."""
        return any(
            now > before
            for now, before in zip(self._counted(steps, updates), self._done, strict=True)
        )

    def done(self, steps: int, updates: int) -> None:
        """It was done at these counts."""
        self._done = self._counted(steps, updates)

    def _counted(self, *counts: int) -> tuple[int, ...]:
        pairs = zip(counts, self._every, strict=True)
        return tuple(0 if every is None else count // every for count, every in pairs)
