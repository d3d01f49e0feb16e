"""How the keys of a job are changed while it trains: which Secrets are made, and what pods are told next.

The generation that a job is to have is in an annotation of the RLJob. What pods are told is in a ConfigMap. Each step
waits until every running pod has taken the one before; pods are asked for that. Pods that start read what is told now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rljob.errors import InputError
from rljob.kube import manifests, names
from rljob.spec.invalid import show
from rljob.spec.roles import ROLES
from rljob.spec.status import RLJobStatus
from rljob.wire.rotation import FIRST, KeyOrder, following, lags
from rljob_operator.decide.decision import Question
from rljob_operator.decide.job_resources import JobResources, at
from rljob_operator.decide.observed import Observed
from rljob_operator.decide.questions import questions

ASK_SECONDS = 5.0
"""Interval between two requests to all pods while keys are changed."""
NAMED = 3
"""Pods that a message names."""
CURRENT = "Current"
INVALID = "InvalidGeneration"


@dataclass(frozen=True)
class KeyRotation:
    """What to do about the keys.

    Attributes:
        order: what pods are told.
        reason, message: of the condition `KeysCurrent`; it holds when the reason is `CURRENT`.
        needed: generations whose Secrets pods may read.
        ask: pods to ask for their state.
        again: seconds until the pods are asked again.
    """

    order: KeyOrder
    reason: str
    message: str
    needed: tuple[int, ...]
    ask: tuple[Question, ...] = ()
    again: float | None = None


def look(
    previous: RLJobStatus, world: JobResources, observed: Observed, active: bool, now: datetime
) -> KeyRotation:
    """Decide for one job; `active` is whether it is to have pods."""
    told = manifests.told_keys(world.name, world.children.values())
    try:
        wanted = _wanted(world, told)
    except InputError as error:
        order = told or FIRST
        return KeyRotation(order, INVALID, str(error), _needed(order, order.current))
    # A job that has no pods yet begins with the generation that it is to have.
    order = told or KeyOrder(wanted, wanted)
    needed = _needed(order, wanted)
    if order == KeyOrder(wanted, wanted) and not _changing(previous):
        return KeyRotation(order, CURRENT, _current(wanted), needed)
    if not active or wanted not in observed.keys_made:
        again = ASK_SECONDS if active else None
        said = _as_before(previous, _step(order, wanted, ()))
        return KeyRotation(order, *said, needed, again=again)
    pods = {pod.name: (role, pod) for role in ROLES for pod in world.running(role)}
    inspection = observed.inspection
    age = (now - inspection.at).total_seconds() if inspection is not None else ASK_SECONDS
    reports = {
        one.name: one.state.keys
        for one in (inspection.asked if inspection is not None else ())
        if one.state is not None
    }
    late = [name for name in pods if lags(order, wanted, reports.get(name))]
    if not late:
        if (order := following(order, wanted)) == KeyOrder(wanted, wanted) == told:
            return KeyRotation(order, CURRENT, _current(wanted), needed)
        # The pods are asked about the new order once they can have read it.
        return KeyRotation(
            order, *_step(order, wanted, ()), _needed(order, wanted), again=ASK_SECONDS
        )
    if inspection is None:
        said = _as_before(previous, _step(order, wanted, ()))
    else:
        said = _step(order, wanted, late)
    if age < ASK_SECONDS:
        return KeyRotation(order, *said, needed, again=ASK_SECONDS - age)
    return KeyRotation(order, *said, needed, tuple(questions(pods.values())))


def _wanted(world: JobResources, told: KeyOrder | None) -> int:
    """The generation that the job is to have; raises InputError for one that it cannot have."""
    text = at(world.job, "metadata", "annotations", names.KEYS_ANNOTATION)
    if text is None:
        return told.current if told is not None else 1
    least = told.current if told is not None else 1
    most = manifests.mounted_generations(told or FIRST)[-1]
    number = int(text) if str(text).isascii() and str(text).isdecimal() and len(text) < 10 else 0
    if not least <= number <= most:
        raise InputError(
            f"annotation {names.KEYS_ANNOTATION}: {show(str(text))} is not allowed; generation {least} of "
            f"the keys is in use, and allowed are {least} to {most}"
        )
    return number


def _needed(order: KeyOrder, wanted: int) -> tuple[int, ...]:
    """Pods cannot start without the first generation that they name."""
    first = manifests.mounted_generations(order)[0]
    return tuple(sorted({first, *range(order.oldest, wanted + 1)}))


def _changing(previous: RLJobStatus) -> bool:
    """Whether the status says that pods may not have taken the last step."""
    found = (one for one in previous.conditions if one.type == "KeysCurrent")
    return any(one.status == "False" and one.reason != INVALID for one in found)


def _step(order: KeyOrder, wanted: int, late: Sequence[str]) -> tuple[str, str]:
    """Reason and message."""
    more = f" and {len(late) - NAMED} more" if len(late) > NAMED else ""
    who = f" by {', '.join(late[:NAMED])}{more}" if late else ""
    both = f"Keys {order.oldest} to {wanted} are accepted."
    if order.current < wanted:
        return "Distributing", f"{both} Keys {wanted} are not known yet{who}."
    if order.oldest < order.current:
        return "Changing", f"{both} Keys {wanted} are not used yet{who}."
    return "Retiring", f"Older keys than {wanted} are still accepted{who}."


def _as_before(previous: RLJobStatus, said: tuple[str, str]) -> tuple[str, str]:
    """What was said of the same step before. An operator that has just started has asked nobody yet."""
    reason, message = said
    for one in previous.conditions:
        same = one.type == "KeysCurrent" and one.reason == reason
        if same and one.message.startswith(message.removesuffix(".")):
            return reason, one.message
    return said


def _current(generation: int) -> str:
    return f"Only keys {generation} are accepted."
