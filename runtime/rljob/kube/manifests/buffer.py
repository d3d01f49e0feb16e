"""The buffer: a StatefulSet of one, which comes back under its name with the volume it had."""

from __future__ import annotations

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.kube.manifests.pods import RolePod, pod_template
from rljob.kube.manifests.storage import buffer_folder, buffer_mounts

_BYTES_PER_STEP = 256
"""A step of a small environment; large ones are for the template, as the operator cannot know."""
_MOST_MIB = 4096


def buffer(scope: Scope) -> Manifest:
    """The StatefulSet."""
    spec = scope.job.spec.buffer
    pod = RolePod(
        "buffer",
        buffer_mounts(scope),
        folder=buffer_folder(scope.job.spec),
        memory_mib=min(_MOST_MIB, -(-spec.capacity * _BYTES_PER_STEP // 2**20)),
        imports=False,
    )
    name = names.workload(scope.name, "buffer")
    return sealed(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": scope.metadata(name, "buffer"),
            "spec": {
                "replicas": spec.replicas,
                "revisionHistoryLimit": 0,
                "serviceName": name,
                # A pod that never got ready is replaced too when its template changes.
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": names.selector(scope.name, "buffer")},
                "template": pod_template(scope, pod),
            },
        }
    )
