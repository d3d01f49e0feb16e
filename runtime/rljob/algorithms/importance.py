"""Importance weights of prioritised replay (Schaul et al. 2016, https://arxiv.org/abs/1511.05952). Pure."""

from __future__ import annotations

import numpy as np

from rljob.envs.spaces import Arrays


def importance_weights(batch: Arrays, exponent: float) -> np.ndarray:
    """Weights that undo the bias of prioritised drawing, the largest being 1: float32 `[B]`.

    Args:
        batch: with `probability`, the chance `[B]` of each transition, and `stored`, the number of transitions.
        exponent: in [0, 1]; 1 corrects in full.
    """
    weight: np.ndarray = (batch["probability"] * batch["stored"]) ** -exponent
    weight /= weight.max()
    return weight.astype(np.float32)
