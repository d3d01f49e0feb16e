"""Two looks at every process of a job: its `/state`, and its `/metrics` before and after a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import ValidationError

from rljob.diagnosis.samples import Numbers, Samples, parse
from rljob.diagnosis.situation import Process
from rljob.spec.status import RoleName
from rljob.telemetry.role_state import RoleState

MOMENT_SECONDS = 2.0
AT_ONCE = 16
Fetch = Callable[[str], bytes | None]
"""A page of a process by its name (`metrics`, `state`); None when there is no answer."""


@dataclass(frozen=True)
class ProbeTarget:
    """A process that can be asked."""

    role: RoleName
    name: str
    fetch: Fetch


def ask(sources: Iterable[ProbeTarget]) -> list[Process]:
    """What each of them says of itself; takes `MOMENT_SECONDS` and a little more."""
    everyone = list(sources)
    if not everyone:
        return []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        before = list(pool.map(_look, everyone))
        time.sleep(MOMENT_SECONDS)
        after = list(pool.map(_look, everyone))
        states = list(pool.map(_state, everyone))
    return [
        Process(source.role, source.name, state, Samples(first[1], second[1], second[0] - first[0]))
        for source, first, second, state in zip(everyone, before, after, states, strict=True)
    ]


def _look(source: ProbeTarget) -> tuple[float, Numbers]:
    body = source.fetch("metrics")
    try:
        return time.monotonic(), parse((body or b"").decode())
    except ValueError:
        return time.monotonic(), {}


def _state(source: ProbeTarget) -> RoleState | None:
    body = source.fetch("state")
    try:
        return RoleState.model_validate_json(body) if body is not None else None
    except ValidationError:
        return None
