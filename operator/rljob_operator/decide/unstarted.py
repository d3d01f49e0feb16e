"""Pods that have not started: what they need and have not got. Most of it resolves by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob_operator.decide import times
from rljob_operator.decide.job_resources import JobResources, PodState, at, uid
from rljob_operator.decide.status import endings
from rljob_operator.decide.waiting import Due, Waiting

SILENCE_SECONDS = 30.0
"""Seconds after which a pod is told that nobody says anything about; a new volume takes some of them."""
START_SECONDS = 120.0
"""Seconds after which a pod is told whose node has not started a container; a large image takes some of them."""
_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "FailedMapVolume")
_VOLUME = ("ProvisioningFailed", "FailedBinding")
_UNBOUND = "unbound immediate PersistentVolumeClaims"
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" (not found|is being deleted|bound to non)')


def unstarted(
    pod: PodState, world: JobResources, role: RoleName, warnings: tuple[Manifest, ...], grace: float
) -> Iterator[Due]:
    """Why a pod has not started, the surest first."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") != "True":
        yield from _unscheduled(pod, scheduled, world, role, warnings, grace)
    elif not pod.main or at(pod.main, "state", "waiting"):
        yield from _uncreated(pod, warnings, grace)


def about_object(
    warnings: tuple[Manifest, ...], object_uid: str, reasons: tuple[str, ...]
) -> list[Manifest]:
    """Warnings with one of these reasons about the object with this uid, newest first."""
    found = [
        warning
        for warning in warnings
        if warning.get("reason") in reasons and at(warning, "involvedObject", "uid") == object_uid
    ]
    return sorted(found, key=_seen, reverse=True)


def _unscheduled(
    pod: PodState,
    scheduled: dict[str, Any],
    world: JobResources,
    role: RoleName,
    warnings: tuple[Manifest, ...],
    grace: float,
) -> Iterator[Due]:
    reason, message = scheduled.get("reason"), str(scheduled.get("message") or "")
    for claim in _unbound(world, role):
        told = about_object(warnings, uid(claim), _VOLUME)
        why = endings.last_line(str(told[0].get("message") or "")) if told else ""
        if why or _UNBOUND in message:
            yield Due(_after(pod, grace), _claim(claim, why))
        elif not reason:
            # With words of the scheduler, an unbound claim may just wait for the pod.
            yield Due(_after(pod, SILENCE_SECONDS), _claim(claim, why))
    if _NO_CLAIM.search(message):
        yield Due(_after(pod, grace), Waiting("VolumePending", message, pod.created))
    elif reason:
        yield Due(_after(pod, grace), Waiting(str(reason), message, pod.created))
    else:
        others = [name for name in world.claims(role) if _child(world, name) is None]
        volumes = f"; it needs the volume claims {', '.join(others)}" if others else ""
        text = f"pod {pod.name} has no node, and no scheduler says why{volumes}"
        yield Due(_after(pod, SILENCE_SECONDS), Waiting("NotScheduled", text, pod.created))


def _uncreated(pod: PodState, warnings: tuple[Manifest, ...], grace: float) -> Iterator[Due]:
    for warning in about_object(warnings, pod.uid, _MOUNT):
        message = endings.last_line(str(warning.get("message") or ""))
        yield Due(_after(pod, grace), Waiting(warning["reason"], message, pod.created))
    if any(at(one, "state", "running") is not None for one in pod.init_containers):
        return
    text = f"pod {pod.name} has no container yet; its node {pod.node or '?'} does not say why"
    yield Due(_after(pod, START_SECONDS), Waiting("ContainerCreating", text, pod.created))


def _unbound(world: JobResources, role: RoleName) -> Iterator[Manifest]:
    """Volume claims of ours that the role's pods need and that are not bound."""
    for name in world.claims(role):
        claim = _child(world, name)
        if claim is not None and at(claim, "status", "phase") in ("Pending", "Lost"):
            yield claim


def _child(world: JobResources, name: str) -> Manifest | None:
    return world.children.get(("PersistentVolumeClaim", name))


def _claim(claim: Manifest, why: str) -> Waiting:
    name, storage_class = claim["metadata"]["name"], at(claim, "spec", "storageClassName")
    named = f"storage class {storage_class}" if storage_class else "no storage class"
    message = f"volume claim {name}: {why}" if why else f"volume claim {name} is not bound; {named}"
    return Waiting("VolumePending", message, str(at(claim, "metadata", "creationTimestamp") or ""))


def _after(pod: PodState, seconds: float) -> datetime:
    return times.parse(pod.created) + timedelta(seconds=seconds)


def _condition(pod: PodState, kind: str) -> dict[str, Any]:
    for found in at(pod.manifest, "status", "conditions") or ():
        if found.get("type") == kind:
            return dict(found)
    return {}


def _seen(warning: Manifest) -> str:
    series = at(warning, "series", "lastObservedTime")
    return str(series or warning.get("lastTimestamp") or warning.get("eventTime") or "")
