"""How a policy acts whose output, squashed by tanh, is the action of a bounded Box. No torch."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from rljob.algorithms.acting import Acted, ActionScores, Actor, Seen


class SquashedActor(Actor):
    """Acts by the head `action`, `[N, D]`; the algorithm has the `shape` of an action."""

    kind: ClassVar[str] = "squashed"

    def act(self, seen: Seen) -> Acted:
        action = np.tanh(self.policy(seen)["action"])
        if not self.place.greedy:
            action = self.explore(action, seen)
        shaped = action.reshape(len(action), *self.algorithm.shape)
        return Acted(shaped, scores=ActionScores("action", action, (-1.0, 1.0)))

    def explore(self, action: np.ndarray, seen: Seen) -> np.ndarray:
        """The action of a rollout, `[N, D]` from -1 to 1; without noise by default."""
        return action
