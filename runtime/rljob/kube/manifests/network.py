"""Services, NetworkPolicies and PodDisruptionBudgets of a job."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests.objects import Scope, sealed
from rljob.spec.roles import (
    APPLICATION_LINKS,
    LINK_PORTS,
    ROLES,
    SERVERS,
    LinkName,
    RoleName,
    clients,
    role_counts,
    server,
)

_DNS = 53


def services(scope: Scope) -> list[Manifest]:
    """Names and addresses of the roles that others connect to, which stay when their pods are replaced."""
    made = [_service(scope, role) for role in SERVERS]
    return [*made, _applications(scope)] if _open(scope) else made


def address(job: str, role: RoleName) -> str:
    """Address of a role that serves links."""
    return f"tcp://{names.workload(job, role)}:{LINK_PORTS[ROLES[role].serves[0]]}"


def policies(scope: Scope) -> list[Manifest]:
    """One NetworkPolicy for each role.

    Anyone may reach the metrics, which tell no secrets: who scrapes them is not ours to know. The state
    is for the operator. Other ports are open to the roles that connect to them, and those of applications to pods of
    the namespace that name the job in a label. Outgoing traffic is free unless the operator is told to restrict it.
    """
    return [_policy(scope, role) for role in role_counts(scope.job.spec)]


def budgets(scope: Scope) -> list[Manifest]:
    """What a drain may evict of the roles that others connect to.

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
        for role in SERVERS
    ]


def _open(scope: Scope) -> bool:
    """Whether the job takes experience from applications."""
    return scope.job.spec.rollout.applications is not None


def _applications(scope: Scope) -> Manifest:
    """One name for buffer and learner. Each port leads to the pods that have a port of its name."""
    name = names.applications(scope.name)
    selector = names.selector(scope.name)
    return _leading_to(scope.metadata(name), selector, APPLICATION_LINKS)


def _service(scope: Scope, role: RoleName) -> Manifest:
    metadata = scope.metadata(names.workload(scope.name, role), role)
    return _leading_to(metadata, names.selector(scope.name, role), ROLES[role].serves)


def _leading_to(
    metadata: dict[str, Any], selector: dict[str, str], links: Iterable[LinkName]
) -> Manifest:
    # A mesh that guesses the protocol waits for the client to speak first, or takes it for HTTP.
    ports = [
        {
            "name": link,
            "port": LINK_PORTS[link],
            "protocol": "TCP",
            "appProtocol": "tcp",
            "targetPort": link,
        }
        for link in links
    ]
    return sealed(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "type": "ClusterIP",
                # An address of each IP family that the cluster has.
                "ipFamilyPolicy": "PreferDualStack",
                "selector": selector,
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
            {"from": [_operator(scope)], "ports": [_port(names.STATE_PORT)]},
            *(
                {"from": [_peer(scope, client)], "ports": [_port(LINK_PORTS[link])]}
                for link in ROLES[role].serves
                for client in clients(link)
            ),
            *(
                {"from": [_application(scope)], "ports": [_port(LINK_PORTS[link])]}
                for link in ROLES[role].serves
                if link in APPLICATION_LINKS and _open(scope)
            ),
        ],
    }
    if scope.settings.restrict_egress:
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [
            {"ports": [_port(_DNS, "UDP"), _port(_DNS)]},
            *(
                {"to": [_peer(scope, server(link))], "ports": [_port(LINK_PORTS[link])]}
                for link in ROLES[role].uses
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


def _application(scope: Scope) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": {names.APPLICATION_LABEL: scope.name}}}


def _operator(scope: Scope) -> dict[str, Any]:
    """The operator's pods, in its own namespace only: labels can be had by any pod."""
    namespace = {"kubernetes.io/metadata.name": scope.settings.namespace}
    return {
        "namespaceSelector": {"matchLabels": namespace},
        "podSelector": {"matchLabels": names.OPERATOR_LABELS},
    }


def _port(number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"port": number, "protocol": protocol}
