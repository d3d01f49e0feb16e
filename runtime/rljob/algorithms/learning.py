"""The learning half of an algorithm: what it is given, what it reports, and how it is saved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rljob.algorithms import saved_state
from rljob.algorithms.progress import Progress
from rljob.algorithms.saved_state import LearnerState
from rljob.envs.spaces import Arrays


@dataclass
class Update:
    """What one update reports: scalars for the metrics, and new priorities of a replay batch."""

    metrics: dict[str, float]
    priorities: np.ndarray | None = None


class Learner:
    """The learning half; lives in the learner process only.

    Whatever goes on from one update to the next is an attribute: networks, optimizers, random generators,
    tensors and arrays. They are saved with every checkpoint and restored from it; see `saved_state`.
    Numbers and texts are settings and are not saved.
    """

    def update(self, batch: Arrays, progress: Progress) -> Update:
        """Train on one batch.

        On-policy: the batch holds segments side by side, `[T, sum of N, ...]` (`observation` has
        `T + 1` rows). Replay: `[B, ...]` with `observation`, `action`, `next_observation`, the
        algorithm's fields, and for prioritised replay `probability`, the chance `[B]` with which each
        was drawn, together with `stored`, the number of transitions it was drawn from. Where the
        environments tell which actions are allowed there is `mask` beside `observation`, bool `[..., K]` with as
        many rows, and `next_mask` beside `next_observation`; where they tell their whole state, likewise `state` and
        `next_state`.

        With `Replay(agents=k)` a batch is `[B * k, ...]`: the `k` agents of a draw are beside each other. `valid` is
        among the arrays, False for agents that take no step. `state`, `probability`, `stored` and the priorities
        that are returned are `[B, ...]`.
        """
        raise NotImplementedError

    def publish(self, progress: Progress) -> dict[str, Any]:
        """Numbers and arrays that acting needs beside the acting networks' weights; `policy.arrays` there.

        For example `epsilon`, or a table. By default there are none.
        """
        return {}

    def state(self) -> LearnerState:
        """Copies of all that is needed to go on as if never stopped."""
        return saved_state.save(vars(self))

    def load_state(self, state: LearnerState) -> None:
        """Go on from what `state` returned.

        Raises:
            ValueError: it is that of other attributes, or of other shapes.
        """
        saved_state.load(vars(self), state)
