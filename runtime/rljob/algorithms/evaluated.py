"""What the present network says of segments: the part that actor-critic learners share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rljob.envs.spaces import Arrays

if TYPE_CHECKING:
    from torch import Tensor

    from rljob.algorithms.distributions import Distribution
    from rljob.nets.torch_nets import Network


class Evaluated(NamedTuple):
    """Of segments with `T` steps of `N` environments, on the network's device.

    Attributes:
        log_prob: float32 `[T, N]`, of the actions that were taken.
        entropy: float32 `[T, N]`, of the policy (nats).
        value: float32 `[T + 1, N]`.
        valid: bool `[T, N]`; other rows must not be used.
    """

    log_prob: Tensor
    entropy: Tensor
    value: Tensor
    valid: Tensor


def evaluate(network: Network, distribution: Distribution, batch: Arrays) -> Evaluated:
    """Follow the network along time, with its memory if it has one.

    Args:
        network: with the heads of the distribution and `value`.
        batch: segments as on-policy learners get them.
    """
    from rljob.nets.torch_batch import begins, tensors

    data = tensors(batch, network.device)
    valid = data["valid"]
    outputs, _ = network.unroll(data["observation"], begins(valid), data.get("core"))
    value = outputs.pop("value").squeeze(-1)
    acted = {name: output[:-1].flatten(0, 1) for name, output in outputs.items()}
    mask = data["mask"][:-1].flatten(0, 1) if "mask" in data else None
    log_prob, entropy = distribution.evaluate(acted, data["action"].flatten(0, 1), mask)
    return Evaluated(log_prob.view(valid.shape), entropy.view(valid.shape), value, valid)
