"""A model of an environment as a table: what followed each action in each state, and how often. No torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rljob.envs.spaces import Arrays

_COLUMNS = {
    "state": np.int64,
    "action": np.int64,
    "following": np.int64,
    "times": np.float64,
    "reward": np.float64,
    "terminated": np.float64,
}


class Rows(NamedTuple):
    """One row for each state, action and following state that was seen. All `[M]`.

    Attributes:
        state: int64.
        action: int64.
        following: int64, the state that followed.
        times: float64, how often.
        reward: float64, mean.
        terminated: float64, share of the times that ended the episode.
    """

    state: np.ndarray
    action: np.ndarray
    following: np.ndarray
    times: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


class Imagined(NamedTuple):
    """Transitions as the model imagines them. All `[B]`; `terminated` is bool."""

    state: np.ndarray
    action: np.ndarray
    following: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


class TableModel:
    """Counts of what was seen. Its memory grows with the different transitions, not with all that could be.

    Args:
        states: number of states.
        actions: number of actions.

    Attributes:
        tried: float64 `[states, actions]`, how often each was seen.
        allowed: bool `[states, actions]`, which actions each state allows; all, until `observe_masks` says otherwise.
    """

    def __init__(self, states: int, actions: int) -> None:
        self.tried = np.zeros((states, actions))
        self.allowed = np.ones((states, actions), np.bool_)
        self._index: dict[tuple[int, int, int], int] = {}
        self._columns: Arrays = {name: np.zeros(64, kind) for name, kind in _COLUMNS.items()}

    def __len__(self) -> int:
        return len(self._index)

    def rows(self) -> Rows:
        """All that is known, in the order in which it was first seen. The arrays change with `observe`."""
        return Rows(*(column[: len(self)] for column in self._columns.values()))

    def observe(
        self, state: int, action: int, following: int, reward: float, terminated: bool
    ) -> int:
        """Count a transition; returns the number of its row."""
        row = self._index.setdefault((state, action, following), len(self._index))
        columns = self._columns
        if row == len(columns["times"]):
            for name, column in columns.items():
                columns[name] = np.concatenate([column, np.zeros_like(column)])
        columns["state"][row], columns["action"][row] = state, action
        columns["following"][row] = following
        columns["times"][row] += 1
        share = 1.0 / columns["times"][row]
        columns["reward"][row] += share * (reward - columns["reward"][row])
        columns["terminated"][row] += share * (terminated - columns["terminated"][row])
        self.tried[state, action] += 1
        return row

    def observe_masks(self, batch: Arrays) -> None:
        """Note which actions are allowed in the states of a batch of segments, where it says so."""
        if "mask" not in batch:
            return
        seen, mask, valid = batch["observation"], batch["mask"], batch["valid"]
        self.allowed[seen[:-1][valid]] = mask[:-1][valid]
        # At an episode's end nothing need be allowed.
        goes_on = valid & ~batch["terminated"] & ~batch["truncated"]
        self.allowed[seen[1:][goes_on]] = mask[1:][goes_on]

    def draw(self, rng: np.random.Generator, count: int) -> Imagined:
        """Imagine transitions: of all states and actions that were tried each equally likely, and of what followed
        each as likely as it was often. There has to be one.
        """
        rows = self.rows()
        # The rows of each state and action share a weight of 1.
        reach = np.cumsum(rows.times / self.tried[rows.state, rows.action])
        chosen = np.searchsorted(reach, rng.random(count) * reach[-1], side="right")
        # What rounds up to the whole sum belongs to the last row.
        chosen = np.minimum(chosen, len(self) - 1)
        ends = rng.random(count) < rows.terminated[chosen]
        state, action, following, reward = (
            column[chosen] for column in (rows.state, rows.action, rows.following, rows.reward)
        )
        return Imagined(state, action, following, reward, ends)

    def state(self) -> Arrays:
        """All that is known, for a checkpoint."""
        return {"allowed": self.allowed, **self.rows()._asdict()}

    def load_state(self, state: Arrays) -> None:
        """Know what `state` returned, and nothing else.

        Raises:
            ValueError: it is that of another number of states or actions.
        """
        if state["allowed"].shape != self.allowed.shape:
            shapes = list(state["allowed"].shape), list(self.allowed.shape)
            raise ValueError(f"the model has the shape {shapes[0]}, not {shapes[1]}")
        self.allowed[...] = state["allowed"]
        size, found = len(state["times"]), {name: state[name] for name in _COLUMNS}
        spare = max(64, size)
        self._columns = {
            name: np.concatenate([found[name], np.zeros(spare, kind)])
            for name, kind in _COLUMNS.items()
        }
        entries = zip(found["state"].tolist(), found["action"].tolist(), found["following"].tolist(), strict=True)  # fmt: skip
        self._index = {entry: row for row, entry in enumerate(entries)}
        self.tried[...] = 0
        np.add.at(self.tried, (found["state"], found["action"]), found["times"])
