"""Storage of the roles: volumes and volume claims."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.spec import RLJobSpec, StorageSpec
from rljob.spec.roles import RoleName
from rljob.spec.sections import VolumeClaimTemplate


@dataclass(frozen=True)
class Mount:
    """A volume of ours in a role's container.

    Attributes:
        source: the volume's source, e.g. `{"emptyDir": {}}`.
        yields: whether a volume that the template mounts there, or above, takes its place.
    """

    name: str
    path: str
    source: dict[str, Any]
    read_only: bool = False
    sub_path: str | None = None
    yields: bool = False


def scratch(name: str, path: str) -> Mount:
    """A folder that is deleted with its pod."""
    return Mount(name, path, {"emptyDir": {}}, yields=True)


def checkpoint_mounts(scope: Scope) -> tuple[Mount, ...]:
    """The learner's own folder, in which its checkpoints are, or a link to them."""
    storage = _checkpoint_storage(scope)
    if storage.path is not None and storage.path.startswith("/"):
        return _data(), scratch("rljob-checkpoints", posixpath.normpath(storage.path))
    return (_kept(scope, storage, names.checkpoint_claim(scope.name)),)


def initial_mounts(spec: RLJobSpec) -> tuple[Mount, ...]:
    """The claim with the weights that the learner starts with, if the job names one."""
    if spec.init_from is None or spec.init_from.persistent_volume_claim is None:
        return ()
    claim = {"claimName": spec.init_from.persistent_volume_claim.claim_name}
    source = {"persistentVolumeClaim": claim}
    return (Mount("rljob-initial", names.INITIAL_FOLDER, source, read_only=True),)


def buffer_folder(spec: RLJobSpec) -> str:
    """Where the buffer keeps its experience."""
    storage = spec.buffer.storage
    path = storage.path if storage is not None and storage.path is not None else ""
    return posixpath.normpath(posixpath.join(names.DATA_FOLDER, path))


def buffer_mounts(scope: Scope) -> tuple[Mount, ...]:
    """The folder in which the buffer's folder is."""
    storage = scope.job.spec.buffer.storage
    if storage is None:
        return (_data(),)
    if storage.path is not None and storage.path.startswith("/"):
        return (scratch("rljob-data", buffer_folder(scope.job.spec)),)
    return (_kept(scope, storage, names.buffer_claim(scope.name)),)


def own_folder() -> tuple[Mount, ...]:
    """The folder of a role without persistent data."""
    return (_data(),)


def claims(scope: Scope) -> list[Manifest]:
    """The volume claims created for the job.

    The buffer's is one of these, too, not a StatefulSet's own: that one would go with the StatefulSet
    when the job is suspended, and nothing of it could be changed.
    """
    checkpoint, buffer = _checkpoint_storage(scope), scope.job.spec.buffer.storage
    made = []
    if checkpoint.volume_claim_template is not None:
        name = names.checkpoint_claim(scope.name)
        made.append(_claim(scope, name, "learner", checkpoint.volume_claim_template))
    if buffer is not None and buffer.volume_claim_template is not None:
        name = names.buffer_claim(scope.name)
        made.append(_claim(scope, name, "buffer", buffer.volume_claim_template))
    return made


def _checkpoint_storage(scope: Scope) -> StorageSpec:
    default = VolumeClaimTemplate(size=scope.settings.checkpoint_size)
    return scope.job.spec.checkpoint.storage or StorageSpec(volume_claim_template=default)


def _data() -> Mount:
    return scratch("rljob-data", names.DATA_FOLDER)


def _kept(scope: Scope, storage: StorageSpec, made: str) -> Mount:
    """The data folder on a claim; in a claim that others may use as well, a folder of the job's name."""
    if storage.persistent_volume_claim is not None:
        source = {
            "persistentVolumeClaim": {"claimName": storage.persistent_volume_claim.claim_name}
        }
        return Mount("rljob-data", names.DATA_FOLDER, source, sub_path=scope.name, yields=True)
    if storage.volume_claim_template is not None:
        source = {"persistentVolumeClaim": {"claimName": made}}
        return Mount("rljob-data", names.DATA_FOLDER, source, yields=True)
    return _data()


def _claim(scope: Scope, name: str, role: RoleName, template: VolumeClaimTemplate) -> Manifest:
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": template.size}},
    }
    storage_class = template.storage_class_name or scope.settings.storage_class
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    owned = template.when_deleted == "Delete"
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": scope.metadata(name, role, owned=owned),
            "spec": spec,
        }
    )
