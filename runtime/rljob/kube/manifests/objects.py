"""Common parts of all children: metadata, owner, hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJob
from rljob.spec.roles import RoleName
from rljob.wire.rotation import FIRST, KeyOrder

_DIGITS = 16


@dataclass(frozen=True)
class Owner:
    """The RLJob as the API server has it."""

    name: str
    namespace: str
    uid: str


@dataclass(frozen=True)
class Scope:
    """One RLJob and what its children are made from.

    Attributes:
        owner: None when the children are only shown; then they have no owner references.
        replicas: number of rollouts in the pods' job.yaml.
        keys: which generations of keys the pods accept and use.
    """

    job: RLJob
    owner: Owner | None
    settings: OperatorSettings
    replicas: int
    keys: KeyOrder = FIRST

    @property
    def name(self) -> str:
        return self.job.metadata.name

    @property
    def namespace(self) -> str | None:
        return self.owner.namespace if self.owner else self.job.metadata.namespace

    @property
    def uid(self) -> str | None:
        return self.owner.uid if self.owner else self.job.metadata.uid

    def metadata(
        self, name: str, role: RoleName | None = None, *, owned: bool = True
    ) -> dict[str, Any]:
        """Name, labels and owner of a child; what is owned is deleted with its owner."""
        metadata: dict[str, Any] = {"name": name}
        if self.namespace is not None:
            metadata["namespace"] = self.namespace
        metadata["labels"] = names.labels(self.name, role)
        if self.owner is not None and owned:
            metadata["ownerReferences"] = [_reference(self.owner)]
        return metadata


def sealed(child: Manifest) -> Manifest:
    """The child with its hash among its annotations."""
    metadata = child["metadata"]
    annotations = {**metadata.get("annotations", {}), names.HASH_ANNOTATION: digest(child)}
    return {**child, "metadata": {**metadata, "annotations": annotations}}


def digest(value: Any) -> str:
    """Digest of a JSON value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def _reference(owner: Owner) -> dict[str, Any]:
    # No blockOwnerDeletion: where that is guarded, setting it takes one more right of the operator.
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
    }
