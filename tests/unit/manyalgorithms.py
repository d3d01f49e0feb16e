"""Settings of made-up algorithms, as many as the definition of RLJobs has to have room for."""

from __future__ import annotations

import functools
import itertools
from typing import Any

from pydantic import create_model

from rljob.algorithms.base import AlgorithmConfig, Rate
from rljob.algorithms.schedule import Schedule

ALGORITHMS, SETTINGS = 40, 30
_FIRST = ("learning", "exploration", "discount", "target", "gradient", "entropy")
_SECOND = ("rate", "coefficient", "exponent", "interval", "temperature")


@functools.cache
def many() -> dict[str, type[AlgorithmConfig]]:
    """The settings of each by name, of which the first is a schedule.

    Names of settings are as long as real ones, and differ between algorithms.
    """
    pairs = list(itertools.product(_FIRST, _SECOND))[:SETTINGS]
    made: dict[str, type[AlgorithmConfig]] = {}
    for index in range(ALGORITHMS):
        names = [f"{first}_{second}_{index}" for first, second in pairs]
        fields: dict[str, Any] = dict.fromkeys(names, (Rate, 0.5))
        fields[names[0]] = (Schedule[Rate], Schedule(0.5))
        made[f"Algorithm{index}"] = create_model(
            f"Algorithm{index}Config", __base__=AlgorithmConfig, **fields
        )
    return made
