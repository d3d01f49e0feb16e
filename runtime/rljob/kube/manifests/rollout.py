"""The rollouts: a Deployment, because they hold no state and may die at any time."""

from __future__ import annotations

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.kube.manifests.pods import RolePod, acts_with_torch, pod_template
from rljob.kube.manifests.storage import own_folder


def rollout(scope: Scope) -> Manifest:
    """The Deployment; its number of replicas follows the job's and is in no other hash."""
    spec = scope.job.spec
    pod = RolePod(
        "rollout",
        spec.rollout.template,
        "rollout.template",
        own_folder(),
        torch=acts_with_torch(scope) or scope.job.spec.rollout.precision != "float32",
    )
    return sealed(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": scope.metadata(names.workload(scope.name, "rollout"), "rollout"),
            "spec": {
                "replicas": spec.rollout.replicas,
                "revisionHistoryLimit": 0,
                "selector": {"matchLabels": names.selector(scope.name, "rollout")},
                # All at once: the buffer takes experience of one kind, so old and new ones must not
                # wait for each other.
                "strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"},
                },
                "template": pod_template(scope, pod),
            },
        }
    )
