"""Stateless roles: a Deployment each, because their pods may be lost at any time."""

from __future__ import annotations

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.kube.manifests.pods import RolePod, pod_template
from rljob.kube.manifests.storage import own_folder
from rljob.spec.roles import ROLES, RoleName


def deployment(scope: Scope, role: RoleName, replicas: int) -> Manifest:
    """The Deployment; `replicas` is in no hash but the Deployment's own."""
    return sealed(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": scope.metadata(names.workload(scope.name, role), role),
            "spec": {
                "replicas": replicas,
                "revisionHistoryLimit": 0,
                "selector": {"matchLabels": names.selector(scope.name, role)},
                "strategy": _strategy(scope, role),
                "template": pod_template(scope, RolePod(role, own_folder())),
            },
        }
    )


def _strategy(scope: Scope, role: RoleName) -> dict[str, object]:
    if not hasattr(getattr(scope.job.spec, ROLES[role].section), "replicas"):
        return {"type": "Recreate"}
    # All at once: the buffer takes experience of one kind, so old and new ones must not wait for each other.
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"},
    }
