"""Whether the roles of a run on one machine get anywhere, and who is to blame when they do not."""

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
"""How long a role may take to say what it does."""


class StallWatch:
    """Looks at a run again and again; tells each stall once."""

    def __init__(self, spec: StallSpec, now: float) -> None:
        self._timeout = spec.timeout.seconds
        self._watch = ProgressWatch(now)
        self._told = False

    def look(self, record: Record | None, roles: Iterable[Role], now: float) -> Stall | None:
        """The stall that is found now.

        Args:
            record: the newest of the learner; None before the first.
            now: seconds of the clock that `Role.started` is from.
        """
        before, known = self._watch, record or Record()
        self._watch = before.look(known.steps, known.updates, now)
        everyone = list(roles)
        since = max([self._watch.since, *(role.started for role in everyone)])
        starting = [role.started for role in everyone if role.state == "starting"]
        if now < stalled_at(since, starting, self._timeout) or _is_replaced(everyone):
            self._told = False
            return None
        if self._told:
            return None
        self._told = True
        return diagnose(ask(everyone), self._timeout)


def _is_replaced(roles: Iterable[Role]) -> bool:
    """Whether one has died and comes back."""
    return any(role.due is not None for role in roles)


def ask(roles: Sequence[Role]) -> list[RoleProbe]:
    """What each role says of itself, all asked at once."""
    answers = states([partial(_fetch, role) for role in roles])
    return [
        probes.read(role.kind, role.name, pages) for role, pages in zip(roles, answers, strict=True)
    ]


def _fetch(role: Role, page: str) -> bytes | None:
    return fetch(f"127.0.0.1:{role.port}", page) if role.port is not None else None


def fetch(address: str, page: str) -> bytes | None:
    """A page of the role that serves at this address; None when there is no answer in time."""
    try:
        with urllib.request.urlopen(f"http://{address}/{page}", timeout=ANSWER_SECONDS) as answer:
            body: bytes = answer.read()
    except OSError:
        return None
    return body
