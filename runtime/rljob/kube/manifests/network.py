"""How a job's pods find each other, who may reach them, and what a drain may do to them."""

from __future__ import annotations

from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.spec.status import RoleName

PORTS: dict[RoleName, dict[str, int]] = {
    "rollout": {},
    "buffer": {"experience": names.EXPERIENCE_PORT, "samples": names.SAMPLES_PORT},
    "learner": {"weights": names.WEIGHTS_PORT},
    "evaluator": {},
}
"""What each role listens on, beside its metrics."""
_SERVED: tuple[RoleName, ...] = ("buffer", "learner")
_CALLS: tuple[tuple[RoleName, RoleName, str], ...] = (
    ("rollout", "buffer", "experience"),
    ("learner", "buffer", "samples"),
    ("rollout", "learner", "weights"),
    ("evaluator", "learner", "weights"),
)
"""Who connects to whom, on which port; the same as `rljob.wire.keys.ALLOWED`."""
_DNS = 53


def services(scope: Scope) -> list[Manifest]:
    """Names and addresses of buffer and learner, which stay when their pods are replaced."""
    return [_service(scope, role) for role in _SERVED]


def address(job: str, role: RoleName, port: int) -> str:
    """Where the others reach a role."""
    return f"tcp://{names.workload(job, role)}:{port}"


def policies(scope: Scope) -> list[Manifest]:
    """One NetworkPolicy for each role.

    Anyone may reach the metrics, which tell no secrets: who scrapes them is not ours to know. Other
    ports are open to the roles that connect to them. Outgoing traffic is free unless the operator is
    told to restrict it.
    """
    roles = [role for role in names.ROLES if role != "evaluator" or scope.job.spec.evaluation]
    return [_policy(scope, role) for role in roles]


def budgets(scope: Scope) -> list[Manifest]:
    """What a drain may evict of buffer and learner.

    Each is a single pod: a budget that keeps it would stop every drain, so they let it go, and the
    learner saves a checkpoint first. They are by number: the share of a Job's pods that is there
    cannot be computed, and a budget for which that fails stops drains too.
    """
    return [
        sealed(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": scope.metadata(names.workload(scope.name, role), role),
                "spec": {
                    "minAvailable": 0,
                    "selector": {"matchLabels": names.selector(scope.name, role)},
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                },
            }
        )
        for role in _SERVED
    ]


def _service(scope: Scope, role: RoleName) -> Manifest:
    ports = [
        {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
        for name, port in PORTS[role].items()
    ]
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": scope.metadata(names.workload(scope.name, role), role),
            "spec": {
                "type": "ClusterIP",
                "selector": names.selector(scope.name, role),
                "ports": ports,
                # A role is ready once the others have reached it.
                "publishNotReadyAddresses": True,
            },
        }
    )


def _policy(scope: Scope, role: RoleName) -> Manifest:
    spec: dict[str, Any] = {
        "podSelector": {"matchLabels": names.selector(scope.name, role)},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"ports": [_port(names.METRICS_PORT)]},
            *(
                {"from": [_peer(scope, caller)], "ports": [_port(PORTS[called][port])]}
                for caller, called, port in _CALLS
                if called == role
            ),
        ],
    }
    if scope.settings.restrict_egress:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [
            {"ports": [_port(_DNS, "UDP"), _port(_DNS)]},
            *(
                {"to": [_peer(scope, called)], "ports": [_port(PORTS[called][port])]}
                for caller, called, port in _CALLS
                if caller == role
            ),
        ]
    return sealed(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": scope.metadata(names.workload(scope.name, role), role),
            "spec": spec,
        }
    )


def _peer(scope: Scope, role: RoleName) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": names.selector(scope.name, role)}}


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}
