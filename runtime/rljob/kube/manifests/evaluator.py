"""The evaluator: a Deployment of one, for jobs that ask for evaluation."""

from __future__ import annotations

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.kube.manifests.pods import RolePod, acts_with_torch, pod_template
from rljob.kube.manifests.storage import own_folder


def evaluator(scope: Scope) -> Manifest | None:
    """The Deployment; None for a job without evaluation."""
    evaluation = scope.job.spec.evaluation
    if evaluation is None:
        return None
    pod = RolePod(
        "evaluator",
        evaluation.template,
        "evaluation.template",
        own_folder(),
        torch=acts_with_torch(scope),
    )
    return sealed(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": scope.metadata(names.workload(scope.name, "evaluator"), "evaluator"),
            "spec": {
                "replicas": 1,
                "revisionHistoryLimit": 0,
                "selector": {"matchLabels": names.selector(scope.name, "evaluator")},
                "strategy": {"type": "Recreate"},
                "template": pod_template(scope, pod),
            },
        }
    )
