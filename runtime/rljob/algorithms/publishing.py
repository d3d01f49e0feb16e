"""What a learner publishes: the arrays of one policy version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rljob.algorithms.base import Algorithm, Learner, Progress
from rljob.envs.spaces import Arrays
from rljob.errors import RunError
from rljob.nets import export
from rljob.nets.acting import OF_NETWORK

if TYPE_CHECKING:
    import torch


def policy_arrays(
    algorithm: Algorithm,
    networks: Mapping[str, torch.nn.Module],
    learner: Learner,
    progress: Progress,
    copy: bool,
) -> Arrays:
    """The weights of the acting networks and what `Learner.publish` adds; `ActingNetworks.load` takes them.

    Args:
        copy: whether they stay as they are; else they may change with the next update.

    Raises:
        RunError: the learner publishes something that is no dict of arrays of numbers, or under a name with a slash.
    """
    arrays = export(networks, algorithm.networks, copy)
    published: object = learner.publish(progress)
    if not isinstance(published, Mapping):
        kind = type(published).__name__
        raise RunError(
            f"{type(learner).__name__}.publish returned a {kind}, expected a dict of arrays"
        )
    for name, value in published.items():
        if OF_NETWORK in name:
            raise RunError(f"publish: the name {name!r} must not contain {OF_NETWORK!r}")
        array = np.array(value) if copy else np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise RunError(f"publish: {name!r} has dtype {array.dtype}, expected numbers")
        arrays[name] = array
    return arrays
