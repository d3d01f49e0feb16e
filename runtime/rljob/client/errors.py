"""Errors of an API server as messages of one sentence. Pure: imports no client."""

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
    """The API server rejected a request or did not answer.

    Attributes:
        transient: whether a retry may succeed.
    """

    transient = False


class NotFound(ClusterError):
    """The object does not exist."""


class AlreadyExists(ClusterError):
    """An object of this name already exists."""


class Conflict(ClusterError):
    """Somebody else has changed the object meanwhile."""


class Forbidden(ClusterError):
    """The user may not do this."""


class Unavailable(ClusterError):
    """The API server cannot be reached or is temporarily unable to answer."""

    transient = True


@dataclass(frozen=True)
class ServerAddress:
    """URL of the API server and context of the kubeconfig, for messages."""

    url: str
    context: str | None = None

    def __str__(self) -> str:
        return f"{self.url} (context {self.context})" if self.context else self.url


@dataclass(frozen=True)
class Call:
    """One request, for messages.

    Attributes:
        verb: RBAC verb: get, list, create, patch, delete.
        resource: plural with group and subresource: `rljobs.rljob.dev`, `pods/log`.
        namespace: empty for all namespaces.
        name: name of the object; empty for a list.
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
    """The error for an unsuccessful response.

    Args:
        code: HTTP status.
        body: a Kubernetes Status or any text.
    """
    status = _status(body)
    if status is None:
        text = body.decode("utf-8", "replace").strip()[:500]
        if code == 404 and call.resource.startswith("rljobs."):
            return ClusterError(
                f"the cluster at {server} has no RLJob resource; install the operator first:\n"
                f"  {INSTALL}"
            )
        status = {"message": text or "the response has no message"}
    message, reason = str(status.get("message", "")), status.get("reason")
    details = status.get("details") or {}
    if code == 401:
        return ClusterError(f"the API server {server} rejected your credentials; log in again")
    if code == 403:
        return Forbidden(_forbidden(call, server, message))
    if code == 404 and details.get("kind") == "namespaces":
        return NotFound(f"there is no namespace {details.get('name')} at {server}")
    if code == 404:
        return NotFound(f"there is no {call.what}: {message}")
    if code == 409 and reason == "AlreadyExists":
        return AlreadyExists(f"{call.what} already exists")
    if code == 409 and reason == "Conflict":
        return Conflict(f"{call.what} was changed by somebody else meanwhile: {message}")
    if code in (400, 422):
        return _invalid(call, details, message)
    kind = Unavailable if code in _TRANSIENT else ClusterError
    return kind(f"the API server {server} did not {call.verb} {call.what}: {message} ({code})")


def unreachable(server: ServerAddress, error: BaseException) -> Unavailable:
    """The error for a request without a response."""
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
            "ask the cluster's administrator for an RBAC role with this verb and resource"
        )
    # A quota, an admission policy or a namespace in deletion.
    return f"the cluster refused to {call.verb} {call.what}: {message}"


def _invalid(call: Call, details: dict[str, Any], message: str) -> RLJobError:
    """One error for each field that the API server names."""
    causes = [cause for cause in details.get("causes") or () if cause.get("field")]
    problems = [
        InputError(_cause_message(cause), path=_path(str(cause["field"])))
        for cause in causes
        # Skip CEL rules that could not be evaluated because of another error.
        if "no such key" not in str(cause.get("message", ""))
    ]
    problems += [
        InputError("unknown field", path=_path(field)) for field in _UNKNOWN_FIELD.findall(message)
    ]
    if problems:
        return Invalid(problems)
    return InputError(f"the API server refused to {call.verb} {call.what}: {message}")


def _path(field: str) -> str:
    """Path in the notation of rljob: `spec.code[a.py]` → `code.a.py`, `spec.items[0]` → `items.0`."""
    dotted = re.sub(r"\[([^]]*)\]", r".\1", field).strip(".")
    return dotted.removeprefix("spec.")


def _cause_message(cause: dict[str, Any]) -> str:
    """The cause's message without the API server's standard words."""
    message = str(cause.get("message", "")).removeprefix("Invalid value: ")
    return message.replace(f"{cause['field']} in body ", "").strip() or "is not allowed"


def _cause(error: BaseException) -> str:
    """The innermost cause with a message, e.g. `Connection refused`."""
    found = str(error) or type(error).__name__
    at: BaseException | None = error
    while at is not None:
        if "Timeout" in type(at).__name__:
            found = "timed out"
        else:
            text = getattr(at, "verify_message", None) or getattr(at, "strerror", None)
            found = str(text) if text else found
        # urllib3 stores the original error in `reason`.
        reason = getattr(at, "reason", None)
        at = reason if isinstance(reason, BaseException) else at.__cause__ or at.__context__
    return found
