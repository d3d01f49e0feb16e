"""JSON files in the folder of a run: one object per file, or one object per line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rljob.run_folder.write_whole import write_whole


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
    return parse_lines(path.read_bytes())[0] if path.exists() else []


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
