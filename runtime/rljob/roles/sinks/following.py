"""New lines of a run's files, from where the last life of a sink's process came to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rljob.roles.sinks.scalars import ScalarPoint, VersionSteps, evaluated, trained
from rljob.run_folder.names import EVALUATIONS, METRICS


@dataclass
class Cursor:
    """How far a sink has come; kept in a file of its own.

    Attributes:
        offsets: bytes that were taken, by file.
        run: what the sink calls this run, to go on with it; empty before there is one.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    run: str = ""

    @classmethod
    def load(cls, path: Path) -> Cursor:
        """From the file; the beginning when there is none that can be read."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            offsets = {str(name): int(offset) for name, offset in value["offsets"].items()}
            return cls(offsets, str(value["run"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temporary.replace(path)


class RecordFollower:
    """Follows the records and evaluations in a run's folder."""

    def __init__(self, folder: Path, place: Cursor) -> None:
        self._folder, self._place = folder, place
        self._versions = VersionSteps()
        offset = place.offsets.get(METRICS, 0)
        for record in _parsed(_read(folder / METRICS, 0)[:offset]):
            self._versions.add(record)

    def new(self) -> tuple[list[ScalarPoint], dict[str, int]]:
        """What was added, in whole lines; and the offsets to keep once it is taken."""
        points: list[ScalarPoint | None] = []
        offsets = dict(self._place.offsets)
        for name in (METRICS, EVALUATIONS):
            start = offsets.get(name, 0)
            whole, newline, _ = _read(self._folder / name, start).rpartition(b"\n")
            offsets[name] = start + len(whole) + len(newline)
            for record in _parsed(whole):
                if name == METRICS:
                    self._versions.add(record)
                    points.append(trained(record))
                else:
                    points.append(evaluated(record, self._versions))
        return [point for point in points if point is not None], offsets


def _read(path: Path, start: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def _parsed(data: bytes) -> list[dict[str, Any]]:
    found = []
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # A learner was killed while it wrote this.
        if isinstance(value, dict):
            found.append(value)
    return found
