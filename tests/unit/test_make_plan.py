"""What a rollout's job says of its segments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rljob.algorithms import load_config, resolve_algorithm
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec import parse
from rljob.spec.experience import OnPolicy
from rljob.wire.arrays import Layout
from rljob.wire.experience import EPISODE_BYTES, ExperienceFormat
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
    records = largest.steps * EPISODE_BYTES
    assert MAX_PAYLOAD_BYTES - 2**13 < largest.layout.size + records <= MAX_PAYLOAD_BYTES
    # A buffer refuses the same.
    fields = [
        replace(field, shape=(field.shape[0] + 1, *field.shape[1:]))
        for field in largest.layout.fields
    ]
    beyond = replace(largest, layout=Layout(tuple(fields)), data=OnPolicy(exceeds))
    with pytest.raises(Rejected, match="bytes exceed"):
        ExperienceFormat.from_json(beyond.to_json())
    assert ExperienceFormat.from_json(largest.to_json()) == largest
