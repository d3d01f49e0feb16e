"""The Kubernetes objects that an RLJob stands for, as manifests for server-side apply.

Pure: the same job, owner and settings make the same manifests, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass

from rljob import spec
from rljob.errors import InputError
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import network
from rljob.kube.manifests.buffer import buffer
from rljob.kube.manifests.deployment import deployment
from rljob.kube.manifests.files import configs, keys_secret, told_keys, told_replicas
from rljob.kube.manifests.learner import learner
from rljob.kube.manifests.objects import Owner, Scope
from rljob.kube.manifests.pods import mounted_generations
from rljob.kube.manifests.storage import claims
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJob
from rljob.spec.roles import CLIENTS, ROLES, SERVERS, RoleName, role_counts
from rljob.wire.rotation import FIRST, KeyOrder

__all__ = [
    "Children",
    "Owner",
    "build",
    "keys_secret",
    "mounted_generations",
    "preview",
    "told_keys",
    "told_replicas",
]


@dataclass(frozen=True)
class Children:
    """All that is made for one RLJob, but for the Secrets with its keys.

    Attributes:
        shared: ConfigMaps, volume claims, Services, NetworkPolicies, PodDisruptionBudgets; what the
            others need, so they come first.
        workloads: what makes the pods of each role that the job wants, in the order in which it is made:
            servers before the clients that wait for them.
    """

    shared: tuple[Manifest, ...]
    workloads: dict[RoleName, Manifest]


def build(
    job: RLJob,
    owner: Owner | None,
    settings: OperatorSettings,
    failures: int = 0,
    replicas: int | None = None,
    keys: KeyOrder = FIRST,
) -> Children:
    """The children of an RLJob.

    Args:
        owner: None when they are only shown: then nothing has an owner.
        failures: of the learner, counted before its present Job.
        replicas: rollouts that pods were told of before, see `told_replicas`; None when the job
            begins, and it is the number that it has now.
        keys: which generations of keys the pods accept and use.

    Raises:
        InputError: when a role's template cannot be merged; `path` names the field.
    """
    if replicas is None or job.spec.strict:
        replicas = job.spec.rollout.replicas
    scope = Scope(job, owner, settings, replicas, keys)
    shared = [
        *configs(scope),
        *claims(scope),
        *network.services(scope),
        *network.policies(scope),
        *network.budgets(scope),
    ]
    wanted = role_counts(job.spec)
    workloads = {
        role: _workload(scope, role, wanted[role], failures)
        for role in (*SERVERS, *CLIENTS)
        if role in wanted
    }
    return Children(tuple(shared), workloads)


def preview(job: RLJob) -> Children:
    """The children of a job that is on no cluster yet, but for its keys.

    Raises:
        InputError: a template cannot be merged; the error has file and line.
    """
    try:
        return build(job, None, OperatorSettings())
    except InputError as error:
        raise spec.locate(job, error) from None


def _workload(scope: Scope, role: RoleName, replicas: int, failures: int) -> Manifest:
    match ROLES[role].workload:
        case "StatefulSet":
            return buffer(scope)
        case "Job":
            return learner(scope, failures)
        case "Deployment":
            return deployment(scope, role, replicas)
