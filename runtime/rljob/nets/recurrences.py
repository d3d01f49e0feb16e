"""Recurrences along time and their gradients in numpy (backpropagation through time, Werbos 1990,
https://doi.org/10.1109/5.58337).

A step of a small memory is bound by the number of torch's operations, each of which costs more than the arithmetic that
it starts: on a CPU, this takes a fraction of the time. `torch_recurrent` has the same steps for other devices.

Args of each `forward`:

* `new` float32 `[L, N, parts * size]`: products with what comes in, gates and candidate as in `recurrent`;
* `core` float32 `[N, core_size]`: the memory before the first row;
* `keeps` float32 `[L, N, 1]`: 0 where the memory is emptied before the row, else 1;
* `weight` `[parts * size, size]` and `bias`: by which the memory comes in.

It returns what heads see, `[L, N, size]`, the memory after the last row, and what `backward` needs of it. `backward` takes
that and the loss' gradient by the first two, and returns its gradient by `new`, `core`, `weight` and `bias`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np


class Recurrence(NamedTuple):
    """See the module."""

    forward: Callable[..., tuple[np.ndarray, np.ndarray, Any]]
    backward: Callable[[Any, np.ndarray, np.ndarray], tuple[np.ndarray, ...]]


class _Tape(NamedTuple):
    """Of all rows, `[L, N, ...]`, before and within each step."""

    keeps: np.ndarray
    weight: np.ndarray
    before: np.ndarray
    gates: np.ndarray
    other: np.ndarray


def logistic(x: np.ndarray) -> np.ndarray:
    """By tanh, which cannot overflow."""
    y: np.ndarray = np.tanh(0.5 * x)
    y *= 0.5
    y += 0.5
    return y


def lstm_gates(products: np.ndarray) -> None:
    """Turn products `[..., 4 * size]` into the gates of an LSTM and its candidate, in place, by one tanh."""
    scale, shift = _lstm_scales(products.shape[-1])
    products *= scale
    np.tanh(products, out=products)
    products *= scale
    products += shift


@lru_cache(maxsize=8)
def _lstm_scales(width: int) -> tuple[np.ndarray, np.ndarray]:
    scale = np.full(width, 0.5, np.float32)
    scale[width // 2 : width * 3 // 4] = 1
    return scale, 1 - scale


def _gru_forward(
    new: np.ndarray, core: np.ndarray, keeps: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, _Tape]:
    length, count, size = len(new), new.shape[1], weight.shape[1]
    states, before = (np.empty((length, count, size), np.float32) for _ in range(2))
    # Reset gate, update gate, candidate; and the product that the reset gate scales.
    gates, scaled = np.empty_like(new), np.empty_like(states)
    h, by, both = core, weight.T, slice(0, 2 * size)
    for t in range(length):
        np.multiply(h, keeps[t], out=before[t])
        old = before[t] @ by
        old += bias
        scaled[t] = old[:, 2 * size :]
        gates[t, :, both] = logistic(new[t, :, both] + old[:, both])
        reset, update = gates[t, :, :size], gates[t, :, size : 2 * size]
        candidate = np.tanh(new[t, :, 2 * size :] + reset * scaled[t])
        gates[t, :, 2 * size :] = candidate
        h = states[t]
        np.subtract(before[t], candidate, out=h)
        h *= update
        h += candidate
    return states, h.copy(), _Tape(keeps, weight, before, gates, scaled)


def _gru_backward(
    kept: _Tape, by_states: np.ndarray, by_last: np.ndarray
) -> tuple[np.ndarray, ...]:
    keeps, weight, before, gates, scaled = kept
    size = weight.shape[1]
    by_new, by_old = np.empty_like(gates), np.empty_like(gates)
    by_h = by_last
    for t in range(len(gates) - 1, -1, -1):
        by_h = by_h + by_states[t]
        gate = gates[t, :, : 2 * size]
        reset, update, candidate = np.split(gates[t], 3, axis=1)
        by_candidate = by_h * (1 - update) * (1 - candidate * candidate)
        by_gate = by_new[t, :, : 2 * size]
        np.multiply(by_candidate, scaled[t], out=by_gate[:, :size])
        np.multiply(by_h, before[t] - candidate, out=by_gate[:, size:])
        by_gate *= gate * (1 - gate)
        by_new[t, :, 2 * size :] = by_candidate
        by_old[t, :, : 2 * size] = by_gate
        np.multiply(by_candidate, reset, out=by_old[t, :, 2 * size :])
        by_h = (by_h * update + by_old[t] @ weight) * keeps[t]
    return by_new, by_h, *_by_product(by_old, before)


def _lstm_forward(
    new: np.ndarray, core: np.ndarray, keeps: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray, _Tape]:
    length, count, size = len(new), new.shape[1], weight.shape[1]
    states = np.empty((length, count, size), np.float32)
    # Output and cell, before each step.
    before = np.empty((length, count, 2 * size), np.float32)
    # Input gate, forget gate, candidate, output gate; and the tanh of the cell.
    gates, squashed = new + bias, np.empty_like(states)
    by, here = weight.T, core.copy()
    for t in range(length):
        np.multiply(here, keeps[t], out=before[t])
        gates[t] += before[t, :, :size] @ by
        lstm_gates(gates[t])
        enters, keeps_cell, candidate, leaves = np.split(gates[t], 4, axis=1)
        cell = here[:, size:]
        np.multiply(keeps_cell, before[t, :, size:], out=cell)
        cell += enters * candidate
        np.tanh(cell, out=squashed[t])
        np.multiply(leaves, squashed[t], out=states[t])
        here[:, :size] = states[t]
    return states, here, _Tape(keeps, weight, before, gates, squashed)


def _lstm_backward(
    kept: _Tape, by_states: np.ndarray, by_last: np.ndarray
) -> tuple[np.ndarray, ...]:
    keeps, weight, before, gates, squashed = kept
    size = weight.shape[1]
    by_new = np.empty_like(gates)
    by_h, by_cell = by_last[:, :size], by_last[:, size:]
    for t in range(len(gates) - 1, -1, -1):
        by_h = by_h + by_states[t]
        enters, keeps_cell, candidate, leaves = np.split(gates[t], 4, axis=1)
        by_cell = by_cell + by_h * leaves * (1 - squashed[t] * squashed[t])
        slope = gates[t] * (1 - gates[t])
        slope[:, 2 * size : 3 * size] = 1 - candidate * candidate
        np.multiply(by_cell, candidate, out=by_new[t, :, :size])
        np.multiply(by_cell, before[t, :, size:], out=by_new[t, :, size : 2 * size])
        np.multiply(by_cell, enters, out=by_new[t, :, 2 * size : 3 * size])
        np.multiply(by_h, squashed[t], out=by_new[t, :, 3 * size :])
        by_new[t] *= slope
        by_h = (by_new[t] @ weight) * keeps[t]
        by_cell = by_cell * keeps_cell * keeps[t]
    by_core = np.concatenate([by_h, by_cell], axis=1)
    return by_new, by_core, *_by_product(by_new, before[:, :, :size])


def _by_product(by_old: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By weight and bias of the product with the memory."""
    by, seen = by_old.reshape(-1, by_old.shape[-1]), before.reshape(-1, before.shape[-1])
    return by.T @ seen, by.sum(axis=0)


GRU_RECURRENCE = Recurrence(_gru_forward, _gru_backward)
LSTM_RECURRENCE = Recurrence(_lstm_forward, _lstm_backward)
