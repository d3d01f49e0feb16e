"""Returns of whole episodes, for algorithms that estimate no value. No torch."""

from __future__ import annotations

import numpy as np

from rljob.algorithms.gae import gae
from rljob.envs.spaces import Arrays


def whole_returns(batch: Arrays, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Discounted returns to the end of the episode, float32 `[T, N]`, and where that end is in the segment, bool
    `[T, N]`. A truncated episode counts as ended: there is no value to go on with.
    """
    ends = batch["terminated"], batch["truncated"], batch["valid"]
    terminated, truncated, valid = ends
    nothing = np.zeros((len(valid) + 1, valid.shape[1]), np.float32)
    ret = gae(batch["reward"], nothing, *ends, gamma=gamma, gae_lambda=1.0)
    ended = (terminated | truncated) & valid
    later = np.logical_or.accumulate(ended[::-1], axis=0)[::-1]
    return ret, later & valid
