"""Quantile regression with Huber's threshold (Dabney et al. 2018, https://arxiv.org/abs/1710.10044). Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class QuantileLoss(NamedTuple):
    """The loss, that of each transition unweighted, `[B]`, and its derivative by the quantiles, `[B, N]`."""

    total: float
    each: np.ndarray
    by_quantile: np.ndarray


def midpoints(count: int) -> np.ndarray:
    """Levels in the middle of equal shares, `(i + 1/2) / count`: float32 `[count]`."""
    return (np.arange(count, dtype=np.float32) + 0.5) / np.float32(count)


def quantile_huber_loss(
    quantiles: np.ndarray,
    levels: np.ndarray,
    target: np.ndarray,
    threshold: float,
    weight: np.ndarray | None,
) -> QuantileLoss:
    """Mean over the batch of the quantile Huber loss: summed over quantiles, averaged over targets.

    An error `u`, target minus quantile, costs `u² / 2k` where it is below the threshold `k`, else `|u| - k/2`;
    times the quantile's level if it is positive, else times 1 minus the level.

    Args:
        quantiles: predicted for the chosen actions, float32 `[B, N]`.
        levels: of the quantiles, float32 in [0, 1]: `[B, N]`, or `[N]` for all.
        target: float32 `[B, M]`, equally likely returns.
        threshold: `k`.
        weight: of each transition, float32 `[B]`; None is 1.
    """
    level = levels[..., None]
    error = target[:, None, :] - quantiles[:, :, None]
    slope = np.clip(error / threshold, -1, 1) if threshold > 0 else np.sign(error)
    weighted = np.where(error < 0, 1 - level, level) * slope
    each = (weighted * (error - 0.5 * threshold * slope)).mean(axis=2).sum(axis=1)
    by_quantile = -weighted.mean(axis=2) / np.float32(len(quantiles))
    if weight is None:
        return QuantileLoss(float(each.mean()), each, by_quantile)
    return QuantileLoss(float((each * weight).mean()), each, by_quantile * weight[:, None])
