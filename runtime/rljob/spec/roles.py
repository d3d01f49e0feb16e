"""The roles of a job in one table: what starts, connects, restarts and counts them reads it here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rljob.spec.job import RLJobSpec

RoleName = Literal["rollout", "buffer", "learner", "evaluator"]
LinkName = Literal["experience", "samples", "weights"]

LINK_PORTS: dict[LinkName, int] = {"experience": 5555, "samples": 5556, "weights": 5557}
"""Port of each link on a cluster. The buffer's two are beside each other, see `rljob.wire.endpoints`."""
APPLICATION_LINKS: tuple[LinkName, ...] = ("experience", "weights")
"""Links that applications connect to: clients that users start, so that they are no role."""


@dataclass(frozen=True)
class PodDefaults:
    """What a pod has unless the role's template says otherwise. There are no limits by default.

    Attributes:
        cpu: requested, as a Kubernetes quantity. Small: a job has to fit on a laptop.
        memory_mib: requested, in MiB.
        grace_seconds: between SIGTERM and SIGKILL.
    """

    cpu: str
    memory_mib: int
    grace_seconds: int


@dataclass(frozen=True)
class RoleDefinition:
    """One role.

    Attributes:
        module: has the role's `main`, which takes a `RoleContext`.
        section: section of the spec with its settings; `replicas` and `template` in it are optional.
        unread: sections that it does not read. Its pods are kept when one of them changes.
        pod: defaults of its pods.
        workload: kind of the Kubernetes object that makes its pods.
        serves: links that it binds. The other roles get the address of the first one.
        uses: links that it connects to.
        torch: whether it imports torch; `network` when the network, the algorithm or the precision needs it.
        optional: whether it exists only when the spec has its section, and training works without it.
        counts_failures: whether its failures count towards `backoffLimit`. Another role is restarted
            on a cluster as often as it fails.
    """

    module: str
    section: str
    unread: tuple[str, ...]
    pod: PodDefaults
    workload: Literal["Deployment", "StatefulSet", "Job"] = "Deployment"
    serves: tuple[LinkName, ...] = ()
    uses: tuple[LinkName, ...] = ()
    torch: Literal["always", "network", "never"] = "network"
    optional: bool = False
    counts_failures: bool = False


ROLES: dict[RoleName, RoleDefinition] = {
    "rollout": RoleDefinition(
        module="rljob.roles.rollout.loop",
        section="rollout",
        unread=("initFrom", "stop", "learner", "evaluation", "checkpoint", "sinks", "hooks"),
        pod=PodDefaults(cpu="200m", memory_mib=128, grace_seconds=10),
        uses=("experience", "weights"),
    ),
    "buffer": RoleDefinition(
        module="rljob.roles.buffer.server",
        section="buffer",
        unread=("initFrom", "stop", "learner", "evaluation", "checkpoint", "sinks", "hooks"),
        pod=PodDefaults(cpu="100m", memory_mib=64, grace_seconds=30),
        workload="StatefulSet",
        serves=("experience", "samples"),
        torch="never",
    ),
    "learner": RoleDefinition(
        module="rljob.roles.learner.loop",
        section="learner",
        unread=(),
        pod=PodDefaults(cpu="250m", memory_mib=768, grace_seconds=60),
        workload="Job",
        serves=("weights",),
        uses=("samples",),
        torch="always",
        counts_failures=True,
    ),
    "evaluator": RoleDefinition(
        module="rljob.roles.evaluator.loop",
        section="evaluation",
        unread=("initFrom", "stop", "learner", "checkpoint", "buffer", "sinks", "hooks"),
        pod=PodDefaults(cpu="50m", memory_mib=128, grace_seconds=5),
        uses=("weights",),
        optional=True,
    ),
}
"""In the order in which they are shown."""

SERVERS: tuple[RoleName, ...] = tuple(name for name, role in ROLES.items() if role.serves)
"""Roles that others connect to."""
CLIENTS: tuple[RoleName, ...] = tuple(name for name in ROLES if name not in SERVERS)
"""Roles that only connect to others."""
START_ORDER: tuple[RoleName, ...] = tuple(
    sorted((*SERVERS, *CLIENTS), key=lambda name: ROLES[name].torch != "always")
)
"""Slowest start first, which is that of torch; then servers, since clients wait for them."""
NEEDED: tuple[RoleName, ...] = tuple(name for name in START_ORDER if not ROLES[name].optional)
"""Roles without which nothing is trained, in the order in which they are looked at."""


def needed(spec: RLJobSpec | None) -> tuple[RoleName, ...]:
    """Those of `NEEDED` that this job has; all of them where the spec is not known."""
    return NEEDED if spec is None else tuple(role for role in NEEDED if role in role_counts(spec))


def server(link: LinkName) -> RoleName:
    """The role that binds the link."""
    return next(name for name, role in ROLES.items() if link in role.serves)


def clients(link: LinkName) -> tuple[RoleName, ...]:
    """The roles that may connect to the link."""
    return tuple(name for name, role in ROLES.items() if link in role.uses)


NO_ROLLOUTS = "{} has no rollouts: only applications feed it"


def role_counts(spec: RLJobSpec) -> dict[RoleName, int]:
    """Processes that a job wants of each role, in the order of the table; without roles that it does not want. Where there
    is no environment to play, only applications produce experience."""
    sections = {name: getattr(spec, role.section) for name, role in ROLES.items()}
    return {
        name: getattr(section, "replicas", 1)
        for name, section in sections.items()
        if section is not None and (name != "rollout" or spec.environment.played)
    }
