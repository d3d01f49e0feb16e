"""The records of a run as columns of numbers, for plots and data frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from rljob.run_folder.episodes import COLUMNS, read_episodes
from rljob.run_folder.json_files import read_lines
from rljob.run_folder.names import EVALUATIONS, METRICS
from rljob.run_folder.record import Record, read_records

Columns = dict[str, np.ndarray]
_NESTED = ("stages", "info", "hardware", "metrics")
"""Fields of a record that have a column for each of their names, as `metrics.entropy`."""
_LEFT_OUT = ("checkpoint", "applications")
"""Fields that are no numbers."""


def training(folder: Path) -> Columns:
    """The lines of `metrics.jsonl`; see `Result.history`."""
    rows = [dict(_flat(record)) for record in read_records(folder / METRICS)]
    return _columns(rows, dict(_flat(Record())))


def evaluations(folder: Path) -> Columns:
    """The lines of `evaluations.jsonl`; see `Result.evaluations`."""
    names = {"policyVersion": "policy_version", "cutOff": "cut_off"}
    lines = read_lines(folder / EVALUATIONS)
    return _columns([{names.get(key, key): value for key, value in line.items()} for line in lines])


def episodes(folder: Path) -> Columns:
    """The rows of `episodes.csv`; see `Result.episode_history`."""
    pieces = list(read_episodes(folder))
    names = dict.fromkeys([*COLUMNS, *(name for piece in pieces for name in piece)])

    def column(name: str, piece: Columns) -> np.ndarray:
        rows = len(piece["steps"])
        return piece[name] if name in piece else np.full(rows, np.nan)

    return {
        name: np.concatenate([column(name, each) for each in pieces]) if pieces else np.empty(0)
        for name in names
    }


def _flat(record: Record) -> Iterator[tuple[str, Any]]:
    for each in fields(record):
        value = getattr(record, each.name)
        if each.name in _NESTED:
            yield from ((f"{each.name}.{name}", number) for name, number in value.items())
        elif each.name == "hook_failures":
            yield each.name, 0 if value is None else value.count
        elif each.name not in _LEFT_OUT:
            yield each.name, value


def _columns(rows: Sequence[Mapping[str, Any]], always: Iterable[str] = ()) -> Columns:
    """A column for each name that any row has, and for those that are `always` there: int64 where all are whole numbers,
    else float64 with NaN for none."""
    names = dict.fromkeys([*always, *(name for row in rows for name in row)])
    return {name: _column([row.get(name) for row in rows]) for name in names}


def _column(values: Sequence[Any]) -> np.ndarray:
    if all(type(value) is int for value in values):
        return np.array(values, np.int64)
    return np.array([np.nan if value is None else value for value in values], np.float64)
