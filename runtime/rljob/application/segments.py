"""The rows of one segment, from its first decision until it leaves. Pure."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rljob.algorithms.acting import Acted
from rljob.algorithms.acting_group import kept_arrays
from rljob.application.policies import LoadedPolicy
from rljob.envs.spaces import Arrays
from rljob.wire.experience import CORE, MASK, STATE, ExperienceFormat
from rljob.wire.weights import NOTHING

Cut = Literal["terminated", "truncated", "goes on"]
"""How the episode stands behind the last row."""
_LONGER = ("observation", MASK, STATE)
"""Arrays with a row more than there are steps."""


class OpenSegment:
    """One segment in the program's memory.

    Attributes:
        payload, arrays: as they travel; the arrays are views of the payload.
        kept: what acting keeps for `Actor.finish`, `[T, N, ...]`.
        rows: decisions so far.
        serial: how often this memory was used for another segment.
        policy, generation, stamp: the policy version that acts, see `Policies`.
        opened: when its first decision was taken, in seconds of the caller's clock.
        unrewarded: rows whose reward is still to come, with the time of their decision.
        cut: how the episode stands behind the last row; None while the segment is open.
    """

    __slots__ = (
        "arrays",
        "core_every",
        "cut",
        "generation",
        "kept",
        "length",
        "opened",
        "payload",
        "policy",
        "rows",
        "serial",
        "stamp",
        "unrewarded",
    )

    def __init__(self, plan: ExperienceFormat) -> None:
        self.payload, self.arrays = plan.layout.allocate()
        self.length = plan.length
        self.core_every = self.length // len(self.arrays[CORE]) if CORE in self.arrays else 0
        self.serial = 0
        self.kept: Arrays = {}
        self.policy: LoadedPolicy
        self.generation, self.stamp = 0, NOTHING
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """Use the memory for a new segment."""
        self.serial += 1
        self.rows, self.opened = 0, now
        self.unrewarded: dict[int, float] = {}
        self.cut: Cut | None = None

    @property
    def full(self) -> bool:
        return self.rows == self.length

    @property
    def complete(self) -> bool:
        """Whether it is closed and has all its rewards."""
        return self.cut is not None and not self.unrewarded

    def may_leave(self, now: float, timeout: float) -> bool:
        """Whether it is complete, or has waited for its rewards for `timeout` seconds since its last decision."""
        if self.cut is None:
            return False
        return not self.unrewarded or now - max(self.unrewarded.values()) >= timeout

    def keep(self, acted: Acted) -> None:
        """Keep for `Actor.finish` what acting says of the row that comes next."""
        if not self.kept:
            self.kept = kept_arrays(acted, self.length)
        for name, value in acted.kept.items():
            self.kept[name][self.rows] = value

    def close(
        self, cut: Cut, observation: np.ndarray | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Complete the rows, and fill the rest with padding.

        A segment that ends before it is full is `truncated` where the episode goes on, so that nothing is summed over
        the padding and the row that follows is what to bootstrap from.

        Args:
            observation: what followed the last row, `[N, *shape]`; None, where the episode terminated, repeats the row's.
            mask: which actions were allowed then, bool `[N, K]`; None allows all.
        """
        arrays, rows = self.arrays, self.rows
        self.cut = cut
        seen = arrays["observation"]
        seen[rows] = seen[rows - 1] if observation is None else observation
        if MASK in arrays:
            arrays[MASK][rows] = True if mask is None else mask
        arrays["valid"][:rows], arrays["valid"][rows:] = True, False
        arrays["terminated"][:], arrays["truncated"][:] = False, False
        if cut == "terminated":
            arrays["terminated"][rows - 1] = True
        elif cut == "truncated" or rows < self.length:
            arrays["truncated"][rows - 1] = True
        if rows < self.length:
            self._pad()

    def taken(self) -> Arrays:
        """What `Actor.finish` gets: the rows that were acted, without the padding."""
        rows, arrays = self.rows, {**self.arrays, **self.kept}
        if rows == self.length:
            return arrays
        ends = {CORE: -(-rows // self.core_every) if self.core_every else 0}
        ends |= dict.fromkeys(_LONGER, rows + 1)
        return {name: array[: ends.get(name, rows)] for name, array in arrays.items()}

    def drop_last(self) -> None:
        """Take the last decision back: what followed it never came. Its observation is what followed the row before."""
        self.rows -= 1
        self.unrewarded.pop(self.rows, None)

    def _pad(self) -> None:
        rows = self.rows
        for name, array in self.arrays.items():
            if name == CORE:
                array[-(-rows // self.core_every) :] = 0
            elif name == MASK:
                array[rows + 1 :] = True
            elif name not in ("valid", "terminated", "truncated"):
                array[rows + 1 if name in _LONGER else rows :] = 0

    def returned(self, discount: float) -> tuple[float, float]:
        """Sum over the rows of the mean reward of the columns, and the same with row `i` times `discount ** i`."""
        rewards = self.arrays["reward"][: self.rows].mean(axis=1, dtype=np.float64)
        return float(rewards.sum()), float(rewards @ discount ** np.arange(self.rows))
