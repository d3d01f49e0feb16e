"""Episodes that the buffer told of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.wire.messages import Rejected


@dataclass(frozen=True)
class EndedEpisodes:
    """Training episodes, in the order in which they arrived at the buffer.

    Attributes:
        records: float64 `[E, numbers]`: return, length, discounted return, and the numbers of `info`.
        versions: int64 `[E]`, of the policy that acted when the episode ended.
        rollouts: text `[E]`, name of the rollout.
        stored: int64 `[E]`, steps that the buffer had stored with their segments, since its arena was made.
    """

    records: np.ndarray
    versions: np.ndarray
    rollouts: np.ndarray
    stored: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    def after(self, count: int) -> EndedEpisodes:
        """Without the first ones."""
        parts = (self.records, self.versions, self.rollouts, self.stored)
        return EndedEpisodes(*(each[count:] for each in parts))

    @classmethod
    def take(cls, arrays: Arrays, numbers: int) -> EndedEpisodes:
        """Remove them from the arrays of STATS.

        Args:
            numbers: in one record.

        Raises:
            Rejected: they do not have the form.
        """
        found = [
            arrays.pop(name) for name in ("episode", "version", "rollout", "stored_then", "names")
        ]
        records, versions, rollouts, stored, text = found
        count = len(records)
        names = text.tobytes().decode(errors="replace").split("\n")
        if records.shape != (count, numbers) or versions.shape != (count,):
            raise Rejected("layout", f"episodes {records.shape}, versions {versions.shape}")
        if stored.shape != (count,):
            raise Rejected("layout", f"steps stored {stored.shape} of {count} episodes")
        if rollouts.shape != (count,) or not ((rollouts >= 0) & (rollouts < len(names))).all():
            raise Rejected("layout", f"rollouts {rollouts.shape} of {len(names)}")
        return cls(records, versions, np.array(names)[rollouts], stored)
