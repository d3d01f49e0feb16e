"""Numbers that an environment tells in `info` when an episode ends, for `environment.info`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_LOG = logging.getLogger("rljob")
_SHOWN = 60


class InfoNumbers:
    """Reads the chosen numbers. What is missing or no finite number is NaN, and told once for each name.

    Args:
        names: keys of `info`.
        agents: of each environment. The number of several is the mean over those that tell it.
    """

    def __init__(self, names: Sequence[str], agents: int = 1) -> None:
        self._names, self._agents = tuple(names), agents
        self._told: set[str] = set()
        self._rows: list[list[float]] = []

    def read(self, infos: Any, over: np.ndarray) -> None:
        """Take those of the episodes that ended in one step.

        Args:
            infos: of each column, or of all of them in Gymnasium's form for vector environments.
            over: bool `[N / agents]`, whose episode ended.
        """
        for index in np.flatnonzero(over):
            self._rows.append([self._number(name, infos, int(index)) for name in self._names])

    def take(self) -> list[list[float]]:
        """One row for each episode since the last call, in the order in which they ended."""
        rows, self._rows = self._rows, []
        return rows

    def _number(self, name: str, infos: Any, index: int) -> float:
        columns = range(index * self._agents, (index + 1) * self._agents)
        problem, found = "", []
        for column in columns:
            try:
                value, problem = _found(name, infos, column)
                if not problem:
                    found.append(value)
            except Exception as error:  # Values are the user's, and may raise anything.
                problem = f"cannot be read: {type(error).__name__}: {error}"
        if found:
            return sum(found) / len(found)
        if name not in self._told:
            self._told.add(name)
            _LOG.warning(
                "environment.info: %s %s at the end of an episode; it is empty in the records of such episodes",
                name,
                problem[:400],
            )
        return math.nan


def _found(name: str, infos: Any, column: int) -> tuple[float, str]:
    """The number of a column, or what is wrong."""
    single = isinstance(infos, list)
    info = infos[column] if single else infos
    if not isinstance(info, Mapping):
        return math.nan, f"is missing: info is a {type(info).__name__}"
    if name not in info:
        return math.nan, f"is missing: info has {_keys(info)}"
    told = None if single else info.get(f"_{name}")
    if told is not None and not told[column]:
        return math.nan, "is missing: info has it for other environments only"
    value = info[name] if single else info[name][column]
    if isinstance(value, str | bytes) or np.ndim(value) or value is None:
        return math.nan, f"is {_shown(value)}, expected one number"
    number = float(value)
    return number, "" if math.isfinite(number) else f"is {number}, expected a finite number"


def _keys(info: Mapping[Any, Any]) -> str:
    return ", ".join([str(key) for key in info][:10]) or "nothing"


def _shown(value: object) -> str:
    text = repr(value)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{text} ({type(value).__name__})"
