"""The discount of the discounted returns that a run records."""

from __future__ import annotations

from rljob.algorithms import load_config
from rljob.spec import RLJobSpec


def recorded_discount(spec: RLJobSpec) -> tuple[float, str]:
    """The discount for each step, and the field that it comes from; empty where no field gives one, and it is 1.

    Raises:
        InputError: as `load_config`.
    """
    if spec.environment.discount is not None:
        return spec.environment.discount, "environment.discount"
    gamma = getattr(load_config(spec.algorithm), "gamma", None)
    if isinstance(gamma, int | float) and 0 <= gamma <= 1:
        return float(gamma), "algorithm.config.gamma"
    return 1.0, ""
