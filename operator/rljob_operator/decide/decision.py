"""What `reconcile` asks the I/O side to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rljob.kube.kinds import Manifest
from rljob.spec.roles import RoleName
from rljob.spec.status import RLJobStatus

Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True)
class Reference:
    """An object to delete; one of the same name with another uid is not meant.

    Attributes:
        replacement: what will be applied under the same name once the object and its pods are gone.
            It is tried first, as a dry run of a create under a name of its own; where the API server
            refuses that, nothing is deleted and `Observed.refused` tells it, so that an edit that
            can never run stops nothing that does.
    """

    api_version: str
    kind: str
    name: str
    uid: str
    propagation: Propagation = "Background"
    replacement: Manifest | None = None


@dataclass(frozen=True)
class Notice:
    """What becomes an Event on the RLJob."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Poll:
    """A learner to ask for its report.

    Attributes:
        pod: its name.
        url: of its `/status`.
    """

    pod: str
    url: str


@dataclass(frozen=True)
class Question:
    """A pod to ask once what it does.

    Attributes:
        pod: its name.
        url: of its `/state`.
    """

    role: RoleName
    pod: str
    url: str


@dataclass(frozen=True)
class Decision:
    """What is to be done, in this order: keys, deletions, applies, status, notices.

    Attributes:
        apply: manifests for server-side apply, in this order; empty for a quiet job. One that was
            refused is in it again each time: the I/O side spaces the attempts.
        delete: objects that must go.
        delete_job: the RLJob itself has outlived its time; nothing else is to be done then.
        mint_keys: create the Secret with the keys before anything is applied.
        status: the whole status as it should be.
        write_status: whether it is worth a write now.
        notices: Events to post once the status is written; without that write they come again.
        ask: pods to ask what they do; the answers are in `Observed.inspection` at the next look.
        poll: the learner to ask, every `Settings.poll_seconds` while it is named here.
        requeue_after: seconds until a deadline passes by itself; None when none will.
    """

    status: RLJobStatus
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    delete_job: bool = False
    mint_keys: bool = False
    write_status: bool = False
    notices: tuple[Notice, ...] = ()
    ask: tuple[Question, ...] = ()
    poll: Poll | None = None
    requeue_after: float | None = None
