"""The folder of modules that is sent with a job: an archive in ConfigMaps that the job owns."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rljob.client.api import CONFIG_MAPS
from rljob.client.errors import ClusterError
from rljob.client.job import ClusterJob
from rljob.client.jobs import Jobs
from rljob.client.reader import labels, owner_reference
from rljob.code_folder import archive
from rljob.errors import RunError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.spec import RLJob

COMPONENT = "code"


def send(jobs: Jobs, job: ClusterJob, sha256: str, parts: Sequence[bytes]) -> None:
    """Create the ConfigMaps of a new job. If that fails or is interrupted, the job is deleted: its pods would wait for ever.

    Raises:
        ClusterError: the API server does not take them.
    """
    try:
        for index, part in enumerate(parts):
            jobs.api.create(CONFIG_MAPS, jobs.namespace, config_map(job, sha256, index, part))
    except BaseException:
        with suppress(ClusterError):
            jobs.delete(job.name)
        raise


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
