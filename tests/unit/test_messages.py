"""Headers and control payloads: what is written, what is read, and that nothing else is."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import (
    HEADER_BYTES,
    MAX_JSON_BYTES,
    REASONS,
    Header,
    MessageKind,
    Rejected,
    decode,
    decode_json,
    encode_json,
)
from tests.vectors import HEADERS, JOB, PATH, bad_headers, header_fields, text

U64 = st.integers(0, 2**64 - 1)


def test_vectors_are_what_the_code_does() -> None:
    assert PATH.read_text(encoding="utf-8") == text(), "run: python -m tests.vectors"


@pytest.mark.parametrize("vector", json.loads(PATH.read_text())["headers"], ids=lambda v: v["what"])
def test_headers_of_the_vectors(vector: dict[str, Any]) -> None:
    frame, fields = bytes.fromhex(vector["hex"]), vector["fields"]
    read = decode(frame, fields["size"], fields["job"])
    assert header_fields(read) == fields
    assert read.encode() == frame


def test_a_header_byte_by_byte() -> None:
    frame = HEADERS["SEGMENT 3 of version 12"].encode()
    assert len(frame) == HEADER_BYTES == 88
    expected = {
        (0, 4): b"RLJB",
        (4, 5): b"\x02",
        (5, 6): b"\x05",
        (6, 8): b"\0\0",
        (8, 16): JOB.to_bytes(8, "little"),
        (24, 32): (7).to_bytes(8, "little"),
        (32, 40): (3).to_bytes(8, "little"),
        (40, 48): (12).to_bytes(8, "little"),
        (48, 56): (5).to_bytes(8, "little"),
        (56, 60): (4096).to_bytes(4, "little"),
        (60, 62): b"\0\0",
        (62, 64): b"\0\0",
        (64, 88): b"\0" * 24,
    }
    assert {place: frame[slice(*place)] for place in expected} == expected


REASON_OF = {
    "empty": "header",
    "one byte short": "header",
    "one byte long": "header",
    "other magic": "magic",
    "wire version 0": "wire_version",
    "wire version 1": "wire_version",
    "wire version 3": "wire_version",
    "wire version 1 of another job": "job",
    "kind 0": "kind",
    "kind 19": "kind",
    "STATUS of job 0": "job",
    "DESCRIPTION of job 0": "job",
    "flags": "flags",
    "shard 3": "shard",
    "rank 256": "rank",
    "other job": "job",
    "size too low": "size",
    "size too high": "size",
    "more than 256 MiB": "size",
}


@pytest.mark.parametrize("what", bad_headers())
def test_what_does_not_fit_is_rejected(what: str) -> None:
    frame, size = bad_headers()[what]
    with pytest.raises(Rejected) as caught:
        decode(frame, size, JOB)
    assert caught.value.reason == REASON_OF[what]


def test_reasons_bound_the_labels_of_a_counter() -> None:
    assert len(set(REASONS)) == len(REASONS)
    with pytest.raises(AssertionError):
        Rejected("a reason of my own", "")


@given(
    st.builds(
        Header,
        st.sampled_from(MessageKind),
        job=U64,
        actor=U64,
        epoch=U64,
        seq=U64,
        version=st.integers(-(2**63), 2**63 - 1),
        lineage=U64,
        size=st.integers(0, 2**28),
        ack=U64,
        bits=U64,
        limit=U64,
    )
)
def test_any_header_survives_the_way(header: Header) -> None:
    assert decode(memoryview(header.encode()), header.size, header.job) == header


@given(
    st.sampled_from(list(HEADERS.values())),
    st.lists(st.tuples(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255)), max_size=4),
    st.integers(-2, 2),
)
def test_a_changed_header_is_read_or_rejected(
    header: Header, changes: list[tuple[int, int]], resized: int
) -> None:
    frame = bytearray(header.encode())
    for offset, value in changes:
        frame[offset] = value
    frame = frame[: len(frame) + resized] if resized < 0 else frame + b"\0" * resized
    try:
        read = decode(bytes(frame), header.size, header.job)
    except Rejected:
        pass
    else:
        # There is one way to write a header, so what was accepted is written the same again.
        assert read.encode() == bytes(frame)


@given(st.binary(max_size=200), st.integers(0, 2**40), U64)
def test_noise_is_rejected(frame: bytes, size: int, job: int) -> None:
    with pytest.raises(Rejected):
        decode(frame, size, job)


# -- JSON ----------------------------------------------------------------------------------------


def test_json_survives_the_way() -> None:
    value = {"text": "Zürich", "numbers": [1, -2.5, 0], "nothing": None}
    assert decode_json(memoryview(encode_json(value))) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[1]",
        b"1",
        b'"text"',
        b"null",
        b"{",
        b'{"a":1}x',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":"' + b"x" * MAX_JSON_BYTES + b'"}',
    ],
    ids=lambda payload: repr(payload[:12]) + str(len(payload)),
)
def test_what_is_no_json_object_is_rejected(payload: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        decode_json(payload)
    assert caught.value.reason == "json"


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_json({"a": float("nan")})


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
@example(b'{"\\ud800":1}')
def test_json_noise_is_read_or_rejected(payload: bytes) -> None:
    with contextlib.suppress(Rejected):
        assert isinstance(decode_json(payload), dict)


# -- what HELLO says -----------------------------------------------------------------------------

PLAN: dict[str, Any] = {
    "layout": [
        ["observation", "float32", [9, 2, 4]],
        ["action", "int64", [8, 2]],
        ["reward", "float32", [8, 2]],
        ["terminated", "bool", [8, 2]],
        ["truncated", "bool", [8, 2]],
        ["valid", "bool", [8, 2]],
    ],
    "data": {
        "kind": "replay",
        "batch_size": 4,
        "min_size": 16,
        "samples_per_insert": 8.0,
        "priority_exponent": 0.0,
        "updates_per_publish": 1,
        "length": 1,
        "period": 1,
        "start": "row",
        "agents": 1,
        "weighting": "proportional",
    },
    "spaces": Spaces(BoxSpace((4,)), DiscreteSpace(2)).to_json(),
    "info": ["score", "lives left"],
}


def test_a_plan_survives_the_way() -> None:
    plan = ExperienceFormat.from_json(decode_json(encode_json(PLAN)))
    assert (plan.length, plan.envs, plan.steps) == (8, 2, 16)
    assert plan.to_json() == PLAN


def _layout(name: str, dtype: str, shape: list[int]) -> list[Any]:
    return [[name, dtype, shape] if item[0] == name else item for item in PLAN["layout"]]


@pytest.mark.parametrize(
    ("part", "value", "reason"),
    [
        ("layout", None, "table"),
        ("layout", [], "table"),
        ("layout", [["reward", "float32"]], "table"),
        ("layout", _layout("reward", "object", [8, 2]), "table"),
        ("layout", _layout("reward", "float32", [8, -2]), "table"),
        ("layout", _layout("reward", "float32", [8, 2.0]), "table"),  # type: ignore[list-item]
        ("layout", _layout("reward", "float32", [True, 2]), "table"),
        ("layout", _layout("observation", "float32", [9, 2, 2**31, 2**31]), "table"),
        ("layout", _layout("observation", "float32", [9, 2, 0, 2**31, 2**31]), "table"),
        ("layout", [*PLAN["layout"], PLAN["layout"][0]], "table"),
        ("layout", PLAN["layout"][1:], "layout"),
        ("layout", _layout("reward", "float32", [8]), "layout"),
        ("layout", _layout("reward", "float32", [0, 2]), "layout"),
        ("layout", _layout("reward", "float64", [8, 2]), "layout"),
        ("layout", _layout("observation", "float32", [8, 2, 4]), "layout"),
        ("layout", _layout("valid", "uint8", [8, 2]), "layout"),
        ("layout", _layout("action", "int64", [8, 3]), "layout"),
        ("info", "score", "json"),
        ("info", [1], "json"),
        ("info", ["a", "a"], "json"),
        ("info", [""], "json"),
        ("info", ["a" * 65], "json"),
        ("info", [str(n) for n in range(17)], "json"),
        ("data", None, "json"),
        ("data", {}, "json"),
        ("data", {"kind": "on-policy"}, "json"),
        ("data", {"kind": "on-policy", "segments_per_batch": -1}, "json"),
        ("data", {"kind": "on-policy", "segments_per_batch": 2.5}, "json"),
        ("data", {"kind": "on-policy", "segments_per_batch": True}, "json"),
        ("data", {"kind": "on-policy", "segments_per_batch": 10**400}, "json"),
        ("data", {"kind": "on-policy", "segments_per_batch": 2, "more": 1}, "json"),
        ("data", PLAN["data"] | {"batch_size": 1.5}, "json"),
        ("data", PLAN["data"] | {"samples_per_insert": 0}, "json"),
        ("data", PLAN["data"] | {"samples_per_insert": "8"}, "json"),
        ("spaces", None, "json"),
        ("spaces", {}, "json"),
        ("spaces", {"observation": 1, "action": 2}, "json"),
    ],
)
def test_a_plan_that_cannot_be_is_rejected(part: str, value: Any, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        ExperienceFormat.from_json(PLAN | {part: value})
    assert caught.value.reason == reason


@pytest.mark.parametrize("value", [None, [], 3, "plan"])
def test_a_plan_that_is_no_object_is_rejected(value: Any) -> None:
    with pytest.raises(Rejected):
        ExperienceFormat.from_json(value)


NOISE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, inner in items:
        nested = isinstance(inner, dict | list)
        found += _places(inner, (*path, key)) if nested else [(*path, key)]
    return found


@given(st.sampled_from(_places(PLAN)), NOISE, st.booleans())
@example(("data", "kind"), [], False)
def test_a_changed_plan_is_read_or_rejected(path: tuple[Any, ...], value: Any, gone: bool) -> None:
    changed = copy.deepcopy(PLAN)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    try:
        plan = ExperienceFormat.from_json(changed)
    except Rejected:
        pass
    else:
        assert ExperienceFormat.from_json(plan.to_json()) == plan


# -- the text ------------------------------------------------------------------------------------


def test_the_document_names_every_kind_and_every_reason() -> None:
    document = PATH.with_name("protocol.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in document.splitlines()]
    assert [row for row in rows if row[1:] and row[1].isdigit() and row[0].isupper()] == [
        [kind.name, str(int(kind))] for kind in MessageKind
    ]
    named = [row[0].strip("`") for row in rows if row[1:] and row[0].strip("`") in REASONS]
    assert set(REASONS) <= set(named)
