"""The learner: a Job, so that exit codes and retries are Kubernetes' own."""

from __future__ import annotations

from rljob.errors import INTERRUPTED, InputError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, digest, sealed
from rljob.kube.manifests.pods import RolePod, pod_template
from rljob.kube.manifests.storage import checkpoint_mounts, initial_mounts


def learner(scope: Scope, failures: int) -> Manifest:
    """The Job.

    Args:
        failures: those before this Job that count towards the job's `backoffLimit`; negative when some of
            this Job are forgiven.
    """
    pod = RolePod(
        "learner",
        (*checkpoint_mounts(scope), *initial_mounts(scope.job.spec)),
        restart="Never",
        threads=True,
        flags=("--resume", "--evaluate"),
    )
    fixed = {
        "completions": 1,
        "parallelism": 1,
        # Never two learners at once, and none that writes while the next one reads.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": _exit_code(InputError.exit_code)},
                {"action": "Ignore", "onExitCodes": _exit_code(INTERRUPTED)},
                {
                    "action": "Ignore",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
            ]
        },
        "template": pod_template(scope, pod),
    }
    metadata = scope.metadata(names.workload(scope.name, "learner"), "learner")
    return sealed(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                **metadata,
                "annotations": {names.SPEC_HASH_ANNOTATION: digest(fixed)},
            },
            "spec": {"backoffLimit": max(0, scope.job.spec.backoff_limit - failures), **fixed},
        }
    )


def _exit_code(code: int) -> dict[str, object]:
    return {"containerName": "learner", "operator": "In", "values": [code]}
