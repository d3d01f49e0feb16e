"""The interface of a sink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rljob.roles.sinks.scalars import ScalarPoint


@dataclass(frozen=True)
class Opening:
    """Arguments with which a sink is opened.

    Attributes:
        folder: the run's folder.
        name: the run's display name.
        settings: the job's settings by dotted path.
        run: the sink's id of this run, if it was opened before.
        step: environment steps at which the sink continues.
    """

    folder: Path
    name: str
    settings: Mapping[str, str]
    run: str
    step: int


class Sink(Protocol):
    """One sink. Exceptions are reported, and the call is repeated later.

    Attributes:
        run: the sink's id of this run.
    """

    run: str

    def add(self, points: Sequence[ScalarPoint]) -> None:
        """Write points; they are safe when this returns."""
        ...

    def checkpoint(self, path: Path) -> None:
        """Store the archive of a checkpoint, a file named `checkpoint.tar`."""
        ...

    def page(self, path: Path) -> None:
        """Store the report's page, a file named `report.html`."""
        ...

    def finish(self, result: Mapping[str, Any]) -> None:
        """Record how the run ended, from `result.json`. The last files are stored after it: they may take too long."""
        ...

    def close(self) -> None:
        """End; nothing follows."""
        ...
