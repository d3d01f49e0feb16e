"""Fetches the records of a job on a cluster for a report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from rljob.checkpoints.unpack import unpack_records
from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.served import Say, Served, download, take
from rljob.errors import RunError
from rljob.run_folder.names import METRICS
from rljob.run_folder.record import Record, read_records


def of_learner(jobs: Jobs, job: ClusterJob) -> list[Record]:
    """The records that the running learner has; none without one.

    Raises:
        RunError: it has no records yet, or does not answer.
    """
    running = [pod for pod in jobs.pods(job, "learner") if pod.state == "running"]
    if not running:
        return []
    with tempfile.TemporaryDirectory(prefix="rljob-records-") as folder:
        served = Served(jobs, job, job.job(), "records", lambda text: None)
        download(served, running[-1].name, lambda chunks: unpack_records(chunks, Path(folder)))
        return read_records(Path(folder) / METRICS)


def fetch(jobs: Jobs, job: ClusterJob, folder: Path, say: Say, image: str | None = None) -> None:
    """Write the records of the learner and of the evaluator into the existing folder.

    The evaluator's records are lost when its pod is deleted.

    Args:
        say: receives progress messages.
        image: image of the reader pod, used if no learner runs; None for the learner's.

    Raises:
        RunError: the learner has no records, or no pod can serve them.
    """
    served = Served(jobs, job, job.job(), "records", say)

    def receive(chunks: Iterator[bytes]) -> None:
        unpack_records(chunks, folder)

    take(served, receive, image)
    for pod in jobs.pods(job, "evaluator"):
        try:
            download(served, pod.name, receive)
        except (ClusterError, RunError) as error:
            say(f"the evaluator's records are not available: {error}")
