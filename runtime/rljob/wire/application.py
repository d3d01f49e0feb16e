"""The name of an application, which a rollout may say in HELLO."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rljob.wire.messages import Rejected

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def read_application(hello: Mapping[str, Any]) -> str:
    """The name in the payload of HELLO, empty if there is none.

    Raises:
        Rejected: it is no DNS label.
    """
    if "application" not in hello:
        return ""
    name = hello["application"]
    if not isinstance(name, str) or not _LABEL.fullmatch(name):
        shown = repr(name)[:80]
        raise Rejected("json", f"application {shown} is no DNS label of at most 63 characters")
    return name
