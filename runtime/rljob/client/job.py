"""An RLJob on a cluster, its pods and its Events as typed values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from rljob import spec
from rljob.errors import InputError, RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec import RLJob
from rljob.spec.status import Condition, RLJobStatus

ENDS = ("Complete", "Failed")
_NORMAL = ("Pending", "Starting", "Training", "Complete", "Failed", "Suspended", "Suspending")


@dataclass(frozen=True)
class ClusterJob:
    """An RLJob as returned by the API server.

    Attributes:
        readable: whether `status` is its own.

    Raises:
        RunError: this version of rljob cannot read its status.
    """

    raw: Manifest
    status: RLJobStatus
    readable: bool = True

    @classmethod
    def listed(cls, raw: Manifest) -> ClusterJob:
        """One of many: where its status cannot be read, the others still can, so it has an empty one."""
        try:
            return cls.of(raw)
        except RunError:
            return cls(raw, RLJobStatus(), readable=False)

    @classmethod
    def of(cls, raw: Manifest) -> ClusterJob:
        try:
            return cls(raw, RLJobStatus.model_validate(raw.get("status") or {}))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise RunError(
                f"this version of rljob cannot read the status of {raw['metadata']['name']}: "
                f"{field}: {first['msg']}"
            ) from None

    @property
    def name(self) -> str:
        return str(self.raw["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.raw["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        return str(self.raw["metadata"]["uid"])

    @property
    def created(self) -> datetime:
        return parse_time(self.raw["metadata"]["creationTimestamp"])

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def suspended(self) -> bool:
        """`spec.suspend`; the status shows whether the job is suspended."""
        return bool(self.raw["spec"].get("suspend"))

    @property
    def held(self) -> bool:
        """Whether the job waits for its code, which is sent after it was created."""
        return names.HELD_ANNOTATION in (self.raw["metadata"].get("annotations") or {})

    @property
    def replicas(self) -> int | None:
        """Desired number of rollouts."""
        replicas = self.raw["spec"].get("rollout", {}).get("replicas")
        return None if replicas is None else int(replicas)

    @property
    def played(self) -> bool:
        """Whether the job has an environment, which its rollouts play; without one, only applications feed it."""
        environment = self.raw["spec"].get("environment") or {}
        return any(environment.get(field) for field in ("id", "entryPoint"))

    @property
    def next_keys(self) -> int:
        """The generation of keys that a rotation leads to; one in progress leads to the one that it has."""
        current, known = self.status.keys_generation or 1, self.condition("KeysCurrent")
        if known is None or known.status == "True" or known.reason == "InvalidGeneration":
            return current + 1
        asked = (self.raw["metadata"].get("annotations") or {}).get(names.KEYS_ANNOTATION, "")
        return max(current, int(asked)) if asked.isdecimal() else current

    @property
    def phase(self) -> str:
        """The phase of the status; `Terminating` for a job in deletion, `Pending` for a new job, and `Unknown`
        where this version of rljob cannot read it."""
        if self.deleting:
            return "Terminating"
        return self.status.phase or ("Pending" if self.readable else "Unknown")

    @property
    def end(self) -> Condition | None:
        """The condition `Complete` or `Failed`; None for a job that has not ended."""
        found = (self.condition(name) for name in ENDS)
        return next((one for one in found if one is not None and one.status == "True"), None)

    @property
    def why(self) -> tuple[str, str]:
        """Reason and message of the job's end or of its current problem; empty without one."""
        if self.end is not None:
            return self.end.reason, self.end.message
        progressing = self.condition("Progressing")
        if progressing is None or progressing.status == "True" or progressing.reason in _NORMAL:
            return "", ""
        return progressing.reason, progressing.message

    def condition(self, kind: str) -> Condition | None:
        return next((one for one in self.status.conditions if one.type == kind), None)

    def job(self) -> RLJob:
        """Parse the job.

        Raises:
            RunError: this version of rljob cannot read it.
        """
        try:
            return spec.parse(self.raw)
        except InputError as error:
            raise RunError(
                f"this version of rljob cannot read the job {self.name}: {error}"
            ) from None


@dataclass(frozen=True)
class JobEvent:
    """A Kubernetes Event about a job."""

    uid: str
    time: datetime
    warning: bool
    reason: str
    message: str
    count: int

    @classmethod
    def of(cls, raw: Manifest) -> JobEvent:
        """From a core/v1 Event, with the fields of the old or the new Event API."""
        series = raw.get("series") or {}
        times = (
            series.get("lastObservedTime"),
            raw.get("lastTimestamp"),
            raw.get("eventTime"),
            raw.get("firstTimestamp"),
            raw["metadata"]["creationTimestamp"],
        )
        return cls(
            uid=str(raw["metadata"]["uid"]),
            time=parse_time(next(time for time in times if time)),
            warning=raw.get("type") == "Warning",
            reason=str(raw.get("reason") or ""),
            message=one_line(str(raw.get("message") or "")),
            count=int(series.get("count") or raw.get("count") or 1),
        )


@dataclass(frozen=True)
class JobPod:
    """A pod and its main container, which has the name of the role."""

    name: str
    role: str
    raw: Manifest

    @classmethod
    def of(cls, raw: Manifest, role: str) -> JobPod:
        return cls(str(raw["metadata"]["name"]), role, raw)

    @property
    def created(self) -> datetime:
        return parse_time(self.raw["metadata"]["creationTimestamp"])

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.raw["metadata"]

    @property
    def _container(self) -> Manifest:
        statuses = self.raw.get("status", {}).get("containerStatuses") or ()
        return next((one for one in statuses if one["name"] == self.role), {})

    @property
    def state(self) -> str:
        """`waiting`, `running` or `terminated`."""
        return next(iter(self._container.get("state") or {}), "waiting")

    @property
    def waits_for(self) -> str:
        """Reason why the main container has not started."""
        status = self.raw.get("status", {})
        for first in status.get("initContainerStatuses") or ():
            state: Manifest = first.get("state") or {"waiting": {}}
            ((kind, details),) = state.items()
            if kind != "terminated" or details.get("exitCode"):
                return f"init container {first['name']} has not ended: {_reason(details, kind)}"
        waiting = (self._container.get("state") or {}).get("waiting")
        conditions = status.get("conditions") or ()
        unmet = next((c for c in conditions if c["type"] == "PodScheduled"), None)
        return _reason(waiting or unmet or {}, "no status yet")

    @property
    def end_reason(self) -> str:
        """Reason why the main container has ended."""
        ended = (self._container.get("state") or {}).get("terminated") or {}
        words = str(ended.get("message") or "").strip().splitlines()
        reason = f"{ended.get('reason') or 'Error'}, exit code {ended.get('exitCode')}"
        return f"{one_line(words[-1])} ({reason})" if words else reason

    @property
    def container_id(self) -> str:
        """ID of the main container; each start has a new one."""
        return str(self._container.get("containerID") or "")

    @property
    def restarts(self) -> int:
        return int(self._container.get("restartCount") or 0)

    @property
    def ready(self) -> bool:
        return bool(self._container.get("ready"))


def _reason(state: Manifest, otherwise: str) -> str:
    words = [str(state.get("reason") or otherwise), str(state.get("message") or "")]
    return one_line(": ".join(filter(None, words)))


def one_line(text: str) -> str:
    """Text from the cluster as one line without terminal control characters."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time of Kubernetes."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
