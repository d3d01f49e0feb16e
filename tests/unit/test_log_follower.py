"""Following logs while containers restart and log faster than their lines are written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rljob.client import logs
from rljob.client.job import JobPod
from rljob.client.logs import Wanted, _LogFollower
from rljob.errors import InputError


def running() -> JobPod:
    state = {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
    status = {"name": "rollout", "state": state, "containerID": "a"}
    raw = {"metadata": {"name": "x"}, "status": {"containerStatuses": [status]}}
    return JobPod.of(raw, "rollout")


class Server:
    """Answers a request for a log with `InputError`, as for a container that waits to start, or without end."""

    def __init__(self, endless: bool) -> None:
        self.endless = endless

    @contextmanager
    def stream(self, *_: Any, **__: Any) -> Iterator[Iterator[bytes]]:
        if not self.endless:
            raise InputError("the API server refused: container is waiting to start")
        yield self._lines()

    def _lines(self) -> Iterator[bytes]:
        line = b"2026-01-31T12:00:%02d.%09dZ hello\n"
        for number in range(10**9):
            yield line % (number // 10**9, number)


def test_a_container_that_waits_to_start_ends_no_thread_with_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    following = _LogFollower(Server(endless=False), "n", Wanted("rollout"), print)  # type: ignore[arg-type]
    following.open([running()])
    deadline = time.monotonic() + 10
    while not following.idle and time.monotonic() < deadline:
        list(following.lines(time.monotonic() + 0.01))
    assert following.idle
    assert failed == []


def test_a_log_faster_than_its_reader_does_not_hide_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "LINES_AHEAD", 10)
    following = _LogFollower(Server(endless=True), "n", Wanted("rollout"), print)  # type: ignore[arg-type]
    following.open([running()])
    until = time.monotonic() + 0.2
    for _ in following.lines(until):
        # The reader is the slower one, so that the queue is never empty.
        time.sleep(0.002)
        if time.monotonic() > until + 2:
            pytest.fail("it goes on for as long as there are lines")
    assert not following.idle
