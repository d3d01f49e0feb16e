"""`rljob.attach`: the handle of a job or run that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.handles.cluster import ClusterHandle
    from rljob.handles.run import RunHandle


def attach(
    job: str | Path,
    *,
    namespace: str | None = None,
    context: str | None = None,
    kubeconfig: str | Path | None = None,
) -> RunHandle | ClusterHandle:
    """The handle of a run on this machine or of a job on a cluster, whoever started it.

    Args:
        job: a run's folder such as `runs/cartpole-ppo-1`, or the name of a job on a cluster. A name that is also a folder is
            the folder.
        namespace: namespace of a job on a cluster; by default the context's.
        context: context of the kubeconfig; by default the current one.
        kubeconfig: by default `$KUBECONFIG` or `~/.kube/config`.

    Raises:
        InputError: the folder is not a run's folder, or no cluster is configured.
        RunError: the cluster has no such job; the message has the names of others.
    """
    given: Any = job
    if not isinstance(given, str | Path) or not str(given).strip():
        raise InputError(f"{job!r} names no job: give a run's folder, or the name of a job")
    if isinstance(job, Path) or "/" in job or Path(job).is_dir():
        from rljob.handles import run

        return run.find(job)
    from rljob.handles import cluster

    return cluster.find(job, namespace, context, kubeconfig)
