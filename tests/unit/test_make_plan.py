"""What a rollout's job says of its segments."""

from __future__ import annotations

import pytest

from rljob.algorithms import load_config, resolve_algorithm
from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.errors import InputError
from rljob.spec import parse
from rljob.wire.experience import ExperienceFormat

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
