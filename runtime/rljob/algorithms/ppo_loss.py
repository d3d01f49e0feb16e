"""PPO's loss: the clipped objective or a penalty for moving away, the value's error and the entropy bonus. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.algorithms.base import Progress
    from rljob.algorithms.built_in.ppo import PPOConfig

KL_WEIGHTS = (1e-6, 1e6)
"""Bounds of the penalty's weight: from either, it still adapts."""


class PPOLoss(NamedTuple):
    """Scalars, but for `log_ratio` `[B]`; `total` is what to descend.

    Attributes:
        divergence: estimate of the KL divergence from the policy that acted, nats; None without `kl_penalty`.
    """

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    log_ratio: Tensor
    divergence: Tensor | None


def ppo_loss(
    log_prob: Tensor,
    entropy: Tensor,
    value: Tensor,
    *,
    old_log_prob: Tensor,
    old_value: Tensor,
    advantage: Tensor,
    target: Tensor,
    config: PPOConfig,
    progress: Progress,
    kl_weight: float = 0.0,
) -> PPOLoss:
    """The objective of the policy, the value's error and the entropy bonus; all tensors are `[B]`.

    Args:
        log_prob: of the actions under the present policy.
        entropy: of the present policy.
        value: present estimates.
        old_log_prob: of the actions under the policy that acted.
        old_value: estimates before the update; used by `value_clip` alone.
        advantage: of the actions.
        target: what the value should be.
        config: clips, penalty, threshold and coefficients, as they are at `progress`.
        kl_weight: of the penalty, where `config` has one.
    """
    # Beyond e^20 a ratio would overflow to gradients that are not numbers.
    log_ratio = (log_prob - old_log_prob).clamp(max=20.0)
    ratio = log_ratio.exp()
    if config.clip is None:
        gain = ratio * advantage
    else:
        gain = clipped_gain(ratio, advantage, config.clip.at(progress))
    policy = -gain.mean()
    error = _penalised(value - target, config.value_huber)
    if config.value_clip is not None:
        limit = config.value_clip.at(progress)
        near = old_value + (value - old_value).clamp(-limit, limit)
        error = error.maximum(_penalised(near - target, config.value_huber))
    value_loss = error.mean()
    mean_entropy = entropy.mean()
    total = policy + config.value_coefficient.at(progress) * value_loss
    bonus = config.entropy_coefficient.at(progress)
    if bonus:
        total = total - bonus * mean_entropy
    divergence = None
    if config.kl_penalty is not None:
        divergence = kl_estimate(ratio, log_ratio)
        total = total + kl_weight * divergence
    return PPOLoss(total, policy, value_loss, mean_entropy, log_ratio, divergence)


def clipped_gain(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """What PPO ascends, of any one shape: the smaller of the gains with the ratio and with that within 1 ± clip."""
    return (ratio * advantage).minimum(ratio.clamp(1 - clip, 1 + clip) * advantage)


def _penalised(error: Tensor, threshold: float | None) -> Tensor:
    """Squares, which go on as straight lines beyond the threshold."""
    if threshold is None:
        return error.square()
    size = error.abs()
    small = size.clamp(max=threshold)
    return small * (2 * size - small)


def kl_estimate(ratio: Tensor, log_ratio: Tensor) -> Tensor:
    """Estimate of low variance, never negative, from ratios `[B]`: http://joschu.net/blog/kl-approx.html."""
    return (ratio - 1 - log_ratio).mean()


def adapted(weight: float, divergence: float, target: float) -> float:
    """The penalty's next weight: twice as large where the divergence is far above the target, half below."""
    if divergence > 1.5 * target:
        weight *= 2
    elif divergence < target / 1.5:
        weight /= 2
    return min(max(weight, KL_WEIGHTS[0]), KL_WEIGHTS[1])
