"""Stall detection of a run on one machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Sequence
from functools import partial

from rljob.diagnosis import probes
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.stall import ProgressWatch, Stall, diagnose, stalled_at
from rljob.local.roles import Role
from rljob.run_folder.record import Record
from rljob.spec.stall import StallSpec
from rljob.telemetry.asking import states

ANSWER_SECONDS = 2.0
"""Timeout of a request to a role's state page."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores `http_proxy`: a proxy cannot reach the roles on this machine."""


class StallWatch:
    """Detects stalls; reports each stall once."""

    def __init__(self, spec: StallSpec, token: str, now: float) -> None:
        """`token`: that of the roles' state pages."""
        self._timeout, self._token = spec.timeout.seconds, token
        self._watch = ProgressWatch(now)
        self._reported = False

    def look(self, record: Record | None, roles: Iterable[Role], now: float) -> Stall | None:
        """Update the state; returns a new stall, else None.

        Args:
            record: the learner's newest record; None before the first.
            now: time in seconds of the same clock as `Role.started`.
        """
        before, known = self._watch, record or Record()
        self._watch = before.look(known.steps, known.updates, now)
        everyone = list(roles)
        since = max([self._watch.since, *(role.started for role in everyone)])
        starting = [role.started for role in everyone if role.state == "starting"]
        if now < stalled_at(since, starting, self._timeout) or _is_replaced(everyone):
            self._reported = False
            return None
        if self._reported:
            return None
        self._reported = True
        return diagnose(ask(everyone, self._token), self._timeout)


def _is_replaced(roles: Iterable[Role]) -> bool:
    """Whether a role has died and will be restarted."""
    return any(role.due is not None for role in roles)


def ask(roles: Sequence[Role], token: str) -> list[RoleProbe]:
    """Query the state pages of all roles in parallel."""
    answers = states([partial(_fetch, role, token) for role in roles])
    return [
        probes.read(role.kind, role.name, pages) for role, pages in zip(roles, answers, strict=True)
    ]


def _fetch(role: Role, token: str, page: str) -> bytes | None:
    return fetch(f"127.0.0.1:{role.port}", token, page) if role.port is not None else None


def fetch(address: str, token: str, page: str) -> bytes | None:
    """Fetch a page of the role at this address; None on an error or timeout."""
    headers = {"Authorization": f"Bearer {token}"} if page == "state" else {}
    request = urllib.request.Request(f"http://{address}/{page}", headers=headers)
    try:
        with _DIRECT.open(request, timeout=ANSWER_SECONDS) as answer:
            body: bytes = answer.read()
    except OSError:
        return None
    return body
