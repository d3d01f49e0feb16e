"""What HELLO and WELCOME say of a job's experience, read strictly."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from rljob.spec.experience import Field
from rljob.wire.arrays import Layout
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import Rejected
from tests.unit.experience import on_policy_plan, replay_plan, sequence_plan


def on_policy_with_core() -> ExperienceFormat:
    plan = on_policy_plan()
    core = Field("core", "float32", (1, plan.envs, 5))
    return replace(plan, layout=Layout((*plan.layout.fields, core)))


PLANS = [
    on_policy_plan(),
    on_policy_with_core(),
    replay_plan(),
    replay_plan(priority_exponent=0.6, next_row="int32"),
    sequence_plan(9, period=2, core_size=5, priority_exponent=0.6, priority="float32"),
    sequence_plan(9, start="episode"),
]


@pytest.mark.parametrize("plan", PLANS)
def test_json_and_back(plan: ExperienceFormat) -> None:
    again = ExperienceFormat.from_json(json.loads(json.dumps(plan.to_json())))
    assert again == plan
    assert (again.length, again.envs, again.steps) == (4, 2, 8)
    assert again.layout.table == plan.layout.table


TRANSITIONS = replay_plan(next_row="int32")


def change(path: str, value: Any, plan: ExperienceFormat = TRANSITIONS) -> Any:
    """A plan's JSON with one value replaced, or removed for `...`."""
    json_value = copy.deepcopy(plan.to_json())
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
        ("data.length", 0, "json"),
        ("data.length", "1", "json"),
        ("data.length", 2**31, "json"),
        ("data.length", 5, "layout"),
        ("data.period", 0, "json"),
        ("data.period", 2, "json"),
        ("data.start", "episode", "json"),
        ("data.start", "any", "json"),
        ("data.start", ["row"], "json"),
        ("data.weighting", "best", "json"),
        ("data.weighting", 1, "json"),
        ("layout.6", ["priority", "float64", [4, 2]], "layout"),
        ("layout.6", ["priority", "float32", [4, 2, 1]], "layout"),
        ("layout.6", ["core", "float32", [1, 2, 5]], "layout"),
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


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("data.period", 3, "json"),
        ("data.period", 8, "json"),
        ("data.period", 4, "layout"),
        ("data.period", 1, "layout"),
        ("data.length", 1, "json"),
        ("data.start", "episode", "json"),
        ("layout.6", ["core", "float32", [4, 2, 5]], "layout"),
        ("layout.6", ["core", "float32", [2, 3, 5]], "layout"),
        ("layout.6", ["core", "float32", [2, 2]], "layout"),
        ("layout.6", ["core", "float64", [2, 2, 5]], "layout"),
        ("layout.6", ["next_row", "int32", [4, 2]], "layout"),
        ("layout.6", ["frames", "uint8", [4, 2, 1, 1, 1, 1]], "layout"),
    ],
)
def test_sequences_that_cannot_be_are_rejected(path: str, value: Any, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        ExperienceFormat.from_json(change(path, value, sequence_plan(9, period=2, core_size=5)))
    assert caught.value.reason == reason


def test_an_unchanged_one_is_not() -> None:
    ExperienceFormat.from_json(change("data.samples_per_insert", 2))
    ExperienceFormat.from_json(change("data.length", 7, sequence_plan(9, period=2, core_size=5)))


@pytest.mark.parametrize("name", ["length", "period", "start"])
def test_what_says_that_transitions_are_drawn_may_be_left_out(name: str) -> None:
    assert ExperienceFormat.from_json(change(f"data.{name}", ...)) == TRANSITIONS
