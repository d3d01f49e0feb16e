"""REFUSED: a peer of any wire version can read it, and a flood is not answered by another."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from rljob.wire.messages import (
    ANSWERED,
    REASONS,
    WIRE_VERSION,
    Header,
    MessageKind,
    Rejected,
    decode,
    encode_json,
)
from rljob.wire.refused import (
    ANSWER_EVERY,
    LOG_EVERY,
    MOST_ANSWERS,
    MOST_CLIENTS,
    MOST_TEXT,
    AnswerLimit,
    PeerRefusal,
    answer_header,
)
from tests.vectors import JOB, PATH, bad_headers
from tests.wire_versions import FIRST, first_refused

VECTORS: list[dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))["refused"]


def answered(frame: bytes, text: str = "because") -> tuple[bytes, bytes]:
    payload = PeerRefusal(text).encode()
    header = answer_header(frame, len(payload))
    assert header is not None
    return header, payload


# -- its form ------------------------------------------------------------------------------------


def test_version_1_reads_the_answer_to_it() -> None:
    """The struct and the rules are those of version 1 as it was, and stay."""
    frame = FIRST.pack(b"RLJB", 1, 1, 0, JOB, 9, 7, 0, -1, 0, 0, 0, 0, 0, 0)
    with pytest.raises(
        Rejected, match="wire version 1 and the server 2, so the client's"
    ) as caught:
        decode(frame, 0, JOB)
    header, payload = answered(frame, caught.value.detail)
    assert first_refused(header, payload, 1, JOB) == caught.value.detail


@pytest.mark.parametrize("version", [0, 3, 255])
def test_any_version_finds_the_first_fields_and_the_size_where_they_were(version: int) -> None:
    frame = bytearray(b"\xa5" * 88)
    struct.pack_into("<4sBBHQ", frame, 0, b"RLJB", version, 200, 0xFFFF, JOB)
    header, payload = answered(bytes(frame))
    assert first_refused(header, payload, version, JOB) == "because"
    assert not any(header[16:56] + header[60:]), "what another version has there is not known"


def test_this_version_reads_what_a_later_one_answers() -> None:
    header, payload = answered(Header(MessageKind.HELLO, JOB).encode())
    read = decode(header, len(payload), JOB)
    assert (read.kind, PeerRefusal.read(payload)) == (MessageKind.REFUSED, PeerRefusal("because"))


def test_the_answer_is_of_the_shard_and_the_rank_that_were_named() -> None:
    header, _ = answered(Header(MessageKind.HELLO, JOB, shard=3, rank=513).encode())
    assert struct.unpack_from("<HH", header, 60) == (3, 513)
    with pytest.raises(Rejected, match="wants shard 3, and the server is shard 0 of 1"):
        decode(Header(MessageKind.HELLO, JOB, shard=3, rank=513).encode(), 0, JOB)


def test_a_refusal_is_not_answered() -> None:
    frame = Header(MessageKind.REFUSED, JOB).encode()
    assert answer_header(frame[:4] + b"\x09" + frame[5:], 5) is None


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["what"]))
def test_the_answers_of_the_vectors(vector: dict[str, Any]) -> None:
    frame, payload = bytes.fromhex(vector["hex"]), vector["payload"].encode()
    with pytest.raises(Rejected) as caught:
        decode(frame, 2, JOB)
    assert caught.value.reason in ANSWERED
    assert PeerRefusal(caught.value.detail).encode() == payload
    assert answer_header(frame, len(payload)) == bytes.fromhex(vector["answer"])


def test_the_vectors_have_each_answered_header() -> None:
    assert set(REASONS) > ANSWERED
    answered_headers = {v["what"] for v in VECTORS}
    for what, (frame, size) in bad_headers().items():
        with pytest.raises(Rejected) as caught:
            decode(frame, size, JOB)
        assert (
            what in answered_headers
            or caught.value.reason not in ANSWERED
            or what == "wire version 0"
        )


@pytest.mark.parametrize(
    ("theirs", "older"), [(WIRE_VERSION - 1, "client"), (WIRE_VERSION + 1, "server")]
)
def test_the_sentence_says_both_versions_who_is_older_and_what_to_do(
    theirs: int, older: str
) -> None:
    frame = Header(MessageKind.HELLO, JOB).encode()
    with pytest.raises(Rejected) as caught:
        decode(frame[:4] + bytes([theirs]) + frame[5:], 0, JOB)
    sentence = caught.value.detail
    assert f"client speaks wire version {theirs} and the server {WIRE_VERSION}" in sentence
    assert f"so the {older}'s rljob is the older one" in sentence
    assert "run all roles of the job with one release of rljob" in sentence


# -- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal", [PeerRefusal("no"), PeerRefusal("no", 0), PeerRefusal("no", 2**64 - 2)]
)
def test_a_refusal_is_read_as_it_was_written(refusal: PeerRefusal) -> None:
    assert PeerRefusal.read(refusal.encode()) == refusal


@pytest.mark.parametrize(
    ("payload", "read"),
    [
        (b"", PeerRefusal("no reason given")),
        (b"[]", PeerRefusal("no reason given")),
        (b"\xff", PeerRefusal("no reason given")),
        (encode_json({"message": "x" * 1000}), PeerRefusal("x" * MOST_TEXT)),
        (encode_json({"message": "x", "newest": None}), PeerRefusal("x")),
        (encode_json({"message": "x", "newest": True}), PeerRefusal("x")),
        (encode_json({"message": "x", "newest": -1}), PeerRefusal("x")),
        (encode_json({"message": "x", "newest": 2**64 - 1}), PeerRefusal("x")),
        (encode_json({"message": 7, "later": "key"}), PeerRefusal("7")),
    ],
)
def test_any_payload_refuses(payload: bytes, read: PeerRefusal) -> None:
    assert PeerRefusal.read(payload) == read


# -- how often it is sent ------------------------------------------------------------------------


def test_a_client_is_answered_once_in_a_while() -> None:
    limit = AnswerLimit()
    times = [index * ANSWER_EVERY / 100 for index in range(1001)]
    assert sum(limit.answers(b"a", now) for now in times) == 11


def test_many_clients_together_are_bounded_as_well() -> None:
    limit = AnswerLimit()
    names = [b"%d" % index for index in range(10 * MOST_ANSWERS)]
    assert sum(limit.answers(name, 5.0) for name in names) == MOST_ANSWERS
    assert limit.answers(b"another", 5.0 + ANSWER_EVERY)


def test_what_is_remembered_of_them_is_bounded() -> None:
    limit = AnswerLimit()
    for index in range(3 * MOST_CLIENTS):
        assert limit.answers(b"%d" % index, ANSWER_EVERY * index)
    assert len(limit._answered) == MOST_CLIENTS


def test_the_log_has_one_line_in_a_while() -> None:
    limit = AnswerLimit()
    assert [limit.logs(now) for now in (3.0, 4.0, 3.0 + LOG_EVERY)] == [True, False, True]
