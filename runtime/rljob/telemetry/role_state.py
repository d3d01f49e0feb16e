"""The state of a role at `/state`: activity of its loop, what it waits for, stack of its main thread."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from pydantic import Field

from rljob.spec.roles import RoleName
from rljob.spec.status import StatusSection
from rljob.wire.rotation import KeyReport

_OUTERMOST = "rljob/cli/role.py"
DEEPEST = 30
"""Number of innermost frames in the state."""
STARTING = "its start"
"""`waits_for` of a role that has not started its loop."""
FIRST_APPLICATION = "the buffer and the first application"
"""`waits_for` of the learner of a job without an environment, whose form of data an application may decide."""


class RoleState(StatusSection):
    """One process of a job, at one moment."""

    role: RoleName
    name: str
    silent_seconds: float = Field(
        default=0.0, description="Seconds since the last iteration of its loop."
    )
    waits_for: str = Field(default="", description="What it waits for; empty if nothing.")
    doing: str = Field(default="", description="Current activity of its loop, one word.")
    stack: list[str] = Field(
        default_factory=list,
        description="Stack of its main thread, `file:line function`, innermost last.",
    )
    keys: KeyReport | None = Field(
        default=None, description="Generations of keys that it knows and uses; none without keys."
    )


def main_stack() -> list[str]:
    """The main thread's frames as in `RoleState.stack`; called from another thread."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    found: list[str] = []
    while frame is not None and len(found) < DEEPEST:
        code = frame.f_code
        # Further out is only how the process came to be.
        if code.co_filename.endswith(_OUTERMOST):
            break
        found.append(f"{_short(code.co_filename)}:{frame.f_lineno} {code.co_name}")
        frame = frame.f_back
    return found[::-1]


def _short(file: str) -> str:
    """The last two parts: enough to know it by."""
    return "/".join(Path(file).parts[-2:])
