"""Evaluations as they travel from the evaluator to the learner."""

from __future__ import annotations

import json
import math

import pytest

from rljob.wire.evaluated import PlayedPolicy, evaluated_message, read_evaluated
from rljob.wire.messages import Header, MessageKind, Rejected

PLAYED = PlayedPolicy(lineage=5, version=12, episodes=3, mean=1.5, std=0.5, min=1.0, max=2.0)


def test_what_is_sent_is_read() -> None:
    header, payload = evaluated_message(PLAYED)
    assert header.kind is MessageKind.EVALUATED
    assert read_evaluated(header, memoryview(payload)) == PLAYED


def test_numbers_that_json_has_not_are_left_out() -> None:
    played = PlayedPolicy(5, 12, 3, mean=math.inf, std=math.nan, min=0.0, max=1.0)
    header, payload = evaluated_message(played)
    assert json.loads(payload) == {"episodes": 3, "min": 0.0, "max": 1.0}
    read = read_evaluated(header, payload)
    assert math.isnan(read.mean)
    assert math.isnan(read.std)
    assert read.max == 1.0


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "json"),
        (b"[]", "json"),
        (b"{}", "json"),
        (b'{"episodes": 0}', "json"),
        (b'{"episodes": true}', "json"),
        (b'{"episodes": "3"}', "json"),
        (b'{"episodes": 3, "mean": "1"}', "json"),
        (b'{"episodes": 3, "mean": NaN}', "json"),
        (b'{"episodes": 3, "mean": 1' + b"0" * 400 + b"}", "values"),
        (b'{"episodes": 3, "mean": 1e999}', "values"),
    ],
)
def test_others_are_rejected(payload: bytes, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        read_evaluated(Header(MessageKind.EVALUATED), payload)
    assert caught.value.reason == reason
