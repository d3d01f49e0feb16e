"""Settings of made-up algorithms, as many as the definition of RLJobs has to have room for."""

from __future__ import annotations

import itertools
from typing import Any

from pydantic import create_model

from rljob.algorithms.base import AlgorithmConfig, Rate
from rljob.algorithms.schedule import Schedule

ALGORITHMS, SETTINGS = 40, 30
_FIRST = ("learning", "exploration", "discount", "target", "gradient", "entropy")
_SECOND = ("rate", "coefficient", "exponent", "interval", "temperature")


def many() -> dict[str, type[AlgorithmConfig]]:
    """The settings of each by name; names of settings are as long as real ones, and differ between algorithms."""
    pairs = list(itertools.product(_FIRST, _SECOND))[:SETTINGS]
    fields: dict[str, Any] = {}
    made: dict[str, type[AlgorithmConfig]] = {}
    for index in range(ALGORITHMS):
        fields = {
            f"{first}_{second}_{index}": (Schedule[Rate], Schedule(0.5)) for first, second in pairs
        }
        made[f"Algorithm{index}"] = create_model(
            f"Algorithm{index}Config", __base__=AlgorithmConfig, **fields
        )
    return made
