"""Hooks: end training when evaluations get no better, and keep a table of the best ones."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import rljob
from rljob.hooks import EvaluationMade, TrainingEnded, TrainingStarted


class EarlyStopping:
    """Ends training after `patience` evaluations that are not better than the best one by `at_least`."""

    def __init__(self, patience: int = 5, at_least: float = 0.0) -> None:
        self.patience, self.at_least = patience, at_least
        self.best: float | None = None
        self.worse = 0
        self.table = Path()

    def on_start(self, started: TrainingStarted) -> None:
        self.table = started.folder / "best.csv"

    def on_evaluation(self, played: EvaluationMade) -> rljob.StopTraining | None:
        if self.best is None or played.mean > self.best + self.at_least:
            self.best, self.worse = played.mean, 0
            with self.table.open("a", newline="") as file:
                csv.writer(file).writerow([played.version, played.steps, played.mean])
            return None
        self.worse += 1
        if self.worse < self.patience:
            return None
        return rljob.StopTraining(f"{self.worse} evaluations were not better than {self.best:.1f}")

    def on_end(self, ended: TrainingEnded) -> None:
        print(f"{ended.outcome} after {ended.steps:,} steps: {ended.message}")

    # What it remembers is in each checkpoint: a learner that restarts goes on counting.

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "worse": self.worse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.worse = state["best"], state["worse"]
