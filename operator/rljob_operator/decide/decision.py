"""The result of `reconcile`: actions for the I/O side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob.spec.status import RLJobStatus

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True)
class Reference:
    """An object to delete, identified by its uid.

    Attributes:
        replacement: manifest that is applied under the same name once the object and its pods are gone.
                It is tested first by a dry run of a create under another name. If the API server refuses
                it, nothing is deleted and `Observed.refused` contains the message, so an invalid edit
                does not stop a running learner.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    propagation: Propagation = "Background"
    replacement: Manifest | None = None


@dataclass(frozen=True)
class Notice:
    """An Event on the RLJob."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Poll:
    """A learner to poll for its report.

    Attributes:
        pod: its name.
        url: of its `/status`.
        uid: of the job, for its token.
    """

    pod: str
    url: str
    uid: str


@dataclass(frozen=True)
class Question:
    """A pod to ask once for its state.

    Attributes:
        pod: its name.
        url: of its `/state`.
    """

    role: RoleName
    pod: str
    url: str


@dataclass(frozen=True)
class Decision:
    """Actions, in this order: keys, deletions, applies, status, notices.

    Attributes:
        apply: manifests for server-side apply, in this order; empty if nothing changed. A refused
                manifest is included each time: the I/O side delays the attempts.
            delete: objects to delete.
            delete_job: delete the RLJob itself because its TTL has passed; no other action then.
            mint_keys: generations of keys whose Secrets to create before applying anything.
            status: the whole desired status.
            write_status: whether to write the status now.
            notices: Events to post after the status is written; without that write they are repeated.
            ask: pods to ask for their state; the answers are in `Observed.inspection` at the next reconcile.
            poll: the learner to poll every `OperatorSettings.poll_seconds`.
            requeue_after: seconds until a deadline passes; None if there is none.
    """

    status: RLJobStatus
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    delete_job: bool = False
    mint_keys: tuple[int, ...] = ()
    write_status: bool = False
    notices: tuple[Notice, ...] = ()
    ask: tuple[Question, ...] = ()
    poll: Poll | None = None
    requeue_after: float | None = None
