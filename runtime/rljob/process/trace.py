"""Trace of segments, for tests that no segment is lost or stored twice.

One unbuffered line per event, so that a killed process leaves all its lines: `EVENT ACTOR EPOCH SEQ`.
Events: `acked` (by a rollout), `stored` and `evicted` (by the buffer),
`recovered` (by a buffer that finds a segment that a killed buffer stored but did not trace), `consumed`
(by the learner).
"""

from __future__ import annotations

import os
from pathlib import Path


class Trace:
    """Appends to `folder/NAME.PID.trace`; does nothing without a folder."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._handle = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.{os.getpid()}.trace"
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def event(self, what: str, actor: int, epoch: int, seq: int) -> None:
        if self._handle is not None:
            os.write(self._handle, f"{what} {actor} {epoch} {seq}\n".encode())
