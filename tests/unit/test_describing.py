"""What the buffer tells an application of the job, and what a client refuses to read."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from rljob import spec
from rljob.envs.declared import declared_spaces
from rljob.process.context import job_number
from rljob.roles.buffer.describing import Describer
from rljob.wire.description import JobDescription
from rljob.wire.messages import (
    MAX_JSON_BYTES,
    NO_JOB,
    WIRE_VERSION,
    Header,
    MessageKind,
    Rejected,
    decode,
    decode_json,
    encode_json,
)
from tests.unit.experience import Bench, of_kind

JOB: dict[str, Any] = {
    "metadata": {"name": "shop"},
    "spec": {
        "environment": {
            "spaces": {
                "observation": {"type": "Box", "shape": [4]},
                "action": {"type": "Discrete", "choices": 2},
                "mask": True,
            }
        },
        "algorithm": {"name": "PPO", "config": {"rolloutLength": 8}},
        "network": {"config": {"hidden": [8]}},
        "stop": {},
        "rollout": {"applications": {"flushAfter": "3s", "rewardTimeout": "5m"}},
    },
}


def described(**sections: Any) -> JobDescription:
    content = copy.deepcopy(JOB)
    content["spec"].update(sections)
    return Describer(spec.parse(content), "tcp://127.0.0.1:7402")(None)


def test_a_job_tells_all_that_a_client_needs_and_reads_it_back() -> None:
    found = described()
    again = JobDescription.from_json(decode_json(encode_json(found.to_json())))
    assert again == found or again.plan == found.plan
    assert (again.job, again.name) == (job_number(spec.parse(JOB)), "shop")
    assert again.limits is not None
    assert (again.limits.flush_after, again.limits.reward_timeout) == (3.0, 300.0)
    assert again.plan is not None
    assert (again.plan.length, again.plan.envs) == (8, 1)
    assert again.environment is not None
    declared = declared_spaces(again.environment)
    assert declared is not None
    assert declared.spaces == again.spaces
    assert again.spaces.masked if again.spaces else False


def test_the_buffer_runs_no_code_of_the_user_to_describe_the_job() -> None:
    for sections in (
        {"algorithm": {"entryPoint": "nowhere:Algorithm"}},
        {"network": {"entryPoint": "nowhere:Network"}},
    ):
        found = described(**sections)
        assert found.plan is None
        assert found.spaces is not None


@pytest.mark.parametrize(
    ("weights", "address", "found"),
    [
        ("tcp://127.0.0.1:7402", "tcp://far:7400", "tcp://far:7402"),
        ("tcp://localhost:7402", "tcp://[fd00::1]:7400", "tcp://[fd00::1]:7402"),
        ("tcp://127.0.0.1:7402", "tcp://127.0.0.1:7400", "tcp://127.0.0.1:7402"),
        ("tcp://learner:7402", "tcp://far:7400", "tcp://learner:7402"),
        ("ipc:///run/learner", "ipc:///run/buffer", "ipc:///run/learner"),
    ],
)
def test_a_loopback_address_of_the_job_is_on_its_machine(
    weights: str, address: str, found: str
) -> None:
    told = described().to_json() | {"weights": weights}
    assert JobDescription.from_json(told).weights_from(address) == found


@pytest.mark.parametrize(
    "change",
    [
        {"job": "12"},
        {"job": "x" * 16},
        {"job": -1},
        {"name": 3},
        {"weights": "http://x"},
        {"weights": None},
        {"precision": "float16"},
        {"algorithm": {}},
        {"algorithm": []},
        {"network": {"name": 4}},
        {"networks": [1]},
        {"spaces": {"observation": 1}},
        {"environment": {"id": "x", "spaces": 3}},
        {"environment": 4},
        {"plan": {}},
        {"plan": {"layout": [["reward", "float32", [10**9, 10**9]]], "data": {}, "spaces": {}}},
        {"discount": 2},
        {"discount": "x"},
        {"applications": {}},
        {"applications": {"flushAfter": 0, "rewardTimeout": 1}},
        {"applications": {"flushAfter": 1e300, "rewardTimeout": 1}},
        {"applications": 3},
    ],
    ids=json.dumps,
)
def test_what_is_no_description_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        JobDescription.from_json(described().to_json() | change)


@pytest.mark.parametrize("name", ["job", "name", "algorithm", "network", "precision", "weights"])
def test_what_every_job_tells_has_to_be_there(name: str) -> None:
    told = described().to_json()
    del told[name]
    with pytest.raises(Rejected):
        JobDescription.from_json(told)


def test_a_description_fits_into_a_message() -> None:
    assert len(encode_json(described().to_json())) < MAX_JSON_BYTES / 100


def test_who_asks_does_not_have_to_know_the_job() -> None:
    frame = Header(MessageKind.DESCRIBE, job=NO_JOB).encode()
    assert decode(frame, 0, job=77).kind is MessageKind.DESCRIBE
    with pytest.raises(Rejected, match="job"):
        decode(Header(MessageKind.HELLO, job=NO_JOB).encode(), 0, job=77)
    older = frame[:4] + bytes([WIRE_VERSION - 1]) + frame[5:]
    with pytest.raises(Rejected, match="wire version"):
        decode(older, 0, job=77)


def test_a_buffer_without_a_description_rejects_the_question() -> None:
    bench = Bench()
    assert not of_kind(bench.say("shop", Header(MessageKind.DESCRIBE)), MessageKind.DESCRIPTION)
