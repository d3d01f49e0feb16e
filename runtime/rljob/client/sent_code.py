"""The folder of modules that is sent with a job: an archive in ConfigMaps that the job owns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rljob.client.api import CONFIG_MAPS
from rljob.client.errors import AlreadyExists, NotFound
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.reader import labels, owner_reference
from rljob.code_folder import archive
from rljob.errors import RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec import RLJob

COMPONENT = "code"


def create(jobs: Jobs, job: RLJob, sha256: str, parts: Sequence[bytes]) -> ClusterJob:
    """Create a job and the ConfigMaps with its code.

    The job is suspended until all are there: where this process is killed before, no pod waits for them. If they cannot be
    created, the job is deleted.

    Raises:
        InputError: the API server finds the job invalid.
        ClusterError: the API server does not take the job or the ConfigMaps.
    """
    made = jobs.create(job, held=True)
    try:
        for index, part in enumerate(parts):
            _send(jobs, made, config_map(made, sha256, index, part))
        return jobs.release(job)
    except BaseException:
        with suppress(RunError):
            jobs.delete(made.name)
        raise


def _send(jobs: Jobs, job: ClusterJob, body: Manifest) -> None:
    try:
        jobs.api.create(CONFIG_MAPS, jobs.namespace, body)
        return
    except AlreadyExists:
        there = jobs.api.get(CONFIG_MAPS, jobs.namespace, body["metadata"]["name"])["metadata"]
        owned = {owner["uid"] for owner in there.get("ownerReferences") or ()}
        if job.uid in owned:
            # The answer to an earlier request was lost.
            return
        if there.get("labels") != body["metadata"]["labels"]:
            raise
    # Of a job of this name that was deleted: Kubernetes would delete it at any moment.
    uid = {"preconditions": {"uid": there["uid"]}}
    with suppress(NotFound):
        jobs.api.delete(CONFIG_MAPS, jobs.namespace, body["metadata"]["name"], uid)
    jobs.api.create(CONFIG_MAPS, jobs.namespace, body)


def config_map(job: ClusterJob, sha256: str, index: int, part: bytes) -> Manifest:
    """The ConfigMap with one part; Kubernetes deletes it with the job."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.code_part(job.name, sha256, index),
            "labels": labels(job.name, COMPONENT),
            "ownerReferences": [owner_reference(job)],
        },
        "immutable": True,
        "binaryData": {names.PART: base64.b64encode(part).decode()},
    }


def fetch(jobs: Jobs, job: RLJob, folder: Path) -> None:
    """Unpack the folder that was sent with a job, if any, into a new folder.

    Raises:
        RunError: a part cannot be read.
        InputError: the archive is damaged.
        OSError: the folder cannot be written.
    """
    known = job.spec.code_archive
    if known is None:
        return
    data = b""
    for index in range(known.parts):
        name = names.code_part(job.metadata.name, known.sha256, index)
        found = jobs.api.get(CONFIG_MAPS, jobs.namespace, name)
        try:
            data += base64.b64decode(found["binaryData"][names.PART], validate=True)
        except (LookupError, binascii.Error):
            raise RunError(f"the ConfigMap {name} is not a part of the job's code") from None
    archive.unpack(data, known, folder)
