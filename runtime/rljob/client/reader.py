"""Manifest of the reader pod, which serves a job's checkpoints when no learner runs. Pure.

It is the learner's pod with the same volumes, scheduling and security settings, but with another command
and a time limit, and without the job's keys, sidecars and labels.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from rljob.client.job import ClusterJob, JobPod
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import Owner, build
from rljob.kube.settings import OperatorSettings
from rljob.run_folder.names import JOB
from rljob.spec import RLJob

LIVES_SECONDS = 900
"""Seconds after which the pod ends if it is not deleted."""
COMPONENT = "get-policy"
_KEPT = (
    *("affinity", "dnsConfig", "dnsPolicy", "hostAliases", "imagePullSecrets", "nodeSelector"),
    *("priorityClassName", "runtimeClassName", "schedulerName", "securityContext", "tolerations"),
    *("automountServiceAccountToken", "enableServiceLinks"),
)
"""Fields copied from the learner's pod; its volumes or the namespace may need them."""


@dataclass(frozen=True)
class Image:
    """Image of the container and how to pull it."""

    name: str
    policy: str | None = None
    secrets: tuple[str, ...] = ()


def image_of(
    job: ClusterJob, pods: Sequence[JobPod], workload: Manifest | None, chosen: str | None
) -> Image:
    """The learner's image, from its newest pod, its Job or the status.

    Args:
        workload: the learner's Job, if it exists.
        chosen: image selected by the user.
    """
    specs = [pod.raw["spec"] for pod in reversed(pods)]
    if workload is not None:
        specs.append(workload["spec"]["template"]["spec"])
    for found in specs:
        main = next((one for one in found["containers"] if one["name"] == "learner"), None)
        if main is not None:
            secrets = tuple(one["name"] for one in found.get("imagePullSecrets") or ())
            return Image(chosen or main["image"], main.get("imagePullPolicy"), secrets)
    known = job.status.provenance
    ran = (known.images or {}).get("learner") if known is not None else None
    return Image(
        chosen
        or job.raw["spec"].get("image")
        or _without_digest(ran)
        or OperatorSettings().learner_image
    )


def reader_pod(job: ClusterJob, parsed: RLJob, image: Image) -> Manifest:
    """Manifest of the pod, which serves the newest complete checkpoint on its loopback, for a port-forward.

    Raises:
        InputError: the learner's template cannot be merged.
    """
    settings = OperatorSettings(
        learner_image=image.name,
        image_pull_policy=image.policy,
        image_pull_secrets=image.secrets,
    )
    owner = Owner(job.name, job.namespace, job.uid)
    learner = build(parsed, owner, settings).workloads["learner"]["spec"]["template"]["spec"]
    main = next(one for one in learner["containers"] if one["name"] == "learner")
    folder, job_file = _served_folder(parsed)
    paths = ["/tmp"] if job_file is None else ["/tmp", names.JOB_FOLDER]
    mounts = [
        mount
        for mount in main["volumeMounts"]
        if mount["mountPath"] in paths or _overlap(mount["mountPath"], folder)
    ]
    arguments = ["--dir", folder, "--host", "127.0.0.1", "--port", str(names.LOOPBACK_PORT)]
    if job_file is not None:
        arguments += ["--job", job_file]
    mounted = {mount["name"] for mount in mounts}
    container = {
        "name": COMPONENT,
        "image": image.name,
        "command": ["rljob"],
        "args": ["serve-checkpoint", *arguments],
        "resources": _resources(main.get("resources") or {}),
        "securityContext": main["securityContext"],
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if "imagePullPolicy" in main:
        container["imagePullPolicy"] = main["imagePullPolicy"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{job.name}-{COMPONENT}-{uuid.uuid4().hex[:6]}",
            "labels": labels(job.name),
            # Kubernetes deletes the pod with the job, even if this command was killed.
            "ownerReferences": [owner_reference(job)],
        },
        "spec": {
            **{key: learner[key] for key in _KEPT if key in learner},
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LIVES_SECONDS,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [volume for volume in learner["volumes"] if volume["name"] in mounted],
        },
    }


def owner_reference(job: ClusterJob) -> Manifest:
    """Makes an object belong to the job."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": job.name,
        "uid": job.uid,
    }


def labels(job: str, component: str = COMPONENT) -> dict[str, str]:
    """Labels of what the client makes. They differ from the labels that the operator selects."""
    return {
        "app.kubernetes.io/name": "rljob",
        "app.kubernetes.io/instance": job,
        "app.kubernetes.io/component": component,
        names.MANAGED_BY_LABEL: "rljob",
    }


def _served_folder(job: RLJob) -> tuple[str, str | None]:
    """Folder to serve, and the path of the job's file if it is not in that folder."""
    storage = job.spec.checkpoint.storage
    if storage is not None and storage.path is not None and storage.path.startswith("/"):
        return storage.path, f"{names.JOB_FOLDER}/{JOB}"
    return names.DATA_FOLDER, None


def _overlap(one: str, other: str) -> bool:
    """Whether one folder contains the other."""
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _resources(learner: Manifest) -> Manifest:
    """Small requests; the limits that the learner sets, because a quota may require them; no accelerators."""
    limits = {key: value for key, value in (learner.get("limits") or {}).items() if key in _PLAIN}
    requests = {"cpu": "50m", "memory": "128Mi"}
    return {"requests": requests} | ({"limits": limits} if limits else {})


_PLAIN = ("cpu", "memory")


def _without_digest(image: str | None) -> str | None:
    """`name:tag` of `name:tag@sha256:…`: an image loaded into the node cannot be pulled by digest."""
    if image is None:
        return None
    name, _, _ = image.partition("@")
    return name if ":" in name.rpartition("/")[2] else image
