"""`events.jsonl`: deaths, restarts and stalls of a run's roles, one JSON object per line."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

from rljob.run_folder import json_files


class Events:
    """Appends to the file, which is created with the first line. A line that cannot be written is dropped."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, role: str, event: Literal["died", "back", "stalled"], reason: str = "") -> None:
        """Write an event with the current time.

        Args:
            reason: e.g. `was killed (SIGKILL)`.
        """
        line = {"time": round(time.time(), 3), "role": role, "event": event, "reason": reason}
        # A full disk must not end a run.
        with suppress(OSError):
            json_files.append(self._path, line)
