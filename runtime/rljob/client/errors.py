"""What goes wrong with an API server, in one sentence each. Pure: no client is imported here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from rljob.errors import InputError, RLJobError, RunError
from rljob.spec.invalid import Invalid

INSTALL = "helm install rljob charts/rljob-operator -n rljob-system --create-namespace"
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_UNKNOWN_FIELD = re.compile(r'unknown field "([^"]+)"')


class ClusterError(RunError):
    """The cluster said no, or nothing.

    Attributes:
        transient: whether the same may work in a while.
    """

    transient = False


class NotFound(ClusterError):
    """What was asked for is not there."""


class AlreadyExists(ClusterError):
    """Something of that name is there already."""


class Forbidden(ClusterError):
    """The user may not do this."""


class Unavailable(ClusterError):
    """The API server cannot be reached, or cannot answer now."""

    transient = True


@dataclass(frozen=True)
class ServerAddress:
    """Where requests go, for messages: the URL and the kubeconfig's context, if any."""

    url: str
    context: str | None = None

    def __str__(self) -> str:
        return f"{self.url} (context {self.context})" if self.context else self.url


@dataclass(frozen=True)
class Call:
    """One request, for messages.

    Attributes:
        verb: as RBAC has it: get, list, create, patch, delete.
        resource: plural, with its group and subresource: `rljobs.rljob.dev`, `pods/log`.
        namespace: empty for all.
        name: of the object, if one is meant.
    """

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def what(self) -> str:
        """`rljobs.rljob.dev x in namespace default`."""
        where = f"in namespace {self.namespace}" if self.namespace else "in any namespace"
        return " ".join(filter(None, [self.resource, self.name, where]))


def refused(call: Call, server: ServerAddress, code: int, body: bytes) -> RLJobError:
    """The error for an answer that is no success.

    Args:
        code: HTTP status.
        body: what came with it; a Kubernetes Status, or any text.
    """
    status = _status(body)
    if status is None:
        text = body.decode("utf-8", "replace").strip()[:500]
        if code == 404 and call.resource.startswith("rljobs."):
            return ClusterError(
                f"the cluster at {server} does not know RLJobs: install the operator first, as with\n"
                f"  {INSTALL}"
            )
        status = {"message": text or "no reason given"}
    message, reason = str(status.get("message", "")), status.get("reason")
    details = status.get("details") or {}
    if code == 401:
        return ClusterError(
            f"the API server {server} does not accept your credentials: log in again"
        )
    if code == 403:
        return Forbidden(_forbidden(call, server, message))
    if code == 404 and details.get("kind") == "namespaces":
        return NotFound(f"there is no namespace {details.get('name')} at {server}")
    if code == 404:
        return NotFound(f"there is no {call.what}: {message}")
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists(f"{call.what} is there already")
    if code in (400, 422):
        return _invalid(call, details, message)
    kind = Unavailable if code in _TRANSIENT else ClusterError
    return kind(f"the API server {server} did not {call.verb} {call.what}: {message} ({code})")


def unreachable(server: ServerAddress, error: BaseException) -> Unavailable:
    """The error for a request that got no answer."""
    return Unavailable(f"cannot reach the API server {server}: {_cause(error)}")


def _status(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    known = isinstance(value, dict) and value.get("kind") == "Status"
    return value if known else None


def _forbidden(call: Call, server: ServerAddress, message: str) -> str:
    if "cannot" in message:
        user = re.search(r'User "([^"]+)"', message)
        who = user[1] if user else "you"
        return (
            f"not allowed: {who} may not {call.verb} {call.what} at {server}; "
            "ask for a role that has this verb on this resource"
        )
    # A quota, an admission policy or a namespace that is going away.
    return f"the cluster refuses to {call.verb} {call.what}: {message}"


def _invalid(call: Call, details: dict[str, Any], message: str) -> RLJobError:
    """One error for each field that the API server names."""
    causes = [cause for cause in details.get("causes") or () if cause.get("field")]
    problems = [
        InputError(_said(cause), path=_path(str(cause["field"])))
        for cause in causes
        # A rule on a whole section is reported for the object as well, once it could not be checked.
        if "no such key" not in str(cause.get("message", ""))
    ]
    problems += [
        InputError("unknown field", path=_path(field)) for field in _UNKNOWN_FIELD.findall(message)
    ]
    if problems:
        return Invalid(problems)
    return InputError(f"the API server refuses to {call.verb} {call.what}: {message}")


def _path(field: str) -> str:
    """`spec.code[a.py]`, `spec.items[0]` → as rljob writes paths: dotted, below `spec`."""
    dotted = re.sub(r"\[([^]]*)\]", r".\1", field).strip(".")
    return dotted.removeprefix("spec.")


def _said(cause: dict[str, Any]) -> str:
    """Without the words that the API server puts into every message."""
    message = str(cause.get("message", "")).removeprefix("Invalid value: ")
    return message.replace(f"{cause['field']} in body ", "").strip() or "is not allowed"


def _cause(error: BaseException) -> str:
    """The innermost reason that says something, e.g. `Connection refused`."""
    found = str(error) or type(error).__name__
    at: BaseException | None = error
    while at is not None:
        if "Timeout" in type(at).__name__:
            found = "no answer in time"
        else:
            said = getattr(at, "verify_message", None) or getattr(at, "strerror", None)
            found = str(said) if said else found
        # urllib3 keeps what happened first in `reason`.
        reason = getattr(at, "reason", None)
        at = reason if isinstance(reason, BaseException) else at.__cause__ or at.__context__
    return found
