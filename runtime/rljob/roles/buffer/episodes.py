"""Episodes that ended, until the learner has confirmed that it knows them."""

from __future__ import annotations

import numpy as np

from rljob.envs.spaces import Arrays


class UntoldEpisodes:
    """Records of episodes, in the order in which they arrived.

    Args:
        numbers: in one record, see `ExperienceFormat.episode_numbers`.
    """

    def __init__(self, numbers: int) -> None:
        self._records = np.zeros((0, numbers))
        self._versions = np.zeros(0, np.int64)
        self._rollouts = np.zeros(0, np.int64)
        self._stored = np.zeros(0, np.int64)
        self._names: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: np.ndarray, version: int, rollout: str, stored: int) -> None:
        """Add those of one segment.

        Args:
            records: float64 `[E, numbers]`.
            version: of the policy that acted in the segment.
            rollout: name of the rollout.
            stored: steps stored since the arena was made, with those of the segment.
        """
        number = self._names.setdefault(rollout, len(self._names))
        count = len(records)
        self._records = np.concatenate([self._records, records])
        self._versions = np.concatenate([self._versions, np.full(count, version, np.int64)])
        self._rollouts = np.concatenate([self._rollouts, np.full(count, number, np.int64)])
        self._stored = np.concatenate([self._stored, np.full(count, stored, np.int64)])

    def forget(self, count: int) -> None:
        """Remove the first ones."""
        self._records, self._versions = self._records[count:], self._versions[count:]
        self._rollouts, self._stored = self._rollouts[count:], self._stored[count:]
        if not len(self):
            # Otherwise the names of all pods that there ever were would stay.
            self._names = {}

    def first(self, most: int) -> Arrays:
        """The first ones: `episode` float64 `[E, numbers]`, `version` int64 `[E]`, `rollout` int64 `[E]`, which is
        the line of `names`, UTF-8 text, and `stored_then` int64 `[E]`, as in `add`."""
        text = "\n".join(self._names).encode()
        return {
            "episode": self._records[:most],
            "version": self._versions[:most],
            "rollout": self._rollouts[:most],
            "stored_then": self._stored[:most],
            "names": np.frombuffer(text, np.uint8),
        }
