"""Counts the deaths of the learner by what it was training on. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

MOST_DEATHS = 2
"""Deaths in a row in the same experience after which that experience is set aside."""

K = TypeVar("K", bound=Hashable)


@dataclass
class Suspects(Generic[K]):
    """Experience that a learner died of, by what identifies it.

    A learner that is killed from outside has the same experience again, trains on it, and clears it.
    """

    _deaths: dict[K, int] = field(default_factory=dict)

    def died(self, batch: Sequence[K]) -> list[K]:
        """Count a death in a batch; returns what is to be set aside, which is forgotten.

        What was in an earlier batch and not in this one is no suspect any more.
        """
        self._deaths = {one: self._deaths.get(one, 0) + 1 for one in batch}
        guilty = [one for one, deaths in self._deaths.items() if deaths >= MOST_DEATHS]
        for one in guilty:
            del self._deaths[one]
        return guilty

    def trained(self, one: K) -> None:
        """The learner has trained on it and lives."""
        self._deaths.pop(one, None)
