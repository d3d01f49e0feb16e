"""Noughts and crosses for two players who take turns, or for one against a perfect player."""

import functools

import gymnasium
import numpy as np

LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))
EMPTY = (0,) * 9


def won(board, player):
    return any(all(board[cell] == player for cell in line) for line in LINES)


def cells(board):
    """Where the next mark may be put."""
    return [cell for cell in range(9) if board[cell] == 0]


def after(board, cell, player):
    return (*board[:cell], player, *board[cell + 1 :])


@functools.cache
def worth(board, player):
    """What the best play of both brings to the player who moves: 1, 0 or -1."""
    if won(board, -player):
        return -1
    return max((-worth(after(board, cell, player), -player) for cell in cells(board)), default=0)


class TicTacToe(gymnasium.Env):
    """The player who moves sees two planes of nine cells: the own marks, and those of the other.

    Args:
        perfect: the mark (1 moves first, or -1) of a player who answers each move without a mistake; 0 for none.
    """

    observation_space = gymnasium.spaces.Box(0.0, 1.0, (18,), np.float32)
    action_space = gymnasium.spaces.Discrete(9)

    def __init__(self, perfect=0):
        self.perfect = perfect

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.board, self.player = EMPTY, 1
        if self.perfect == 1:
            self._answer()
        return self._seen()

    def step(self, action):
        """The reward is that of the player who moved; of one against the perfect player, after its answer."""
        mover = self.player
        self._put(int(action))
        if self.perfect and not self.over:
            self._answer()
        result = 1.0 if won(self.board, mover) else -1.0 if won(self.board, -mover) else 0.0
        observation, info = self._seen()
        return observation, result, self.over, False, info

    @property
    def over(self):
        return won(self.board, 1) or won(self.board, -1) or 0 not in self.board

    def _put(self, cell):
        if self.board[cell]:
            raise ValueError(f"cell {cell} is taken")
        self.board, self.player = after(self.board, cell, self.player), -self.player

    def _answer(self):
        best = [
            -worth(after(self.board, cell, self.player), -self.player) for cell in cells(self.board)
        ]
        good = [
            cell for cell, value in zip(cells(self.board), best, strict=True) if value == max(best)
        ]
        self._put(int(self.np_random.choice(good)))

    def _seen(self):
        board = np.array(self.board)
        observation = np.concatenate([board == self.player, board == -self.player])
        return observation.astype(np.float32), {"action_mask": (board == 0).astype(np.int8)}


def make(perfect=0):
    return TicTacToe(perfect)
