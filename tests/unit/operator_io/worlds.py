"""Objects as the API server would have them, for tests of what only stores and compares them."""

from __future__ import annotations

from typing import Any

from rljob.kube import names
from rljob.kube.kinds import Manifest


def made(
    kind: str, name: str, version: int = 1, *, uid: str = "", job: str | None = None, **fields: Any
) -> Manifest:
    """An object in the namespace `ns`; its uid is its name unless another one is given."""
    metadata: dict[str, Any] = {
        "namespace": "ns",
        "name": name,
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "managedFields": [{"manager": "kubectl"}],
    }
    if job is not None:
        metadata["labels"] = {names.JOB_NAME_LABEL: job}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}


def warning(about: str, name: str = "w", kind: str = "Pod") -> Manifest:
    """A Warning Event about an object of that name."""
    return made(
        "Event",
        name,
        type="Warning",
        reason="FailedCreate",
        involvedObject={"kind": kind, "name": about},
    )
