"""Test vectors of the protocol, for implementations in other languages.

`python -m tests.vectors` writes `docs/design/protocol-vectors.json`; a unit test compares the two.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rljob.envs.spaces import BoxSpace, DiscreteSpace, Spaces
from rljob.process.context import actor_number, job_number
from rljob.roles.buffer.sequences import Sequences
from rljob.spec import RLJob
from rljob.spec.experience import Field, OnPolicy, Replay
from rljob.wire.application import read_application
from rljob.wire.arrays import Layout, pack, read_layout
from rljob.wire.delivery import Receiver
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.experience import ExperienceFormat
from rljob.wire.messages import HEADER_BYTES, Header, MessageKind, Rejected, decode
from rljob.wire.refused import PeerRefusal, answer_header
from rljob.wire.subscription import chunk_header
from rljob.wire.weights import ACCEPTED, CHUNK_BYTES, Chunk, Published, Want, WeightServer

PATH = Path(__file__).parent.parent / "docs" / "design" / "protocol-vectors.json"
JOB = 0x1122334455667788
ACTOR = 0x99AABBCCDDEEFF00

HEADERS = {
    "a rollout's HELLO after its buffer was restarted": Header(
        MessageKind.HELLO, JOB, ACTOR, epoch=7, size=700, ack=40, bits=0b101, limit=49152
    ),
    "WELCOME of a buffer": Header(MessageKind.WELCOME, JOB, size=900, ack=1700000000000000000),
    "SEGMENT 3 of version 12": Header(
        MessageKind.SEGMENT, JOB, ACTOR, epoch=7, seq=3, version=12, lineage=5, size=4096
    ),
    "GRANT: below 3 all arrived, 3 missing, 4 and 6 arrived": Header(
        MessageKind.GRANT,
        JOB,
        ACTOR,
        epoch=7,
        version=11,
        lineage=5,
        ack=3,
        bits=0b101,
        limit=28672,
    ),
    "PULL": Header(MessageKind.PULL, JOB, epoch=5, seq=17, version=12, ack=16, limit=24),
    "WANT of one that has nothing": Header(
        MessageKind.WANT, JOB, version=-1, lineage=0, bits=ACCEPTED
    ),
    "EVALUATED of version 12": Header(MessageKind.EVALUATED, JOB, size=60, version=12, lineage=5),
    "CHUNK at 1 MiB of 2.5 MiB, safetensors": Header(
        MessageKind.CHUNK, JOB, seq=1048576, version=12, lineage=5, size=1048608, limit=2621440
    ),
    "WANT of one that has version 12 and accepts the encodings 0 and 1": Header(
        MessageKind.WANT, JOB, version=12, lineage=5, bits=0b11
    ),
    "DESCRIBE of a client that does not know the job": Header(MessageKind.DESCRIBE),
    "greatest numbers": Header(
        MessageKind.STATUS,
        2**64 - 1,
        2**64 - 1,
        2**64 - 1,
        2**64 - 1,
        2**63 - 1,
        2**64 - 1,
        256 * 1024 * 1024,
        2**64 - 1,
        2**64 - 1,
        2**64 - 1,
    ),
}

ARRAYS = {
    "observation": np.arange(6, dtype=np.float32).reshape(3, 1, 2) / 4,
    "action": np.array([[1], [0]], np.int64),
    "terminated": np.array([[False], [True]]),
}


def header_fields(header: Header) -> dict[str, int]:
    """All fields by name."""
    return {name: int(getattr(header, name)) for name in Header.__slots__}


def bad_headers() -> dict[str, tuple[bytes, int]]:
    """Frames that are rejected, with the length of the payload that came with them."""
    good = Header(MessageKind.STATUS, JOB, size=2).encode()

    def changed(offset: int, value: bytes) -> bytes:
        return good[:offset] + value + good[offset + len(value) :]

    return {
        "empty": (b"", 2),
        "one byte short": (good[:-1], 2),
        "one byte long": (good + b"\0", 2),
        "other magic": (changed(0, b"RLJC"), 2),
        "wire version 0": (changed(4, b"\0"), 2),
        "wire version 1": (changed(4, b"\1"), 2),
        "wire version 3": (changed(4, b"\3"), 2),
        "wire version 1 of another job": (changed(4, b"\1\7\0\0\0"), 2),
        "kind 0": (changed(5, b"\0"), 2),
        "kind 19": (changed(5, b"\x13"), 2),
        "STATUS of job 0": (changed(8, bytes(8)), 2),
        "DESCRIPTION of job 0": (changed(5, b"\x12\0\0" + bytes(8)), 2),
        "flags": (changed(6, b"\1\0"), 2),
        "shard 3": (changed(60, b"\3\0"), 2),
        "rank 256": (changed(62, b"\0\1"), 2),
        "other job": (changed(8, b"\0"), 2),
        "size too low": (good, 1),
        "size too high": (good, 3),
        "more than 256 MiB": (
            changed(56, struct.pack("<I", 2**28 + 1)),
            2**28 + 1,
        ),
    }


def bad_tables() -> dict[str, bytes]:
    """Payloads whose table is rejected."""
    good = bytes(pack({"x": np.zeros(3, np.float32)}))

    def changed(offset: int, value: bytes) -> bytes:
        return good[:offset] + value + good[offset + len(value) :]

    one = struct.pack("<I", 2**32 - 1)
    return {
        "empty": b"",
        "no fields": changed(0, struct.pack("<I", 0)),
        "65 fields": changed(0, struct.pack("<I", 65)),
        "cut": good[:40],
        "size differs from the sum": changed(4, struct.pack("<I", len(good) + 64)),
        "dtype 0": changed(32, b"\0"),
        "dtype 12": changed(32, b"\x0c"),
        "7 dimensions": changed(33, b"\7"),
        "reserved byte": changed(34, b"\1"),
        "offset not aligned": changed(40, struct.pack("<Q", 129)),
        "a dimension behind the last": changed(52, struct.pack("<I", 1)),
        "name with a zero inside": changed(8, b"x\0y"),
        "name that is no identifier": changed(8, b"1"),
        "name that is not ASCII": changed(8, b"\xff"),
        "no name": changed(8, b"\0"),
        "huge": changed(48, one),
        "huge in six dimensions": changed(33, b"\6")[:48] + one * 6 + good[72:],
        "huge but empty": changed(33, b"\6")[:48] + b"\0\0\0\0" + one * 5 + good[72:],
    }


ANSWERED = ("wire version 1", "wire version 3", "shard 3", "rank 256")
"""Of `bad_headers`, those that a server answers."""


def answers() -> list[dict[str, Any]]:
    """What a server answers to headers that it rejects."""
    found = []
    for what in ANSWERED:
        frame, size = bad_headers()[what]
        payload = PeerRefusal(_rejection(frame, size).detail).encode()
        header = answer_header(frame, len(payload))
        assert header is not None
        found.append(
            {"what": what, "hex": frame.hex(), "answer": header.hex(), "payload": payload.decode()}
        )
    return found


APPLICATIONS: dict[str, Any] = {
    "none": {},
    "a name": {"application": "traffic-lights"},
    "63 characters": {"application": "a" * 63},
    "one digit": {"application": "7"},
    "empty": {"application": ""},
    "64 characters": {"application": "a" * 64},
    "capitals": {"application": "Traffic"},
    "two labels": {"application": "traffic.lights"},
    "ends with a hyphen": {"application": "traffic-"},
    "no text": {"application": 7},
    "null": {"application": None},
}


def _application(hello: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"application": read_application(hello)}
    except Rejected as rejected:
        return {"reason": rejected.reason}


def reason_of(frame: bytes, payload_bytes: int) -> str:
    """Why `decode` rejects a header."""
    return _rejection(frame, payload_bytes).reason


def _rejection(frame: bytes, payload_bytes: int) -> Rejected:
    try:
        decode(frame, payload_bytes, JOB)
    except Rejected as rejected:
        return rejected
    raise AssertionError("was accepted")


def table_reason(payload: bytes) -> str:
    """Why `read_layout` rejects a payload."""
    try:
        read_layout(memoryview(payload))
    except Rejected as rejected:
        return rejected.reason
    raise AssertionError("was accepted")


def _delivery() -> list[dict[str, Any]]:
    receiver, steps = Receiver(), []
    for epoch, seq in [(7, 0), (7, 2), (7, 4), (7, 1), (7, 67), (7, 3), (6, 9), (8, 0), (8, 65)]:
        verdict = receiver.check(epoch, seq)
        if verdict.value == "new":
            receiver.commit(epoch, seq)
        steps.append(
            {
                "arrives": [epoch, seq],
                "verdict": verdict.value,
                "epoch": receiver.epoch,
                "ack": receiver.ack,
                "bits": receiver.bits,
            }
        )
    return steps


def _weights() -> dict[str, Any]:
    payload = bytes(i % 251 for i in range(CHUNK_BYTES * 9 + 5))
    server = WeightServer(Published.of((5, 12), payload))
    windows = [
        server.wanted(b"", Want((0, -1), (0, -1), 0), 0.0),
        server.wanted(b"", Want((0, -1), (5, 12), 8 * CHUNK_BYTES), 0.0),
    ]

    def shown(chunk: Chunk) -> dict[str, Any]:
        return {
            "seq": chunk.offset,
            "limit": chunk.total,
            "bits": chunk_header(chunk).bits,
            "size": len(chunk.payload),
            "payloadSha256": hashlib.sha256(chunk.payload).hexdigest(),
        }

    return {
        "payload": f"{len(payload)} bytes, byte i is i modulo 251",
        "digest": hashlib.sha256(payload).hexdigest(),
        "windows": [[shown(chunk) for chunk in window] for window in windows],
    }


SPACES = Spaces(BoxSpace((3,)), DiscreteSpace(2))
CREW = replace(SPACES, agents=3, state=BoxSpace((7,)))
PLANS = {
    "on-policy, the acting network remembers 5 numbers": ExperienceFormat.of(
        OnPolicy(4), (), 2, SPACES, core_size=5
    ),
    "transitions with n-step returns": ExperienceFormat.of(
        Replay(4, 8, 16, 4.0), (Field("next_row", "int32"),), 2, SPACES
    ),
    "sequences with memory, priorities by actors": ExperienceFormat.of(
        Replay(4, 8, 16, 4.0, 0.6, 2, length=6, period=2),
        (Field("priority", "float32"),),
        2,
        SPACES,
        core_size=5,
    ),
    "sequences from the first row of an episode": ExperienceFormat.of(
        Replay(4, 8, 16, 4.0, length=6, start="episode"), (), 2, SPACES
    ),
    "transitions with action masks": ExperienceFormat.of(
        Replay(4, 8, 16, 4.0), (), 2, replace(SPACES, masked=True)
    ),
    "transitions of three agents together, with a state": ExperienceFormat.of(
        Replay(4, 8, 16, 4.0, agents=3), (), 2, CREW
    ),
    "two numbers of info in each record of an episode": ExperienceFormat.of(
        OnPolicy(4), (), 2, SPACES, info=("score", "lives left")
    ),
    "agents by themselves": ExperienceFormat.of(OnPolicy(4), (), 2, replace(CREW, state=None)),
}


def bad_plans() -> dict[str, Any]:
    """Plans that are rejected."""
    good = PLANS["sequences with memory, priorities by actors"].to_json()
    crew = PLANS["transitions of three agents together, with a state"].to_json()

    def used(**changes: Any) -> Any:
        return {**good, "data": {**good["data"], **changes}}

    def laid_out(*changes: list[Any]) -> Any:
        kept = [each for each in good["layout"] if each[0] not in {change[0] for change in changes}]
        return {**good, "layout": [*kept, *changes]}

    return {
        "a period that does not divide the segment": used(period=3),
        "a period for transitions": used(length=1),
        "episodes with a period": used(start="episode"),
        "an unknown start": used(start="any"),
        "a number of info that is named twice": {**good, "info": ["score", "score"]},
        "numbers of info without a list": {**good, "info": "score"},
        "memory at other rows than every period-th": laid_out(["core", "float32", [4, 2, 5]]),
        "memory of another dtype": laid_out(["core", "float64", [2, 2, 5]]),
        "priorities of another shape": laid_out(["priority", "float32", [4, 2, 1]]),
        "next_row in sequences": laid_out(["next_row", "int32", [4, 2]]),
        "masks, and spaces that have none": laid_out(["mask", "bool", [5, 2, 2]]),
        "no masks, and spaces that have some": {
            **good,
            "spaces": {**good["spaces"], "masked": True},
        },
        "agents together that are not those of an environment": used(agents=2),
        "a state, and spaces that have none": laid_out(["state", "float32", [5, 2, 7]]),
        "no state, and spaces that have one": {
            **good,
            "spaces": {**good["spaces"], "state": CREW.to_json()["state"]},
        },
        "columns that are not those of whole environments": {
            **good,
            "spaces": {**good["spaces"], "agents": 3},
        },
        "next_row for agents together": {
            **crew,
            "layout": [*crew["layout"], ["next_row", "int32", [4, 6]]],
        },
        "a state for each agent": {
            **crew,
            "layout": [
                [*each[:2], [5, 6, 7]] if each[0] == "state" else each for each in crew["layout"]
            ],
        },
    }


def _plan_reason(plan: Any) -> str:
    try:
        ExperienceFormat.from_json(plan)
    except Rejected as rejected:
        return rejected.reason
    raise AssertionError("was accepted")


def _sequences() -> dict[str, Any]:
    """Where sequences begin in five segments of two rollouts, T = 4 and N = 1."""
    origins = [(1, 7, 0), (1, 7, 1), (2, 7, 0), (1, 7, 2), (1, 7, 4)]
    valid = np.ones((len(origins), 4, 1), np.bool_)
    valid[1, 1] = valid[3, 3] = False
    observation = np.zeros((len(origins), 5, 1), np.int64)
    observation[3, 0] = 1
    found = []
    kinds: tuple[tuple[int, int, Literal["row", "episode"]], ...] = (
        (2, 1, "row"),
        (5, 1, "row"),
        (5, 2, "row"),
        (2, 1, "episode"),
    )
    for length, period, start in kinds:
        sequences = Sequences(valid, observation, length, period, start)
        for slot, origin in enumerate(origins):
            sequences.add(slot, origin)
        begins = [[*origins[slot], int(row)] for slot, row, _ in np.argwhere(sequences.begins)]
        found.append({"length": length, "period": period, "start": start, "begins": begins})
    stored = [
        {"segment": origin, "valid": valid[slot, :, 0].tolist(), "goesOn": bool(origin[2] == 1)}
        for slot, origin in enumerate(origins)
    ]
    return {"stored": stored, "drawn": found}


def vectors() -> dict[str, Any]:
    """Everything that `docs/design/protocol-vectors.json` holds."""
    payload = pack(ARRAYS)
    job = RLJob.model_validate(
        {
            "apiVersion": "rljob.dev/v1alpha1",
            "kind": "RLJob",
            "metadata": {"name": "cartpole"},
            "spec": {
                "environment": {"id": "CartPole-v1"},
                "algorithm": {"name": "PPO"},
                "stop": {"steps": 1},
            },
        }
    )
    metadata = job.metadata
    return {
        "headerBytes": HEADER_BYTES,
        "headers": [
            {"what": what, "fields": header_fields(header), "hex": header.encode().hex()}
            for what, header in HEADERS.items()
        ],
        "rejectedHeaders": [
            {
                "what": what,
                "job": JOB,
                "hex": frame.hex(),
                "payloadBytes": size,
                "reason": reason_of(frame, size),
            }
            for what, (frame, size) in bad_headers().items()
        ],
        "refused": answers(),
        "applications": [
            {"what": what, "hello": hello, **_application(hello)}
            for what, hello in APPLICATIONS.items()
        ],
        "arrays": {
            "layout": Layout.of(ARRAYS).to_json(),
            "values": {name: array.tolist() for name, array in ARRAYS.items()},
            "hex": bytes(payload).hex(),
        },
        "rejectedTables": [
            {"what": what, "hex": table.hex(), "reason": table_reason(table)}
            for what, table in bad_tables().items()
        ],
        "plans": [{"what": what, "plan": plan.to_json()} for what, plan in PLANS.items()],
        "rejectedPlans": [
            {"what": what, "plan": plan, "reason": _plan_reason(plan)}
            for what, plan in bad_plans().items()
        ],
        "sequences": _sequences(),
        "delivery": _delivery(),
        "weights": _weights(),
        "numbers": {
            "job": {
                "text": f"{metadata.namespace or ''}/{metadata.name}/{metadata.uid or ''}",
                "number": job_number(job),
            },
            "actor": {"text": "rollout-0", "number": actor_number("rollout-0")},
        },
        "endpoints": [
            {
                "buffer": buffer,
                "experience": buffer_endpoints(buffer).experience,
                "samples": buffer_endpoints(buffer).samples,
                "learner": learner,
                "weights": weights_endpoint(learner),
            }
            for buffer, learner in (
                ("ipc:///run/x/buffer", "ipc:///run/x/learner"),
                ("tcp://buffer.ns.svc:7400", "tcp://learner.ns.svc:7402"),
            )
        ],
    }


def text() -> str:
    """The file's content."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
