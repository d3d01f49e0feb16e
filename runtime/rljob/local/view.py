"""Shows a run on a screen, from the supervisor's calls and the files in the run's folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from rljob.local.summary import summary
from rljob.run_folder.json_files import Tail
from rljob.run_folder.names import CHECKPOINTS, EVALUATIONS, LATEST, METRICS
from rljob.run_folder.record import Record, read_records
from rljob.show.view.figures import span_text
from rljob.show.view.panel import State, TextLine
from rljob.show.view.screen import Screen
from rljob.spec import RLJob

TAIL_BYTES = 4096
"""Upper bound on the size of a line of evaluations.jsonl."""


class View(Protocol):
    """Receives the progress of a run; all calls are from one thread."""

    def started(self, job: RLJob, folder: Path) -> None:
        """The run starts, or resumes if `folder` has records."""
        ...

    def progress(self, record: Record | None, restarts: int, roles: dict[str, str]) -> None:
        """Receive the learner's newest record (None before the first), the number of restarts of all
        roles so far, and the state of each role by name, such as `starting` or `running`."""
        ...

    def event(self, text: str) -> None:
        """Receive an event to show permanently, such as the death of a role."""
        ...

    def finished(self, result: dict[str, Any], folder: Path) -> None:
        """The run has ended; `result` is the content of `result.json`, with `message` on a failure."""
        ...

    def close(self) -> None:
        """Restore the terminal; may be called more than once."""
        ...


class ScreenView:
    """Shows a run on a screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._watch: _RunState | None = None

    def started(self, job: RLJob, folder: Path) -> None:
        self._watch = _RunState(job, folder)
        self._screen.open(self._watch.state)

    def progress(self, record: Record | None, restarts: int, roles: dict[str, str]) -> None:
        assert self._watch is not None
        self._watch.update(record, restarts, roles)
        self._screen.moved()

    def event(self, text: str) -> None:
        assert self._watch is not None
        self._screen.say(self._watch.event(text))

    def finished(self, result: dict[str, Any], folder: Path) -> None:
        assert self._watch is not None
        self._watch.end(result)
        place, saved = shown_path(folder), has_policy(folder)
        self._screen.end(lambda width: summary(result, place, saved, width))

    def close(self) -> None:
        self._screen.close()


class _RunState:
    """State of the run, updated from the files in its folder."""

    def __init__(self, job: RLJob, folder: Path) -> None:
        self.state = State(job, shown_path(folder))
        self._started = time.monotonic()
        evaluations = folder / EVALUATIONS
        size = evaluations.stat().st_size if evaluations.exists() else 0
        self._evaluations = Tail(evaluations, max(0, size - TAIL_BYTES))
        for record in read_records(folder / METRICS):
            self.state.history.add(record)

    def update(self, record: Record | None, restarts: int, roles: Mapping[str, str]) -> None:
        self.state.advance(record, restarts, roles)
        for evaluation in self._evaluations.new():
            self.state.evaluation = evaluation

    def end(self, result: Mapping[str, Any]) -> None:
        """Update the state from the result, which is newer than the last record and has the same names."""
        state = self.state
        if state.record is not None:
            last = Record.from_json({**state.record.to_json(), **result})
            self.update(last, state.restarts, {})
        state.ended = str(result.get("reason") or result.get("outcome", ""))

    def event(self, what: str) -> TextLine:
        age = span_text(time.monotonic() - self._started)
        return [(f"  {age:>7}  ", "dim"), (what, "")]


def shown_path(folder: Path) -> str:
    """Path for messages: relative if the folder is below the working folder."""
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)


def has_policy(folder: Path) -> bool:
    """Whether a checkpoint was saved in the run's folder."""
    return (folder / CHECKPOINTS / LATEST).exists()
