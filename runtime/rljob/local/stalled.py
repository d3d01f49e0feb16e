"""Stall detection of a run on one machine."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from rljob.diagnosis import probes
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.stall import (
    ProgressWatch,
    Stall,
    StallLimits,
    diagnose,
    given_up,
    stalled_at,
    waits_for_applications,
)
from rljob.local.roles import Role
from rljob.run_folder.record import Record
from rljob.spec import RLJobSpec
from rljob.telemetry.asking import states

ANSWER_SECONDS = 2.0
"""Timeout of a request to a role's state page."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Ignores `http_proxy`: a proxy cannot reach the roles on this machine."""


class StallWatch:
    """Detects stalls; reports each stall once."""

    def __init__(self, spec: RLJobSpec, token: str, now: float) -> None:
        """`token`: that of the roles' state pages."""
        self._spec, self._token, self._started = spec.stall, token, now
        self._only_applications = not spec.environment.played
        self._watch = ProgressWatch(now)
        self._reported = False
        self._looked = now

    def look(self, record: Record | None, roles: Iterable[Role], now: float) -> Stall | None:
        """Update the state; returns a new stall, else None.

        Args:
            record: the learner's newest record; None before the first.
            now: time in seconds of the same clock as `Role.started`.
        """
        before, known = self._watch, record or Record()
        self._watch = before.look(known.steps, known.updates, now)
        limits = StallLimits.of(self._spec, known.steps > 0 or known.updates > 0)
        everyone = list(roles)
        since = max([self._watch.since, *(role.started for role in everyone)])
        starting = [role.started for role in everyone if role.state == "starting"]
        if now < stalled_at(since, starting, limits.timeout) or _is_replaced(everyone):
            self._reported = False
            return None
        late = self._looked < limits.last_look(self._started, now)
        if self._reported and not late:
            return None
        reported, self._reported, self._looked = self._reported, True, now
        asked = ask(everyone, self._token)
        if self._only_applications and waits_for_applications(asked, limits.timeout):
            # Applications act when they have something to do. The learner may hang later: it is looked at again.
            self._reported, self._watch = False, replace(self._watch, since=now)
            return None
        stall = diagnose(asked, limits.timeout)
        if late:
            stall = given_up(stall, asked, limits)
        return stall if stall.ends or not reported else None


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
