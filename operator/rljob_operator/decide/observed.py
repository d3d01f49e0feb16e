"""Snapshot of one RLJob and all objects that belong to it.

The I/O side collects it; it is the only input of `reconcile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rljob.diagnosis.probes import RoleProbe
from rljob.kube.kinds import Manifest
from rljob.spec.status import LearnerReport

Key = tuple[str, str]
"""Namespace and name of an RLJob."""


@dataclass(frozen=True)
class Polled:
    """A learner's report and when it was polled.

    Attributes:
        report: the learner's answer.
        at: time of the answer.
        pod: name of the learner's pod.
    """

    report: LearnerReport
    at: datetime
    pod: str


@dataclass(frozen=True)
class Inspection:
    """The states of a job's pods.

    Attributes:
        at: time of the request.
        refused: whether a pod refused the token. Then nothing is known of the job, and nothing is done to it.
    """

    asked: tuple[RoleProbe, ...]
    at: datetime
    refused: bool = False


@dataclass(frozen=True)
class Observed:
    """One RLJob and its objects.

    Attributes:
        job: the RLJob as stored by the API server.
        children: all objects with its label `rljob.dev/job-name`, except pods and Secrets.
        pods: its existing pods, including those being deleted (`metadata.deletionTimestamp`).
        gone: the last known state of its deleted pods; kept for some minutes. Never needed for
            correctness, only to report why a pod ended.
        warnings: recent core/v1 Events of type Warning about children and pods (FailedCreate, …).
        refused: (kind, name) of a child to the API server's message when it last refused it, in an
            apply or in the dry run of a replacement; absent once it was accepted.
        settled: (kind, name) of a child to (its `rljob.dev/hash`, its metadata.generation) in the
            API server's response to our last successful apply.
        polled: the learner's newest report; its pod may be gone.
        inspection: the newest states of the pods.
        keys_made: generations of keys whose Secrets this process created or found.
        status_written: when this process last wrote the status; None if never.
    """

    job: Manifest
    children: tuple[Manifest, ...] = ()
    pods: tuple[Manifest, ...] = ()
    gone: tuple[Manifest, ...] = ()
    warnings: tuple[Manifest, ...] = ()
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    settled: Mapping[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    polled: Polled | None = None
    inspection: Inspection | None = None
    keys_made: frozenset[int] = frozenset()
    status_written: datetime | None = None
