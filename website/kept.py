"""Runs of the examples that are kept in docs/runs: what the pages of algorithms are made from.

`python -m tests.learning.keep` trains an example and writes its file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RUNS = Path(__file__).resolve().parents[1] / "docs" / "runs"
MOST_POINTS = 60
"""Of a kept curve."""
_NUMBERS = re.compile(r"\[\s+([-\d.,e\s]+?)\s+\]")


@dataclass(frozen=True)
class KeptSeed:
    """One run.

    Attributes:
        reason: why it ended, e.g. `StepsReached`.
        seconds: spent training, from the first update's data to the last update.
        cpu_seconds: of all processes of the run, start-up included.
        others: cores that processes outside the run used meanwhile.
        greedy: mean return of greedy episodes of the final policy.
        greedy_std: standard deviation of one such episode.
        greedy_episodes: how many were played.
        curve: `[steps, seconds, mean return of the last 100 training episodes]`, in the order of the steps.
    """

    seed: int
    reason: str
    steps: int
    updates: int
    seconds: float
    cpu_seconds: float
    others: float
    greedy: float
    greedy_std: float
    greedy_episodes: int
    curve: Sequence[Sequence[float]]


@dataclass(frozen=True)
class KeptRuns:
    """The runs of one example, one for each seed.

    Attributes:
        example: path of its YAML in the repository.
        job: its content when it was run.
        date: of the last run.
        commit: of the code that ran.
        machine: what it ran on, and versions of rljob and its dependencies, by name.
    """

    example: str
    job: Mapping[str, Any]
    date: str
    commit: str
    machine: Mapping[str, str]
    seeds: tuple[KeptSeed, ...]

    @property
    def name(self) -> str:
        """Of its file, without the suffix."""
        return Path(self.example).stem

    @classmethod
    def from_json(cls, text: str) -> KeptRuns:
        """From the content of a file."""
        values = json.loads(text)
        seeds = tuple(KeptSeed(**each) for each in values.pop("seeds"))
        return cls(**values, seeds=seeds)

    def to_json(self) -> str:
        """The content of its file: a line for each point of a curve."""
        text = json.dumps(asdict(self), indent=1)
        return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def read(runs: Path = RUNS) -> dict[str, KeptRuns]:
    """All kept runs, by the path of the example."""
    found = (KeptRuns.from_json(path.read_text()) for path in sorted(runs.glob("*.json")))
    return {kept.example: kept for kept in found}


def thinned(curve: Sequence[Sequence[float]], most: int = MOST_POINTS) -> list[list[float]]:
    """At most so many points at even distances, the first and the last among them."""
    if len(curve) <= most:
        return [list(point) for point in curve]
    return [list(curve[round(k * (len(curve) - 1) / (most - 1))]) for k in range(most)]
