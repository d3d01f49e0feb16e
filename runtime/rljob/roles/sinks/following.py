"""Reads new lines of a run's files, from the position of the last life of a sink's process."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from rljob.roles.sinks.scalars import ScalarPoint, VersionSteps, evaluated, trained
from rljob.run_folder import json_files
from rljob.run_folder.json_files import Tail, parse_lines
from rljob.run_folder.names import EVALUATIONS, METRICS


@dataclass
class Cursor:
    """Position of a sink in the run's files; saved in its own file.

    Attributes:
        offsets: bytes that were written to the sink, by file.
        run: the sink's id of this run; empty before it has one.
        checkpoint: name of the checkpoint that was stored last; empty for none.
    """

    offsets: dict[str, int] = field(default_factory=dict)
    run: str = ""
    checkpoint: str = ""

    @classmethod
    def load(cls, path: Path) -> Cursor:
        """Read the file; the start position when it is missing or unreadable."""
        try:
            value = json_files.read(path) or {}
            offsets = {str(name): int(offset) for name, offset in value["offsets"].items()}
            return cls(offsets, str(value["run"]), str(value.get("checkpoint", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        json_files.write(path, asdict(self))


class RecordFollower:
    """Follows the records and evaluations in a run's folder."""

    def __init__(self, folder: Path, place: Cursor) -> None:
        self._folder, self._place = folder, place
        self._versions = VersionSteps()
        offset = place.offsets.get(METRICS, 0)
        if offset:
            for record in parse_lines((folder / METRICS).read_bytes()[:offset])[0]:
                self._versions.add(record)

    def new(self) -> tuple[list[ScalarPoint], dict[str, int]]:
        """Points of the new complete lines, and the offsets to save once they are written."""
        points: list[ScalarPoint | None] = []
        offsets = dict(self._place.offsets)
        for name in (METRICS, EVALUATIONS):
            tail = Tail(self._folder / name, offsets.get(name, 0))
            for record in tail.new():
                if name == METRICS:
                    self._versions.add(record)
                    points.append(trained(record))
                else:
                    points.append(evaluated(record, self._versions))
            offsets[name] = tail.offset
        return [point for point in points if point is not None], offsets
