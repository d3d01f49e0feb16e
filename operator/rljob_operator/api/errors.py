"""Errors of calls to the API server, and how callers handle them."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "bad_request",
    "unauthorized",
    "forbidden",
    "not_found",
    "conflict",
    "invalid",
    "throttled",
    "server",
    "timeout",
    "connection",
]
_REASONS: dict[int, Reason] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    410: "conflict",
    413: "invalid",
    415: "bad_request",
    422: "invalid",
    429: "throttled",
    504: "timeout",
}
_UNCONVERTIBLE = "failed to convert new object"
"""Message of the API server for a manifest with values of the wrong type, with status 500."""
REFUSED: frozenset[Reason] = frozenset({"bad_request", "forbidden", "invalid"})
UNREACHED: frozenset[Reason] = frozenset({"unauthorized", "throttled", "timeout", "connection"})


class ApiError(Exception):
    """A call that failed, or whose result is unknown.

    Attributes:
        reason: kind of failure, in one word.
        status: HTTP status; None without a response.
        message: message of the API server.
        word: reason given by Kubernetes, e.g. `AlreadyExists`; may be empty.
        retry_after: seconds to wait, as requested by the API server.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        status: int | None = None,
        word: str = "",
        retry_after: float = 0.0,
    ) -> None:
        self.reason, self.message, self.word = reason, message, word
        self.status, self.retry_after = status, retry_after
        super().__init__(f"{reason}: {message}")

    @property
    def refused(self) -> bool:
        """Whether the same call fails again until the input or the cluster changes."""
        return self.reason in REFUSED

    @property
    def unreached(self) -> bool:
        """Whether other calls would fail too."""
        return self.reason in UNREACHED


class NotLeading(Exception):
    """This process does not hold the Lease: writing is not allowed."""


def from_status(status: int, message: str, word: str, retry_after: float) -> ApiError:
    """The error for an HTTP status of 400 or more."""
    fallback: Reason = "server" if status >= 500 else "bad_request"
    if status == 500 and _UNCONVERTIBLE in message:
        fallback = "invalid"
    return ApiError(_REASONS.get(status, fallback), message, status, word, retry_after)
