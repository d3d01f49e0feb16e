"""The name of an application, which it says in HELLO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rljob.wire.messages import Rejected

FAULTS = ("evicted", "stale", "late_reward", "no_reward", "invalid")
"""What applications count and tell: segments that could not be delivered, or were too old for the policy; rewards for
decisions that had left; decisions that left without a reward; calls that were refused."""
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def is_application(name: object) -> bool:
    """Whether an application can have this name: a DNS label of at most 63 characters."""
    return isinstance(name, str) and _LABEL.fullmatch(name) is not None


def read_application(hello: Mapping[str, Any]) -> str:
    """The name in the payload of HELLO, empty if there is none.

    Raises:
        Rejected: it is no DNS label.
    """
    if "application" not in hello:
        return ""
    name = hello["application"]
    if not is_application(name):
        shown = repr(name)[:80]
        raise Rejected("json", f"application {shown} is no DNS label of at most 63 characters")
    return str(name)
