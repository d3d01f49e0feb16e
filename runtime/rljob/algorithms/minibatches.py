"""What PPO's gradient steps see of a batch: rows or, of a network with memory, whole columns. Torch is imported on use.

A column is one environment in one segment. A memory is followed along it from the segment's start.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rljob.algorithms.advantages import VALUED_BYTES, values
from rljob.envs.spaces import Arrays, Space, encoded_size

if TYPE_CHECKING:
    from rljob.nets.torch_gradients import Backward, Differentiable
    from rljob.nets.torch_nets import Network

Forward = Callable[[], "tuple[Arrays, Backward]"]
"""Computes the outputs for the rows of a minibatch, `{head: float32 [B, size]}`, and how to differentiate them."""


class Minibatches(Protocol):
    """A batch of segments as the network reads it, with the weights that it has at the time."""

    def values(self) -> np.ndarray:
        """Of all observations, float32 `[(T + 1) * N]`."""
        ...

    def shuffled(
        self, data: Arrays, rng: np.random.Generator, count: int
    ) -> Iterator[tuple[Forward, Arrays]]:
        """One pass over the valid rows in random order.

        Args:
            data: flat arrays `[T * N, ...]`, or longer.
            count: of minibatches; fewer where there are fewer rows, or columns. None is empty.
        """
        ...


def read_by(network: Network, space: Space) -> Callable[[Arrays], Minibatches]:
    """How a network reads batches; its parameters must have gradients by now.

    Args:
        space: of observations.
    """
    if network.core_size:
        return partial(ColumnMinibatches, network, space)
    from rljob.nets.torch_gradients import differentiable

    return partial(RowMinibatches, differentiable(network), space)


class RowMinibatches:
    """Of a network without memory."""

    def __init__(self, network: Differentiable, space: Space, batch: Arrays) -> None:
        observation = batch["observation"]
        self._network, self._space = network, space
        self._observation = network.place(observation.reshape(-1, *observation.shape[2:]))
        self._rows = np.flatnonzero(batch["valid"])

    def values(self) -> np.ndarray:
        return values(self._network, self._observation, self._space)

    def shuffled(
        self, data: Arrays, rng: np.random.Generator, count: int
    ) -> Iterator[tuple[Forward, Arrays]]:
        order = rng.permutation(self._rows)
        seen = self._observation[order]
        shuffled = {name: array.take(order, axis=0) for name, array in data.items()}
        for start, end in itertools.pairwise(_bounds(len(order), count)):
            part = {name: array[start:end] for name, array in shuffled.items()}
            yield partial(self._network.with_backward, seen[start:end]), part


class ColumnMinibatches:
    """Of a network with memory."""

    def __init__(self, network: Network, space: Space, batch: Arrays) -> None:
        from rljob.nets.torch_batch import begins, tensors

        self._network, self._space = network, space
        self._valid = batch["valid"]
        used = {name: batch[name] for name in ("observation", "valid", "core")}
        data = tensors(used, network.device)
        # Each is [rows, N, ...]: columns are cut out of them.
        self._inputs = data["observation"], begins(data["valid"]), data["core"]

    def values(self) -> np.ndarray:
        import torch

        length, columns = self._valid.shape
        size = max(1, VALUED_BYTES // (4 * encoded_size(self._space) * (length + 1)))
        with torch.no_grad():
            parts = [
                self._network.unroll(*(each[:, start : start + size] for each in self._inputs))[0]
                for start in range(0, columns, size)
            ]
        found = torch.cat([part["value"] for part in parts], dim=1)
        return found.cpu().numpy().reshape(-1)

    def shuffled(
        self, data: Arrays, rng: np.random.Generator, count: int
    ) -> Iterator[tuple[Forward, Arrays]]:
        length, columns = self._valid.shape
        whole = {
            name: array.reshape(-1, columns, *array.shape[1:])[:length]
            for name, array in data.items()
        }
        order = rng.permutation(np.flatnonzero(self._valid.any(axis=0)))
        for start, end in itertools.pairwise(_bounds(len(order), count)):
            taken = order[start:end]
            valid = self._valid[:, taken]
            part = {name: array[:, taken][valid] for name, array in whole.items()}
            yield partial(self._with_backward, taken, valid), part

    def _with_backward(self, taken: np.ndarray, valid: np.ndarray) -> tuple[Arrays, Backward]:
        import torch

        from rljob.nets.torch_gradients import with_backward

        columns, rows = (torch.from_numpy(each).to(self._network.device) for each in (taken, valid))
        outputs, _ = self._network.unroll(*(each[:, columns] for each in self._inputs))
        used = {name: output[:-1][rows] for name, output in outputs.items()}
        return with_backward(self._network, used)


def _bounds(number: int, count: int) -> list[int]:
    """Of `count` parts of about one size, none of them empty."""
    count = min(number, count)
    return [i * number // count for i in range(count + 1)]
