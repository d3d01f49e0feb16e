"""Creates, reads, changes and deletes RLJobs of one namespace."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress

from rljob import spec
from rljob.client import api
from rljob.client.access import Choice
from rljob.client.api import EVENTS, PODS, RLJOBS, ClusterApi
from rljob.client.errors import AlreadyExists, ClusterError, Forbidden, NotFound
from rljob.client.job import ClusterJob, JobEvent, JobPod
from rljob.errors import InputError, RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec import RLJob
from rljob.spec.invalid import nearest
from rljob.spec.roles import NO_ROLLOUTS, RoleName

MOST_NAMES = 8
LOOK_EVERY = 0.5


def connect(choice: Choice, namespace: str | None = None) -> Jobs:
    """The jobs of a cluster's namespace: that of the choice, else `namespace`, else the context's. No request is sent yet.

    Raises:
        InputError: there is no such cluster.
    """
    connection, found = api.connect(choice)
    return Jobs(connection, choice.namespace or namespace or found.namespace)


class Jobs:
    """The RLJobs of a namespace.

    Its methods raise ClusterError, or InputError for a job that the API server finds invalid.
    """

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self.api = api
        self.namespace = namespace

    def get(self, name: str) -> ClusterJob:
        """One job. If it does not exist, the error lists the existing jobs."""
        try:
            return ClusterJob.of(self.api.get(RLJOBS, self.namespace, name))
        except NotFound:
            raise NotFound(self._missing(name)) from None

    def again(self, job: ClusterJob) -> ClusterJob:
        """The same job as it is now.

        Raises:
            RunError: it was deleted.
        """
        with suppress(NotFound):
            found = ClusterJob.of(self.api.get(RLJOBS, self.namespace, job.name))
            if found.uid == job.uid:
                return found
        raise RunError(f"RLJob {job.name} was deleted")

    def all(self, everywhere: bool = False) -> list[ClusterJob]:
        """All jobs of this namespace or of the cluster, sorted by namespace and name."""
        found = self.api.get_all(RLJOBS, "" if everywhere else self.namespace)
        # The items of a list have no kind.
        named = ({"apiVersion": names.API_VERSION, "kind": names.KIND, **raw} for raw in found)
        return sorted(map(ClusterJob.listed, named), key=lambda job: (job.namespace, job.name))

    def create(self, job: RLJob, held: bool = False) -> ClusterJob:
        """Create the job. The API server sets the defaults.

        Args:
            held: whether it is suspended until `release`.

        Raises:
            InputError: the API server finds the job invalid; the error has file and line.
            AlreadyExists: a job of this name exists; the message lists remedies.
        """
        body = manifest(job)
        if held:
            body["metadata"].setdefault("annotations", {})[names.HELD_ANNOTATION] = "true"
            body["spec"]["suspend"] = True
        try:
            return ClusterJob.of(self.api.create(RLJOBS, self.namespace, body))
        except AlreadyExists:
            name = job.metadata.name
            there = self.get(name)
            state = "its code was not sent as a whole" if there.held else there.phase
            raise AlreadyExists(
                f"RLJob {name} already exists in namespace {self.namespace} ({state}); delete it, use another name with "
                "--set metadata.name=NAME, or change the existing job with kubectl apply"
            ) from None
        except InputError as error:
            raise spec.locate(job, error) from None

    def release(self, job: RLJob) -> ClusterJob:
        """Let a job begin that was created `held`, unless it is to be suspended itself."""
        # Only its own value, if any: null leaves the default to the API server.
        suspended = job.spec.suspend if "suspend" in job.spec.model_fields_set else None
        body = {
            "metadata": {"annotations": {names.HELD_ANNOTATION: None}},
            "spec": {"suspend": suspended},
        }
        return ClusterJob.of(self.api.patch(RLJOBS, self.namespace, job.metadata.name, body))

    def suspend(self, name: str, suspended: bool) -> ClusterJob | None:
        """Suspend or resume the job. Returns None if nothing changes.

        Raises:
            RunError: the job has ended, or is held.
        """
        job = self.get(name)
        if job.end is not None:
            verb = "suspended" if suspended else "resumed"
            raise RunError(f"{name} has ended ({job.end.type}); it cannot be {verb}")
        if job.held and not suspended:
            raise RunError(
                f"the code of {name} was not sent as a whole; delete it and submit it again"
            )
        if job.suspended == suspended:
            return None
        body = {"spec": {"suspend": suspended}}
        return ClusterJob.of(self.api.patch(RLJOBS, self.namespace, name, body))

    def scale(self, name: str, replicas: int) -> int:
        """Set the number of rollouts; returns the previous number.

        Raises:
            InputError: only applications feed the job.
            RunError: the job has ended.
        """
        job = self.get(name)
        if job.end is not None:
            raise RunError(f"{name} has ended ({job.end.type}); it cannot be scaled")
        if not job.played:
            raise InputError(f"replicas: {replicas} is not allowed; {NO_ROLLOUTS.format(name)}")
        if job.replicas != replicas:
            body = {"spec": {"replicas": replicas}}
            self.api.patch(RLJOBS, self.namespace, name, body, "scale")
        return replicas if job.replicas is None else job.replicas

    def rotate_keys(self, name: str) -> int:
        """Have the operator give the job new keys; returns their generation. A change in progress counts as this one.

        Raises:
            RunError: the job has ended.
        """
        job = self.get(name)
        if job.end is not None:
            raise RunError(f"{name} has ended ({job.end.type}); it needs no keys")
        generation = job.next_keys
        body = {"metadata": {"annotations": {names.KEYS_ANNOTATION: str(generation)}}}
        self.api.patch(RLJOBS, self.namespace, name, body)
        return generation

    def delete(self, name: str, foreground: bool = False) -> ClusterJob:
        """Delete the job. Kubernetes deletes its pods afterwards; with `foreground`, before the job."""
        job = self.get(name)
        options: Manifest = {
            "propagationPolicy": "Foreground" if foreground else "Background",
            # Delete this job only, not a newer job of the same name.
            "preconditions": {"uid": job.uid},
        }
        self.api.delete(RLJOBS, self.namespace, name, options)
        return job

    def await_gone(self, job: ClusterJob) -> None:
        """Wait until the job does not exist."""
        with suppress(NotFound):
            while self.api.get(RLJOBS, self.namespace, job.name)["metadata"]["uid"] == job.uid:
                time.sleep(LOOK_EVERY)

    def events(self, job: ClusterJob) -> list[JobEvent]:
        """The job's Events, oldest first; empty if the user may not read them."""
        query = {"fieldSelector": f"involvedObject.uid={job.uid}"}
        try:
            found = self.api.get_all(EVENTS, self.namespace, query)
        except Forbidden:
            return []
        return sorted(map(JobEvent.of, found), key=lambda event: event.time)

    def pods(self, job: ClusterJob, role: RoleName) -> list[JobPod]:
        """The job's pods of one role, oldest first."""
        query = {"labelSelector": names.selector_text(job.name, role)}
        found = (JobPod.of(raw, role) for raw in self.api.get_all(PODS, self.namespace, query))
        return sorted(found, key=lambda pod: (pod.created, pod.name))

    def _missing(self, name: str) -> str:
        start = f"there is no RLJob {name} in namespace {self.namespace}"
        try:
            there = [job.name for job in self.all()]
        except ClusterError:
            return start
        near = nearest(name, there)
        if near is not None:
            return f"{start}. Did you mean {near}?"
        return f"{start}; {_listed(there)}"


def manifest(job: RLJob) -> Manifest:
    """Manifest of the job with only the fields that were set, for the API server."""
    written: Manifest = job.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written |= {"apiVersion": job.api_version, "kind": job.kind}
    # The API server sets the uid; the URL contains the namespace.
    written["metadata"].pop("uid", None)
    written["metadata"].pop("namespace", None)
    return written


def _listed(there: Iterable[str]) -> str:
    found = list(there)
    if not found:
        return "it has no RLJobs"
    more = ", …" if len(found) > MOST_NAMES else ""
    return f"existing: {', '.join(found[:MOST_NAMES])}{more}"
