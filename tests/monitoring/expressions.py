"""Which metrics an expression asks for, and which there are."""

from __future__ import annotations

import functools
import re
from typing import Any

import yaml

from rljob.telemetry.metrics import ROLES
from rljob_operator.telemetry.metrics import OperatorMetrics
from tests.monitoring.prometheus import RULES

_NAME = re.compile(r"(?<![\w:\"$])((?:rljob[_:]|process_)[a-z_:0-9]+|up|ALERTS)(?![\w(:\"])")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right) *\([^)]*\)")
_MATCHERS = re.compile(r"\{[^}]*\}")
_FROM_CLIENTS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
_FROM_PROMETHEUS = {"up", "ALERTS"}


def names_in(expression: str) -> set[str]:
    """Metrics that it asks for."""
    return set(_NAME.findall(_MATCHERS.sub("", _LABELS.sub("", expression))))


@functools.cache
def known_names() -> set[str]:
    """Metrics that roles, operator, rules and Prometheus itself serve."""
    names = set(_FROM_CLIENTS | _FROM_PROMETHEUS)
    for one in [declared for make in (*ROLES, OperatorMetrics) for declared in make().declared]:
        suffixes = ("_bucket", "_sum", "_count") if one.type == "histogram" else ("",)
        names |= {one.name + suffix for suffix in suffixes}
    return names | {rule["record"] for rule in _rules() if "record" in rule}


def _rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]
