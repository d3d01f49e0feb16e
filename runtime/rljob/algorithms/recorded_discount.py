"""The discount of the discounted returns that a run records."""

from __future__ import annotations

from rljob.algorithms import load_config
from rljob.spec import RLJobSpec
from rljob.spec.sections import AlgorithmSpec


def recorded_discount(spec: RLJobSpec) -> tuple[float, str]:
    """The discount for each step, and the field that it comes from; empty where no field gives one, and it is 1.

    Raises:
        InputError: as `load_config`.
    """
    if spec.environment.discount is not None:
        return spec.environment.discount, "environment.discount"
    gamma = _gamma(spec.algorithm)
    return (1.0, "") if gamma is None else (gamma, "algorithm.config.gamma")


def discount_of(algorithm: AlgorithmSpec) -> float:
    """The discount of an algorithm's setting `gamma`; 1 without one. Raises InputError as `load_config`."""
    gamma = _gamma(algorithm)
    return 1.0 if gamma is None else gamma


def _gamma(algorithm: AlgorithmSpec) -> float | None:
    gamma = getattr(load_config(algorithm), "gamma", None)
    return float(gamma) if isinstance(gamma, int | float) and 0 <= gamma <= 1 else None
