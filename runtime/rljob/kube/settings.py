"""The settings of an operator. Only `main` reads them from the environment and the command line."""

from __future__ import annotations

from dataclasses import dataclass

from rljob.version import __version__

REGISTRY = "ghcr.io/rljob"


@dataclass(frozen=True)
class OperatorSettings:
    """Settings of an operator for the manifests and the status.

    Attributes:
        worker_image: of rollouts and buffers, and of evaluators of a built-in network.
        learner_image: of learners, and of all that acts through torch.
        image_pull_policy: of every container; Kubernetes' own default when None.
        image_pull_secrets: names of Secrets in the job's namespace.
        checkpoint_size: of the claim that is made when a job names no storage.
        storage_class: of claims that name none; the cluster's default one when None.
        restrict_egress: let a job's pods reach nothing but each other and DNS. Off by default, as
            environments may need the network; who turns it on has to allow what they need.
        namespace: of the operator's pods, which alone may ask a job's pods for their state.
        poll_seconds: interval between two polls of a learner's `/status`.
        status_seconds: minimum interval between two status writes when only numbers changed.
        pending_grace_seconds: grace period before the status reports why a pod is pending.
        torch_memory_mib: least memory requested, in MiB, where torch is imported.
    """

    worker_image: str = f"{REGISTRY}/rljob-worker:{__version__}"
    learner_image: str = f"{REGISTRY}/rljob-learner:{__version__}"
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    checkpoint_size: str = "1Gi"
    storage_class: str | None = None
    restrict_egress: bool = False
    namespace: str = "rljob-system"
    poll_seconds: float = 5.0
    status_seconds: float = 5.0
    pending_grace_seconds: float = 5.0
    torch_memory_mib: int = 640
