"""Probes of a job's processes, read from their HTTP pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import ValidationError

from rljob.diagnosis.samples import Numbers, Samples, parse
from rljob.spec.roles import RoleName
from rljob.telemetry.asking import Pages
from rljob.telemetry.role_state import RoleState


@dataclass(frozen=True)
class RoleProbe:
    """One process or pod that runs.

    Attributes:
        state: its reported state; None when it did not answer.
        samples: its metrics from two scrapes; empty when only its state was requested.
    """

    role: RoleName
    name: str
    state: RoleState | None = None
    samples: Samples = field(default_factory=Samples)


def read(role: RoleName, name: str, pages: Pages) -> RoleProbe:
    """The probe of a process; a page that cannot be read counts as no answer."""
    try:
        state = RoleState.model_validate_json(pages.state) if pages.state is not None else None
    except ValidationError:
        state = None
    samples = Samples(_numbers(pages.before), _numbers(pages.after), pages.seconds)
    return RoleProbe(role, name, state, samples)


def _numbers(body: bytes | None) -> Numbers:
    if body is None:
        return {}
    try:
        return parse(body.decode())
    except ValueError:
        return {}
