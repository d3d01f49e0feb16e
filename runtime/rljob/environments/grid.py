"""A walk on slippery ground: the world of 4 x 3 cells of Russell & Norvig ("Artificial Intelligence", chapter "Making
complex decisions"), with the rules that SRL has for its `Grid` (pocokhc/simple_distributed_rl, srl/envs/grid.py).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

WORLD = ("...G", ".#.H", "S...")
"""From the top row down: the start, the goal, the hole, and a wall."""
MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))
"""Rows and columns by action: left, down, right, up."""
GOAL_REWARD, HOLE_REWARD = 1.0, -1.0

_ROWS, _COLUMNS = len(WORLD), len(WORLD[0])
_START = (2, 0)
_PIXELS = 32
_COLOURS = {"#": (90, 90, 90), "G": (70, 160, 90), "H": (190, 70, 60)}


class GridWorld(gymnasium.Env[np.int64, np.int64]):
    """Reach the goal in the upper right corner and not the hole below it; both end the episode.

    The observation is the number of the cell, `4 * row + column`, row 0 being the top one. Actions are 0 left, 1 down,
    2 right and 3 up. A move goes astray to either side, never back. One against the wall or out of the world stays
    where it is.

    Args:
        move_reward: of a move that ends nowhere; the goal gives 1 and the hole -1 instead.
        move_probability: chance that a move goes where it should, in [0, 1]; each side has half of the rest.
        render_mode: None or `rgb_array`.

    Raises:
        ValueError: move_probability is no probability.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012  # Gymnasium's own

    def __init__(
        self,
        move_reward: float = -0.04,
        move_probability: float = 0.8,
        render_mode: str | None = None,
    ) -> None:
        if not 0 <= move_probability <= 1:
            raise ValueError(f"move_probability is {move_probability}; a number from 0 to 1")
        self.observation_space = spaces.Discrete(_ROWS * _COLUMNS)
        self.action_space = spaces.Discrete(len(MOVES))
        self.render_mode = render_mode
        self._move_reward, self._probability = move_reward, move_probability
        self._at = _START

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = _START
        return self._cell(), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        drawn, side = self.np_random.random(), (1.0 - self._probability) / 2
        # The actions go around: those before and after one are its sides.
        turn = 0 if drawn >= 2 * side else 1 if drawn >= side else -1
        self._at = follow(self._at, (int(action) + turn) % len(MOVES))
        here = WORLD[self._at[0]][self._at[1]]
        ends = {"G": GOAL_REWARD, "H": HOLE_REWARD}
        return self._cell(), ends.get(here, self._move_reward), here in ends, False, {}

    def render(self) -> Any:
        """RGB, uint8 `[96, 128, 3]`; None without a render mode."""
        if self.render_mode is None:
            return None
        picture = np.full((_ROWS * _PIXELS, _COLUMNS * _PIXELS, 3), 235, np.uint8)
        for row, line in enumerate(WORLD):
            for column, what in enumerate(line):
                if what in _COLOURS:
                    _square(picture, row, column, 1)[:] = _COLOURS[what]
        _square(picture, *self._at, _PIXELS // 4)[:] = (40, 90, 200)
        return picture

    def _cell(self) -> np.int64:
        return np.int64(self._at[0] * _COLUMNS + self._at[1])


def follow(at: tuple[int, int], action: int) -> tuple[int, int]:
    """The cell, as row and column, that lies in the direction of an action; `at` where there is none to stand on."""
    row, column = at[0] + MOVES[action][0], at[1] + MOVES[action][1]
    inside = 0 <= row < _ROWS and 0 <= column < _COLUMNS
    return (row, column) if inside and WORLD[row][column] != "#" else at


def _square(picture: np.ndarray, row: int, column: int, margin: int) -> np.ndarray:
    """The part of a picture that shows a cell, without a margin."""
    top, left, size = row * _PIXELS + margin, column * _PIXELS + margin, _PIXELS - 2 * margin
    return picture[top : top + size, left : left + size]
