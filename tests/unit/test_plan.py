"""What HELLO and WELCOME say of a job's experience, read strictly."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Rejected
from tests.unit.experience import on_policy_plan, replay_plan

PLANS = [on_policy_plan(), replay_plan(), replay_plan(priority_exponent=0.6, next_row="int32")]


@pytest.mark.parametrize("plan", PLANS)
def test_json_and_back(plan: ExperienceFormat) -> None:
    again = ExperienceFormat.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert (again.length, again.envs, again.steps) == (4, 2, 8)
    assert again.layout.table == plan.layout.table


def change(path: str, value: Any) -> Any:
    """A replay plan's JSON with one value replaced, or removed for `...`."""
    json_value = copy.deepcopy(replay_plan(next_row="int32").to_json())
    *parents, last = path.split(".")
    at: Any = json_value
    for parent in parents:
        at = at[int(parent)] if isinstance(at, list) else at[parent]
    key: Any = int(last) if isinstance(at, list) else last
    if value is ...:
        del at[key]
    else:
        at[key] = value
    return json_value


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("layout", ..., "table"),
        ("layout", {}, "table"),
        ("layout", [], "table"),
        ("layout.0", ["observation", "float32"], "table"),
        ("layout.0", ..., "layout"),
        ("layout.1", ..., "layout"),
        ("layout.2.1", "float64", "layout"),
        ("layout.5.1", "uint8", "layout"),
        ("layout.0.1", "object", "table"),
        ("layout.0.2", [4, 2, 4], "layout"),
        ("layout.0.2", [5, 3, 4], "layout"),
        ("layout.1.2", [4], "layout"),
        ("layout.2.2", [4, 2, 1], "layout"),
        ("layout.2.2", [0, 2], "layout"),
        ("layout.2.2", [-4, 2], "table"),
        ("layout.2.2", [2**31, 2**31], "table"),
        ("layout.6", ["next_row", "float32", [4, 2]], "layout"),
        ("layout.6", ["next_row", "int32", [4, 2, 2]], "layout"),
        ("layout.6", ["key", "uint64", [4, 2]], "layout"),
        ("layout.6", ["next_observation", "float32", [4, 2]], "layout"),
        ("layout.6", ["reward", "float32", [4, 2]], "table"),
        ("data", ..., "json"),
        ("data", [], "json"),
        ("data.kind", "other", "json"),
        ("data.kind", "on-policy", "json"),
        ("data.kind", ..., "json"),
        ("data.batch_size", 0, "json"),
        ("data.batch_size", 1.5, "json"),
        ("data.batch_size", True, "json"),
        ("data.batch_size", "8", "json"),
        ("data.batch_size", 2**40, "json"),
        ("data.batch_size", ..., "json"),
        ("data.extra", 1, "json"),
        ("data.updates_per_publish", -1, "json"),
        ("data.samples_per_insert", 0, "json"),
        ("data.samples_per_insert", float("nan"), "json"),
        ("data.samples_per_insert", float("inf"), "json"),
        ("data.priority_exponent", -0.1, "json"),
        ("spaces", ..., "json"),
        ("spaces", [], "json"),
        ("spaces", {}, "json"),
        ("spaces.action", {"type": "Graph"}, "json"),
        ("spaces.action", 5, "json"),
        ("spaces.observation.type", ["Box"], "json"),
    ],
)
def test_what_to_json_would_not_write_is_rejected(path: str, value: Any, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        ExperienceFormat.from_json(change(path, value))
    assert caught.value.reason == reason


def test_an_unchanged_one_is_not() -> None:
    ExperienceFormat.from_json(change("data.samples_per_insert", 2))
