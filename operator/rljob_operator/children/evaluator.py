"""The evaluator: a Deployment of one, for jobs that ask for evaluation."""

from __future__ import annotations

from rljob_operator import names
from rljob_operator.children.objects import Manifest, Scope, sealed
from rljob_operator.children.pods import Pod, acts_with_torch, pod_template
from rljob_operator.children.storage import own_folder


def evaluator(scope: Scope) -> Manifest | None:
    """The Deployment; None for a job without evaluation."""
    evaluation = scope.job.spec.evaluation
    if evaluation is None:
        return None
    pod = Pod(
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
