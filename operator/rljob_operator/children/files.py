"""What the pods of a job are told, as ConfigMaps, and the Secret with their keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from rljob.spec import RLJob, yamltext
from rljob.spec.status import RoleName
from rljob_operator import names
from rljob_operator.children.objects import Manifest, Owner, Scope, digest, sealed
from rljob_operator.settings import Settings

_TOLD: dict[str, tuple[str, ...]] = {
    "buffer": ("capacity", "maxPolicyLag", "samplesPerInsert"),
    "learner": ("device",),
    "evaluation": ("interval", "episodes", "video"),
    "checkpoint": ("interval", "keep", "onSuspend", "replay"),
}
"""Fields of these sections that concern a process; the others are the operator's business."""
_UNREAD: dict[RoleName, tuple[str, ...]] = {
    "rollout": ("stop", "learner", "evaluation", "checkpoint"),
    "buffer": ("stop", "learner", "evaluation", "checkpoint"),
    "learner": ("evaluation",),
    "evaluator": ("stop", "learner", "checkpoint", "buffer"),
}
"""Sections that a role does not read: its pods need not be replaced when one of them changes."""


def configs(scope: Scope) -> list[Manifest]:
    """The ConfigMaps: `job.yaml`, and the user's modules if there are any."""
    made = {names.job_config(scope.name): {names.JOB_FILE: yamltext.dump(told(scope))}}
    if scope.job.spec.code:
        made[names.code_config(scope.name)] = scope.job.spec.code
    return [
        sealed(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": scope.metadata(name),
                "data": dict(data),
            }
        )
        for name, data in made.items()
    ]


def told(scope: Scope) -> dict[str, Any]:
    """The RLJob as its pods read it, in the form of its YAML.

    What they need, and no more: not the number of rollouts, which may change at any time, not the
    templates, nothing of when and how often pods are started. Two things are settled here, because
    all roles have to agree on them: which job it is, and the seed when none was given.
    """
    job = scope.job
    spec = job.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    rollout = {"envsPerReplica": spec["rollout"]["envsPerReplica"]}
    if job.spec.strict:
        rollout["replicas"] = 1
    sections = {
        section: {field: spec[section][field] for field in fields if field in spec[section]}
        for section, fields in _TOLD.items()
        if section in spec
    }
    storage = job.spec.checkpoint.storage
    if storage is not None and storage.path is not None:
        sections["checkpoint"]["storage"] = {"path": storage.path}
    metadata = {"name": scope.name, "namespace": scope.namespace, "uid": scope.uid}
    return {
        "apiVersion": job.api_version,
        "kind": job.kind,
        "metadata": {key: value for key, value in metadata.items() if value is not None},
        "spec": {
            "environment": spec["environment"],
            "algorithm": spec["algorithm"],
            "network": spec["network"],
            "stop": spec["stop"],
            "seed": _seed(scope),
            "strict": spec["strict"],
            "rollout": rollout,
            **sections,
        },
    }


def told_hash(scope: Scope, role: RoleName) -> str:
    """Digest of all that a role is told; its pods are replaced when it differs."""
    whole = told(scope)
    spec = {key: value for key, value in whole["spec"].items() if key not in _UNREAD[role]}
    return digest([whole["metadata"], spec, scope.job.spec.code, scope.job.spec.requirements])


def keys_secret(job: RLJob, owner: Owner | None, keys: Mapping[str, bytes]) -> Manifest:
    """The Secret with the job's CURVE keys: file name, as in `rollout.secret`, to content.

    It is created once and never read or changed, so it has no hash.
    """
    data = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": Scope(job, owner, Settings()).metadata(names.keys_secret(job.metadata.name)),
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


def _seed(scope: Scope) -> int:
    """The job's seed; when it has none, one that is the same for as long as the job exists."""
    if scope.job.spec.seed is not None:
        return scope.job.spec.seed
    text = f"seed of {scope.namespace or ''}/{scope.name}/{scope.uid or ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1
