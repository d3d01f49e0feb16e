"""CEL rules for the API server, next to the Python code with the same checks.

The models' JSON schema contains them under the Kubernetes name; the CRD is generated from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

VALIDATIONS = "x-kubernetes-validations"
RULE_FIELDS = ("rule", "message", "messageExpression", "fieldPath", "reason")
IMMUTABLE_KEY = "x-rljob-immutable"
IMMUTABLE: dict[str, Any] = {IMMUTABLE_KEY: True}
"""For a field's `json_schema_extra`: an update of the job may not change, add or remove it."""

_UNCHANGED = "cannot be changed once the job exists; make a new job"

Rule = dict[str, str]


def rule(cel: str, message: str, *, at: str = "", computed: str = "", reason: str = "") -> Rule:
    """One rule of a section.

    Args:
        cel: true for what is accepted; `self` is the section.
        message: for people; one line.
        at: path of the field that it is about, below the section, e.g. `rollout.replicas`.
        computed: a message in CEL, which replaces `message` unless it fails.
        reason: `FieldValueRequired` or `FieldValueForbidden`; by default the value is said to be invalid.
    """
    made = {"rule": cel, "message": message}
    if computed:
        made["messageExpression"] = computed
    if at:
        made["fieldPath"] = f".{at}"
    if reason:
        made["reason"] = reason
    return made


def rules(*given: Rule) -> dict[str, Any]:
    """The rules as a model's `json_schema_extra`."""
    return {VALIDATIONS: list(given)}


def unchanged(field: str = "") -> Rule:
    """That an update leaves the value as it is; with a name, an optional field of it."""
    if not field:
        return rule("self == oldSelf", _UNCHANGED, reason="FieldValueForbidden")
    new, old = f"self.{field}", f"oldSelf.{field}"
    cel = f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
    return rule(cel, _UNCHANGED, at=field, reason="FieldValueForbidden")


def text(value: str) -> str:
    """A CEL literal of the text."""
    return json.dumps(value, ensure_ascii=False)


def texts(values: Sequence[str]) -> str:
    """A CEL literal of a list of texts."""
    return "[" + ", ".join(map(text, values)) + "]"
