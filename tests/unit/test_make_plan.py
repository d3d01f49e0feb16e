"""What a rollout's job says of its segments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rljob.algorithms import load_config, resolve_algorithm
from rljob.envs.spaces import BoxSpace, DiscreteSpace, MultiDiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec import parse
from rljob.spec.experience import Field, OnPolicy, Replay
from rljob.wire.arrays import Layout
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Rejected

SPACES = Spaces(BoxSpace((1000,)), DiscreteSpace(2))


def test_a_segment_that_no_message_can_carry_names_what_to_lower() -> None:
    job = parse(
        {
            "metadata": {"name": "large"},
            "spec": {
                "environment": {"id": "Large-v0"},
                "algorithm": {"name": "PPO", "config": {"rolloutLength": 1000}},
                "stop": {"steps": 1},
                "rollout": {"envsPerReplica": 1000},
            },
        }
    )
    algorithm = resolve_algorithm(job.spec.algorithm)(load_config(job.spec.algorithm), SPACES)
    with pytest.raises(InputError, match="1000 environments and 1000 steps") as caught:
        ExperienceFormat.of(
            algorithm.data, algorithm.fields, job.spec.rollout.envs_per_replica, SPACES
        )
    assert caught.value.path == "rollout.envsPerReplica"


def test_the_records_of_a_segments_episodes_count_too() -> None:
    """The largest arrays that fit into a message leave no room for them."""

    def plan(length: int) -> ExperienceFormat:
        return ExperienceFormat.of(OnPolicy(length), (), 1, SPACES)

    fits, exceeds = 1, 2**17
    while exceeds - fits > 1:
        middle = (fits + exceeds) // 2
        try:
            plan(middle)
            fits = middle
        except InputError:
            exceeds = middle
    largest = plan(fits)
    assert largest.layout.size + largest.records_bytes > MAX_PAYLOAD_BYTES - 2**13
    assert largest.layout.size + largest.records_bytes <= MAX_PAYLOAD_BYTES
    # A buffer refuses the same.
    fields = [
        replace(field, shape=(field.shape[0] + 1, *field.shape[1:]))
        for field in largest.layout.fields
    ]
    beyond = replace(largest, layout=Layout(tuple(fields)), data=OnPolicy(exceeds))
    with pytest.raises(Rejected, match="bytes exceed"):
        ExperienceFormat.from_json(beyond.to_json())
    assert ExperienceFormat.from_json(largest.to_json()) == largest


def replay(**values: Any) -> Replay:
    return Replay(
        **{"segment_length": 8, "batch_size": 4, "min_size": 8, "samples_per_insert": 1.0, **values}
    )


@pytest.mark.parametrize(
    ("data", "rows"),
    [(OnPolicy(8), 1), (replay(), 8), (replay(length=20, period=4), 2), (replay(length=20), 8)],
)
def test_memory_is_kept_where_training_may_begin(data: OnPolicy | Replay, rows: int) -> None:
    plan = ExperienceFormat.of(data, (), 3, SPACES, core_size=16)
    assert plan.layout.fields[-1] == Field("core", "float32", (rows, 3, 16))
    assert ExperienceFormat.from_json(plan.to_json()) == plan
    assert "core" not in {
        field.name for field in ExperienceFormat.of(data, (), 3, SPACES).layout.fields
    }


@pytest.mark.parametrize("data", [OnPolicy(8), replay(), replay(length=20, period=4)])
def test_masks_have_a_row_for_each_observation(data: OnPolicy | Replay) -> None:
    spaces = Spaces(BoxSpace((4,)), MultiDiscreteSpace((2, 3)), masked=True)
    plan = ExperienceFormat.of(data, (), 3, spaces)
    assert Field("mask", "bool", (9, 3, 5)) in plan.layout.fields
    value = plan.to_json()
    assert ExperienceFormat.from_json(value) == plan
    others: list[Any] = [
        ["mask", "bool", [9, 3, 4]],
        ["mask", "bool", [8, 3, 5]],
        ["mask", "uint8", [9, 3, 5]],
    ]
    for other in (None, *others):
        kept = [each for each in value["layout"] if each[0] != "mask"]
        changed = {**value, "layout": [*kept, *([other] if other else [])]}
        with pytest.raises(Rejected, match="mask"):
            ExperienceFormat.from_json(changed)
    with pytest.raises(Rejected, match="mask"):
        ExperienceFormat.from_json({**value, "spaces": {**value["spaces"], "masked": False}})
    with pytest.raises(Rejected, match="masked"):
        ExperienceFormat.from_json({**value, "spaces": {**value["spaces"], "masked": 1}})


@pytest.mark.parametrize(
    ("data", "fields", "text"),
    [
        (replay(length=20, period=3), (), "period 3 does not divide the 8 steps of a segment"),
        (replay(period=2), (), "period 2 and start 'row' need sequences"),
        (replay(start="episode"), (), "need sequences, and length is 1"),
        (replay(length=20, period=2, start="episode"), (), "an episode may begin at any row"),
        (replay(length=20), (Field("next_row", "int32"),), "next_row is for transitions"),
        (replay(length=20), (Field("maps", "uint8", (1, 1, 1, 1)),), "6 is the most"),
        (replay(), (Field("priority", "float64"),), "priority has dtype float64"),
        (replay(), (Field("core", "float32"),), "field 'core' is not allowed"),
        (replay(), (Field("mask", "bool", (2,)),), "field 'mask' is not allowed"),
        (replay(), (Field("next_mask", "bool", (2,)),), "field 'next_mask' is not allowed"),
        (OnPolicy(8), (Field("key", "uint64"),), "field 'key' is not allowed"),
        (OnPolicy(8), (Field("reward", "float32"),), "field 'reward' is not allowed"),
    ],
)
def test_an_algorithm_that_asks_for_what_cannot_be_is_told(
    data: OnPolicy | Replay, fields: tuple[Field, ...], text: str
) -> None:
    with pytest.raises(InputError, match=text) as caught:
        ExperienceFormat.of(data, fields, 3, SPACES)
    assert caught.value.path == "algorithm"
