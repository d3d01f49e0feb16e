"""Fetches what a job on a cluster has recorded, for a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rljob.checkpoints.unpack import unpack_records
from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.served import Say, Served, download, take
from rljob.errors import RunError


def fetch(jobs: Jobs, job: ClusterJob, folder: Path, say: Say, image: str | None = None) -> None:
    """Write the records of the learner and of the evaluator into the folder, which is there.

    The evaluator's are gone with its pod.

    Args:
        say: takes what happens meanwhile.
        image: of the pod that reads where there is no learner; the learner's when None.

    Raises:
        RunError: the learner has none, or nobody can serve them.
    """
    served = Served(jobs, job, job.job(), "records", say)

    def receive(chunks: Iterator[bytes]) -> None:
        unpack_records(chunks, folder)

    take(served, receive, image)
    for pod in jobs.pods(job, "evaluator"):
        try:
            download(served, pod.name, receive)
        except (ClusterError, RunError) as error:
            say(f"without evaluations: {error}")
