"""`/metrics`, `/healthz` and `/readyz` of one role.

`/healthz` is true while the role starts, and then only while its own loop calls `Health.beat`: a process
that answers but no longer works is not healthy, one that waits for others is. `/readyz` says for whom, and is false too when the loop is
silent for longer than the job's `stall.timeout`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rljob.telemetry.metrics import CONTENT_TYPE, render
from rljob.telemetry.pages import Answer, Page
from rljob.telemetry.role_state import STARTING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Health:
    """Whether a loop makes progress.

    Args:
        timeout_seconds: longest time between two beats of a healthy loop.
        clock: monotonic seconds.
        ready_seconds: longest time between two beats of a loop that is ready.

    Attributes:
        waits_for: what the role waits for, for `/readyz`; empty when nothing.
        doing: current activity of its loop, one word, for `/state`.
    """

    def __init__(
        self,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        ready_seconds: float = math.inf,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._ready_seconds = ready_seconds
        self.clock = clock
        self.waits_for = STARTING
        self.doing = ""
        self._last: float | None = None

    def beat(self) -> None:
        """Call once per turn of the loop, and only there."""
        self._last = self.clock()

    def silent_seconds(self, now: float) -> float:
        """Since the last beat; 0 before the first, for no loop runs yet."""
        return 0.0 if self._last is None else now - self._last

    def healthy(self, now: float) -> bool:
        return self.silent_seconds(now) <= self.timeout_seconds

    def unready(self, now: float) -> str:
        """Why it does not work with the others; empty when it does."""
        if self.waits_for:
            return f"waits for {self.waits_for}"
        silent = self.silent_seconds(now)
        return f"no progress for {silent:.1f} s" if silent > self._ready_seconds else ""


def open_pages(registry: CollectorRegistry, health: Health) -> dict[str, Page]:
    """These pages by path. They hold no secret: anyone may read them."""
    return {
        "/metrics": lambda: Answer.of(200, CONTENT_TYPE, render(registry)),
        "/healthz": lambda: _answer_health(health),
        "/readyz": lambda: _answer_ready(health),
    }


def _answer_health(health: Health) -> Answer:
    now = health.clock()
    if health.healthy(now):
        return Answer.text(200, "ok")
    return Answer.text(503, f"no progress for {health.silent_seconds(now):.1f} s")


def _answer_ready(health: Health) -> Answer:
    why = health.unready(health.clock())
    return Answer.text(503, why) if why else Answer.text(200, "ok")
