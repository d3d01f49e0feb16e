"""The ConfigMaps with the configuration of the pods, and the Secrets with their keys."""

from __future__ import annotations

import base64
import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from rljob.errors import InputError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Owner, Scope, digest, sealed
from rljob.kube.settings import OperatorSettings
from rljob.run_folder.names import JOB
from rljob.spec import RLJob, RLJobSpec, yamltext
from rljob.spec.roles import ROLES, RoleName
from rljob.spec.schema import operator_only
from rljob.wire.keys import ORDER
from rljob.wire.rotation import KeyOrder

_WITHHELD = operator_only(RLJobSpec)


def configs(scope: Scope) -> list[Manifest]:
    """The ConfigMaps: `job.yaml`, which keys are accepted, and the user's modules if there are any."""
    job = scope.metadata(names.job_config(scope.name))
    job["annotations"] = {names.REPLICAS_ANNOTATION: str(scope.replicas)}
    made = [
        _config(job, {JOB: yamltext.dump(told(scope))}),
        _config(scope.metadata(names.keys_in_use(scope.name)), {ORDER: scope.keys.to_json()}),
    ]
    if scope.job.spec.code:
        made.append(_config(scope.metadata(names.code_config(scope.name)), scope.job.spec.code))
    return made


def told_replicas(children: Iterable[Manifest]) -> int | None:
    """The number of rollouts in the existing `job.yaml`; None if there is none yet."""
    for child in children:
        if child.get("kind") == "ConfigMap":
            annotations = child["metadata"].get("annotations") or {}
            text = annotations.get(names.REPLICAS_ANNOTATION, "")
            if text.isdecimal() and int(text) > 0:
                return int(text)
    return None


def told_keys(job: str, children: Iterable[Manifest]) -> KeyOrder | None:
    """What the existing ConfigMap says of the keys; None if there is none yet."""
    for child in children:
        if (child["kind"], child["metadata"]["name"]) == ("ConfigMap", names.keys_in_use(job)):
            try:
                return KeyOrder.from_json(child["data"][ORDER])
            except (InputError, LookupError):
                return None
    return None


def told(scope: Scope) -> dict[str, Any]:
    """The RLJob as its pods read it, in the form of its YAML.

    Every field but those marked `OPERATOR_ONLY`. What all roles have to agree on is settled here: which
    job it is, the seed when none was given, and the number of rollouts, by which an algorithm may size
    its batches; it stays what it was when the job began, however many there are now.
    """
    rollout = scope.job.spec.rollout.model_copy(update={"replicas": scope.replicas})
    agreed = scope.job.spec.model_copy(update={"rollout": rollout, "seed": _seed(scope)})
    spec = agreed.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_WITHHELD)
    if not agreed.sinks.wanted:
        del spec["sinks"]
    initial = scope.job.spec.init_from
    if initial is not None and initial.persistent_volume_claim is not None:
        spec["initFrom"]["run"] = posixpath.join(names.INITIAL_FOLDER, initial.run)
    if not spec["checkpoint"].get("storage", True):
        # A claim without a path is mounted where checkpoints are by default.
        del spec["checkpoint"]["storage"]
    metadata = {"name": scope.name, "namespace": scope.namespace, "uid": scope.uid}
    return {
        "apiVersion": scope.job.api_version,
        "kind": scope.job.kind,
        "metadata": {key: value for key, value in metadata.items() if value is not None},
        "spec": spec,
    }


def config_hash(scope: Scope, role: RoleName) -> str:
    """Digest of the configuration of a role; its pods are replaced when it changes."""
    whole = told(scope)
    del whole["spec"]["rollout"]["replicas"]
    spec = {key: value for key, value in whole["spec"].items() if key not in ROLES[role].unread}
    return digest([whole["metadata"], spec, scope.job.spec.code, scope.job.spec.requirements])


def keys_secret(
    job: RLJob, owner: Owner | None, keys: Mapping[str, bytes], generation: int = 1
) -> Manifest:
    """The Secret with a generation of the job's CURVE keys and its token: file name, as in `rollout.secret`, to content.

    It is created once and never read or changed, so it has no hash.
    """
    scope = Scope(job, owner, OperatorSettings(), job.spec.rollout.replicas)
    data = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": scope.metadata(names.keys_secret(scope.name, generation)),
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


def _seed(scope: Scope) -> int:
    """The job's seed; if absent, a seed that is constant while the job exists."""
    if scope.job.spec.seed is not None:
        return scope.job.spec.seed
    text = f"seed of {scope.namespace or ''}/{scope.name}/{scope.uid or ''}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def _config(metadata: dict[str, Any], data: Mapping[str, str]) -> Manifest:
    return sealed(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
    )
