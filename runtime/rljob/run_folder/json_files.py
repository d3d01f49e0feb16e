"""JSON files in the folder of a run: one object per file, or one object per line."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rljob.run_folder.write_whole import write_whole

_LOG = logging.getLogger("rljob")


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Write one object; raises OSError."""
    write_whole(path, json.dumps(_finite(value), indent=2) + "\n")


def read(path: Path) -> dict[str, Any] | None:
    """The object in a file; None if the file is missing or has no JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def line(value: Mapping[str, Any]) -> str:
    """One object as one line."""
    return json.dumps(_finite(value)) + "\n"


class Appender:
    """Appends lines to a file, also over times in which the disk is full.

    A line that cannot be written is dropped and told once. What a failed write has left of a line is ended by a
    line break, so that later lines can be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        # A process that was killed may have left half a line.
        self._torn = _ends_within_a_line(path)
        self._failing = False

    def write(self, value: Mapping[str, Any]) -> None:
        """Append one object."""
        data = line(value).encode()
        written = 0
        try:
            if self._torn:
                os.write(self._file, b"\n")
                self._torn = False
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._torn = self._torn or written > 0
            if not self._failing:
                _LOG.warning("%s cannot be written: %s; lines are lost", self._path, error.strerror)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        os.close(self._file)


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def append(path: Path, value: Mapping[str, Any]) -> None:
    """Append one line to a file, which is created if missing; raises OSError."""
    with path.open("a", encoding="utf-8") as file:
        file.write(line(value))


def parse_lines(data: bytes) -> tuple[list[dict[str, Any]], int]:
    """The objects, and the number of invalid lines: a process may be killed while it writes."""
    found: list[dict[str, Any]] = []
    broken = 0
    for text in data.splitlines():
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            found.append(value)
        elif text.strip():
            broken += 1
    return found, broken


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All objects of a file; empty if there is no file."""
    try:
        return parse_lines(path.read_bytes())[0]
    except FileNotFoundError:
        return []


class Tail:
    """Reads the lines that were appended to a file since the last read.

    Args:
        path: the file; it may not exist yet.
        offset: first byte to read; None for the current end of the file.
    """

    def __init__(self, path: Path, offset: int | None = None) -> None:
        self._path = path
        if offset is None:
            offset = path.stat().st_size if path.exists() else 0
        self.offset = offset

    def new(self) -> list[dict[str, Any]]:
        """Objects of new complete lines. A partial line is returned by a later call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self.offset)
                whole, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self.offset += len(whole) + len(newline)
        return parse_lines(whole)[0]


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
