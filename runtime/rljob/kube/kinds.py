"""The kinds that the operator reads or writes, and their API paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rljob.kube import names

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class ResourceKind:
    """A kind of namespaced objects, as it is found below `/api` or `/apis`."""

    group: str
    version: str
    plural: str
    kind: str
    selector: str = ""
    fields: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Path of the collection (of all namespaces for None), of an object, or of its subresource."""
        parts = [f"/apis/{self.group}" if self.group else "/api", self.version]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/".join(parts)


def _child(group: str, version: str, plural: str, kind: str) -> ResourceKind:
    return ResourceKind(group, version, plural, kind, selector=names.JOB_NAME_LABEL)


JOB = ResourceKind(names.GROUP, names.VERSION, names.PLURAL, names.KIND)
POD = _child("", "v1", "pods", "Pod")
EVENT = ResourceKind("", "v1", "events", "Event", fields="type=Warning")
SECRET = ResourceKind("", "v1", "secrets", "Secret")
LEASE = ResourceKind("coordination.k8s.io", "v1", "leases", "Lease")
CHILDREN = (
    _child("", "v1", "configmaps", "ConfigMap"),
    _child("", "v1", "services", "Service"),
    _child("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    _child("apps", "v1", "deployments", "Deployment"),
    _child("apps", "v1", "statefulsets", "StatefulSet"),
    _child("batch", "v1", "jobs", "Job"),
    _child("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
    _child("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
)
AUDITED = (JOB, *CHILDREN, POD)
"""Kinds for which no change may be missed. Nothing depends on Events."""
WATCHED = (*AUDITED, EVENT)
BY_NAME = {kind.kind: kind for kind in (*WATCHED, SECRET, LEASE)}
