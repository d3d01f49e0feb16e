"""`rljob.submit`, and the handle of a job on a cluster."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rljob import spec
from rljob.client import jobs as cluster_jobs
from rljob.client import records, sent_code
from rljob.client.access import Choice
from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.live import record
from rljob.client.logs import Wanted, print_logs
from rljob.errors import InputError, RLJobError, RunError
from rljob.handles.base import JobHandle, LogText, lines_of, replicas_of, role_of
from rljob.handles.status import JobStatus
from rljob.kube.manifests import preview
from rljob.run_folder.record import Record
from rljob.spec import JobLike, RLJob
from rljob.spec.roles import ROLES

if TYPE_CHECKING:
    import numpy as np

    from rljob.local.result import Result
    from rljob.policies.loaded import TrainedPolicy

CLIENT = ("kubernetes", "urllib3")


def submit(
    job: JobLike,
    *,
    code: str | Path | None = None,
    overrides: Sequence[str] = (),
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
) -> ClusterHandle:
    """Create a job on a cluster and return its handle. It is the cluster that kubectl would use.

    Args:
        job: a YAML file, a mapping in the form of the YAML, or an `RLJob`.
        code: folder of modules that goes with the job: the files that git would not ignore, at most 8 MiB packed.
        overrides: `path=value` as for `rljob submit --set`, e.g. `rollout.replicas=4`.
        namespace: of the job; by default the file's, else the context's.
        context: context of the kubeconfig; by default the current one.
        kubeconfig: by default `$KUBECONFIG` or `~/.kube/config`.

    Raises:
        InputError: the job or the cluster is invalid; nothing was created.
        RunError: the cluster does not answer, refuses, or has a job of this name.
    """
    choice = _choice(namespace, context, kubeconfig)
    return ClusterHandle(*create(spec.read(job, overrides), choice, code))


def create(job: RLJob, choice: Choice, code: str | Path | None = None) -> tuple[Jobs, ClusterJob]:
    """Check the job, create it and send the folder that goes with it.

    Raises:
        InputError: the job or the cluster is invalid.
        RunError: as for `submit`.
    """
    # Without numpy, the settings cannot be checked here; the API server checks them.
    if importlib.util.find_spec("numpy") is not None:
        from rljob.algorithms.settings import check_settings

        check_settings(job)
    # The operator would find the same faults in a pod template, but only after the job is stored.
    packed = None
    if code is not None:
        from rljob.code_folder.pack import carried

        job, packed = carried(job, code)
    elif job.spec.code_archive is not None:
        message = "the job was sent with a folder of code; give that folder with --code DIR"
        raise spec.locate(job, InputError(message, path="codeArchive"))
    preview(job)
    jobs = connect(choice, _namespace(job, choice.namespace))
    if packed is None:
        return jobs, jobs.create(job)
    return jobs, sent_code.create(jobs, job, packed.sha256, packed.parts())


def find(
    name: str,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
) -> ClusterHandle:
    """The handle of a job on a cluster.

    Raises:
        InputError: there is no such cluster.
        RunError: there is no such job; the message has the names of others.
    """
    jobs = connect(_choice(namespace, context, kubeconfig))
    return ClusterHandle(jobs, jobs.get(name))


def connect(choice: Choice, namespace: str | None = None) -> Jobs:
    """As `rljob.client.jobs.connect`.

    Raises:
        RunError: the Kubernetes client is not installed.
    """
    try:
        return cluster_jobs.connect(choice, namespace)
    except ModuleNotFoundError as error:
        if error.name not in CLIENT:
            raise
        raise RunError(
            f"a cluster needs {error.name}, part of: pip install 'rljob[client]'"
        ) from None


class ClusterHandle(JobHandle):
    """A job on a cluster.

    Attributes:
        jobs: the jobs of its namespace.
    """

    def __init__(self, jobs: Jobs, job: ClusterJob) -> None:
        super().__init__(job.name)
        self.jobs = jobs
        self._job = job

    @property
    def namespace(self) -> str:
        """Namespace of the job."""
        return self.jobs.namespace

    @property
    def status(self) -> JobStatus:
        """The status now.

        Raises:
            RunError: the job was deleted, or the API server does not answer.
        """
        return status_of(self.jobs.again(self._job))

    def logs(self, role: str | None = None, *, tail: int | None = None) -> LogText:
        number = lines_of(tail)
        job, lines = self.jobs.again(self._job), list[str]()
        if role is not None:
            print_logs(
                self.jobs, job, Wanted(role_of(role), tail=number), lines.append, lines.append
            )
            return LogText("\n".join(lines))
        for each in ROLES:
            if self.jobs.pods(job, each):
                lines.append(f"==> {each} <==")
                print_logs(self.jobs, job, Wanted(each, tail=number), lines.append, lines.append)
        return LogText("\n".join(lines))

    def scale(self, replicas: int) -> None:
        wanted = replicas_of(replicas)
        self.jobs.scale(self.jobs.again(self._job).name, wanted)

    def stop(self) -> None:
        """Suspend the job: its learner saves a checkpoint, then its pods end. A suspended job has not ended."""
        self.jobs.suspend(self.jobs.again(self._job).name, True)

    def resume(self) -> None:
        self.jobs.suspend(self.jobs.again(self._job).name, False)

    def delete(self) -> None:
        """Delete the job. Kubernetes then deletes its pods and volumes."""
        self.jobs.delete(self.jobs.again(self._job).name)

    def result(self) -> Result:
        """The result of a job that has ended, with its records in a temporary folder that goes with the result.

        Raises:
            InputError: the job has not ended.
            RunError: no pod can serve the records.
        """
        from rljob.local.result import Result
        from rljob.run_folder import json_files
        from rljob.run_folder.names import RESULT

        job = self.jobs.again(self._job)
        end = job.end
        if end is None:
            raise InputError(f"{self.name} has not ended ({job.phase}); `wait` waits for its end")
        folder = self._records(job)
        try:
            value = result_of(job) | (json_files.read(folder / RESULT) or {})
            # The operator may end a job otherwise than its learner did.
            value |= {"outcome": end.type, "reason": end.reason, "message": end.message}
            found = Result.from_json(value, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
        return found

    def policy(self, seed: int | None = None) -> TrainedPolicy:
        from rljob.policies.load import load_job

        return load_job(self.jobs, self.jobs.again(self._job), seed)

    def history(self) -> dict[str, np.ndarray]:
        from rljob.local import history

        folder = self._records(self.jobs.again(self._job))
        try:
            return history.training(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def records(self) -> Iterator[Sequence[Record]]:
        """First those that a running learner has, then what the status says; no pod is started for it."""
        found: list[Record] = []
        with suppress(RLJobError):
            found = records.of_learner(self.jobs, self.jobs.again(self._job))
        yield found
        while True:
            yield ()

    def _records(self, job: ClusterJob) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="rljob-records-"))
        try:
            records.fetch(self.jobs, job, folder, _silent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def _look(self) -> JobStatus | None:
        try:
            return self.status
        except ClusterError as error:
            if not error.transient:
                raise
            return None

    def __repr__(self) -> str:
        text = "the cluster does not answer"
        with suppress(RunError):
            text = self.status.summary
        return f"<{self.namespace}/{self.name}: {text}>"


def status_of(job: ClusterJob) -> JobStatus:
    """The status of a job on a cluster."""
    status, (reason, message) = job.status, job.why
    saved = status.last_checkpoint
    return JobStatus.of(
        record(status),
        name=job.name,
        phase=job.phase,
        reason=reason,
        message=message,
        checkpoint_step=saved.step if saved is not None else None,
        rollouts=(job.replicas or 0) if job.played else 0,
        restarts=status.restarts,
    )


def result_of(job: ClusterJob) -> dict[str, object]:
    """What the status says of a result, in the form of `result.json`."""
    status = job.status
    last, origin = record(status), status.provenance
    return {
        **last.to_json(),
        "policyVersion": last.policy_version or 0,
        "seed": (origin.seed if origin is not None else None) or 0,
        "versions": (origin.versions if origin is not None else None) or {},
        "restarts": status.restarts,
    }


def _choice(namespace: str | None, context: str | None, kubeconfig: str | Path | None) -> Choice:
    return Choice(Path(kubeconfig) if kubeconfig is not None else None, context, namespace)


def _namespace(job: RLJob, chosen: str | None) -> str | None:
    """Namespace of the file. A chosen one must not differ from it, as in kubectl."""
    own = job.metadata.namespace
    if own is not None and chosen is not None and own != chosen:
        message = f"{own} differs from --namespace {chosen}"
        raise spec.locate(job, InputError(message, path="metadata.namespace"))
    return own


def _silent(text: str) -> None: ...
