"""Activations by name, in numpy; `torch_hidden` has the same for torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

Activation = Literal["tanh", "relu", "leakyRelu", "elu", "gelu", "silu"]
LEAK = 0.01
"""Slope of `leakyRelu` below 0."""


def relu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """`max(x, 0)`, written to `out`."""
    result: np.ndarray = np.maximum(x, 0.0, out=out)
    return result


def _leaky_relu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    result: np.ndarray = np.maximum(x, LEAK * x, out=out)
    return result


def _elu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    # Where x is positive, the exponential is that of 0.
    below = np.expm1(np.minimum(x, 0.0))
    result: np.ndarray = np.maximum(x, 0.0, out=out)
    result += below
    return result


def _gelu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """By tanh (Hendrycks & Gimpel 2016)."""
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)
    result: np.ndarray = np.multiply(x, 0.5 + 0.5 * np.tanh(inner), out=out)
    return result


def _silu(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    # The logistic function by tanh, which cannot overflow.
    result: np.ndarray = np.multiply(x, 0.5 + 0.5 * np.tanh(0.5 * x), out=out)
    return result


ACTIVATIONS: Mapping[Activation, Callable[..., np.ndarray]] = {
    "tanh": np.tanh,
    "relu": relu,
    "leakyRelu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "silu": _silu,
}
"""Called with `(x, out=)`, which may be one array."""

SLOPES: Mapping[Activation, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": lambda y: 1 - np.square(y),
    "relu": lambda y: y > 0,
    "leakyRelu": lambda y: np.where(y > 0, np.float32(1), np.float32(LEAK)),
    "elu": lambda y: np.minimum(y, 0) + 1,
}
"""Derivatives of those that have one as a function of their output."""
