"""What a sink can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rljob.roles.sinks.scalars import ScalarPoint


@dataclass(frozen=True)
class Opening:
    """What a sink is opened with.

    Attributes:
        folder: the run's.
        name: the run's, for people.
        settings: the job's, by dotted path.
        run: what the sink called this run before, if it did.
        step: environment steps at which it goes on.
    """

    folder: Path
    name: str
    settings: Mapping[str, str]
    run: str
    step: int


class Sink(Protocol):
    """One sink; whatever it raises is told, and tried again later.

    Attributes:
        run: what it calls this run.
    """

    run: str

    def add(self, points: Sequence[ScalarPoint]) -> None:
        """Take points, so that they are safe when this returns."""
        ...

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note how the run ended, with what is in `result.json`."""
        ...

    def close(self) -> None: ...
