"""Results on disk: the newest of each group, and the baseline that the docs are made from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.bench.machine import describe

RESULTS = Path(__file__).parent / "results"
NEWEST, BASELINE = RESULTS / "newest.json", RESULTS / "baseline.json"

Record = dict[str, dict[str, Any]]
"""For each group: `date`, `machine`, `seeds` and `results`."""


def newest() -> Record:
    """What was measured last on this machine."""
    return _read(NEWEST)


def baseline() -> Record:
    """What the docs say."""
    return _read(BASELINE)


def together() -> Record:
    """The newest of every group, from the baseline where this machine has not measured it."""
    return {**baseline(), **newest()}


def add(group: str, results: dict[str, list[Any]]) -> None:
    """Keep a group's new results; those of other groups stay."""
    record = newest()
    record[group] = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": describe(),
        "seeds": max(len(runs) for runs in results.values()),
        "results": results,
    }
    _write(NEWEST, record)


def keep() -> None:
    """Make the newest of every group the baseline."""
    _write(BASELINE, together())


def _read(file: Path) -> Record:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _write(file: Path, record: Record) -> None:
    RESULTS.mkdir(exist_ok=True)
    whole = file.with_suffix(".tmp")
    whole.write_text(json.dumps(record, indent=1) + "\n")
    whole.replace(file)
