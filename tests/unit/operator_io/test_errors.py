"""What an answer of the API server means."""

from __future__ import annotations

import pytest

from rljob_operator.api.errors import from_status

UNCONVERTIBLE = (
    "failed to convert new object (a/x-rollout; apps/v1, Kind=Deployment) to proper version: "
    "quantities must match the regular expression"
)


@pytest.mark.parametrize(
    ("status", "message", "reason", "refused"),
    [
        (422, "Invalid value", "invalid", True),
        (403, "exceeded quota", "forbidden", True),
        (500, UNCONVERTIBLE, "invalid", True),
        (500, "etcdserver: leader changed", "server", False),
        (503, UNCONVERTIBLE, "server", False),
        (429, "slow down", "throttled", False),
        (418, "teapot", "bad_request", True),
    ],
)
def test_from_status(status: int, message: str, reason: str, refused: bool) -> None:
    error = from_status(status, message, "", 0.0)
    assert (error.reason, error.refused) == (reason, refused)
