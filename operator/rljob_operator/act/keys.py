"""The Secrets with a job's CURVE keys and its token: created here, read only by the pods."""

from __future__ import annotations

from rljob import spec
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import Owner, keys_secret
from rljob.spec.roles import ROLES
from rljob.wire.sockets import new_keypair


def secret(job: Manifest, generation: int, token: str) -> Manifest:
    """A Secret with a new key pair for each role and the token of their state, owned by the RLJob."""
    metadata = job["metadata"]
    owner = Owner(metadata["name"], metadata["namespace"], metadata["uid"])
    pairs = {role: new_keypair() for role in ROLES}
    public = {f"{role}.public": pair[0] for role, pair in pairs.items()}
    private = {f"{role}.secret": pair[1] for role, pair in pairs.items()}
    files = {**public, **private, names.STATE_TOKEN: token.encode()}
    return keys_secret(spec.parse(job), owner, files, generation)


def missed(job: str, generation: int, warning: Manifest) -> bool:
    """Whether a pod could not start because the Secret of a generation does not exist."""
    absent = f'secret "{names.keys_secret(job, generation)}" not found'
    return warning.get("reason") == "FailedMount" and absent in str(warning.get("message"))
