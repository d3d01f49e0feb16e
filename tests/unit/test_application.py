"""The name of an application in HELLO."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rljob.roles.buffer.core import Outgoing
from rljob.wire.application import read_application
from rljob.wire.messages import Header, MessageKind, Rejected, decode_json, encode_json
from tests.unit.experience import Bench, of_kind, on_policy_plan
from tests.vectors import PATH

VECTORS: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))["applications"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["what"]))
def test_a_name_is_a_dns_label(vector: dict[str, Any]) -> None:
    if "reason" not in vector:
        assert read_application(vector["hello"]) == vector["application"]
        return
    with pytest.raises(Rejected) as caught:
        read_application(vector["hello"])
    assert caught.value.reason == vector["reason"]


def test_a_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(Rejected) as caught:
        read_application({"application": "A" * 100_000})
    assert len(caught.value.detail) < 200


def hello(bench: Bench, **more: Any) -> list[Outgoing]:
    header = Header(MessageKind.HELLO, actor=1, epoch=1)
    return bench.say("rollout-1", header, encode_json({**on_policy_plan().to_json(), **more}))


def test_the_buffer_knows_the_application_of_a_rollout() -> None:
    bench = Bench()
    assert of_kind(hello(bench), MessageKind.WELCOME)
    assert bench.buffer.rollouts.actors[1].application == ""
    assert of_kind(hello(bench, application="traffic-lights"), MessageKind.WELCOME)
    assert bench.buffer.rollouts.actors[1].application == "traffic-lights"


def test_a_name_that_is_none_is_refused_with_what_is_allowed() -> None:
    bench = Bench()
    (refusal,) = of_kind(hello(bench, application="Traffic"), MessageKind.REFUSED)
    message = decode_json(refusal.payload)["message"]
    assert "application 'Traffic' is no DNS label of at most 63 characters" in message
    assert bench.told.reasons == ["json"]
    assert not bench.buffer.rollouts.actors
