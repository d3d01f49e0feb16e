"""The Secret with a job's CURVE keys: made here, read by nobody but the pods."""

from __future__ import annotations

from rljob.wire.keys import ROLES
from rljob.wire.sockets import new_keypair
from rljob_operator import names
from rljob_operator.observed import Manifest


def secret(job: Manifest) -> Manifest:
    """A Secret with a new pair for each role, owned by the RLJob."""
    metadata = job["metadata"]
    entries = {}
    for role in ROLES:
        public, private = new_keypair()
        entries[f"{role}.public"], entries[f"{role}.secret"] = public.decode(), private.decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": names.keys_secret(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": names.labels(metadata["name"]),
            "ownerReferences": [
                {
                    "apiVersion": names.API_VERSION,
                    "kind": names.KIND,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "stringData": entries,
    }


def missed(job: str, warning: Manifest) -> bool:
    """Whether a pod could not start because the Secret is not there (any more)."""
    absent = f'secret "{names.keys_secret(job)}" not found'
    return warning.get("reason") == "FailedMount" and absent in str(warning.get("message"))
