"""What the operator knows of one RLJob and everything that belongs to it, at one moment.

The I/O side gathers it; `reconcile` decides from it alone.
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
    """What a learner said of itself when it was asked.

    Attributes:
        report: its answer.
        at: when.
        pod: name of its pod.
    """

    report: LearnerReport
    at: datetime
    pod: str


@dataclass(frozen=True)
class Inspection:
    """What the pods of a job said they do.

    Attributes:
        at: when they were asked.
    """

    asked: tuple[RoleProbe, ...]
    at: datetime


@dataclass(frozen=True)
class Observed:
    """One RLJob and its world.

    Attributes:
        job: the RLJob as the API server has it.
        children: all with its label `rljob.dev/job-name`, whatever their kind; no pods, no Secrets.
        pods: its pods that exist, those being deleted too (`metadata.deletionTimestamp`).
        gone: its pods that exist no more, as they were seen last; kept for some minutes, never
            needed for correctness, only to tell why a pod ended.
        warnings: core/v1 Events of type Warning about children and pods (FailedCreate, …), recent.
        refused: (kind, name) of a child to what the API server said when it refused it last, in an
            apply or in the dry run of a replacement; absent once one was accepted.
        settled: (kind, name) of a child to (its `rljob.dev/hash`, its metadata.generation) as the
            API server answered our last successful apply.
        polled: the learner's newest answer, whatever became of its pod since.
        inspection: what the pods said when they were asked last.
        keys_made: whether the Secret with the keys was created or found by this process.
        status_written: when this process last wrote the status; None when it never did.
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
    keys_made: bool = False
    status_written: datetime | None = None
