"""Payloads: arrays behind an offset table, of which there is one valid writing."""

from __future__ import annotations

import json
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rljob.spec.experience import Field
from rljob.wire.arrays import (
    ALIGNMENT,
    DTYPES,
    MAX_DIMENSIONS,
    MAX_FIELDS,
    Layout,
    pack,
    read_layout,
    unpack,
)
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Rejected
from tests.vectors import ARRAYS, PATH, bad_tables

SHAPES = hnp.array_shapes(min_dims=0, max_dims=MAX_DIMENSIONS, min_side=0, max_side=3)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,23}", fullmatch=True)
ANY_ARRAYS = st.dictionaries(
    NAMES,
    st.sampled_from(DTYPES).flatmap(lambda name: hnp.arrays(np.dtype(name), SHAPES)),
    min_size=1,
    max_size=5,
)


def equal(left: np.ndarray, right: np.ndarray) -> bool:
    same = left.dtype == right.dtype and left.shape == right.shape
    return same and left.tobytes() == right.tobytes()


def test_the_payload_of_the_vectors() -> None:
    vector = json.loads(PATH.read_text())["arrays"]
    payload = bytes.fromhex(vector["hex"])
    assert bytes(pack(ARRAYS)) == payload
    assert Layout.from_json(vector["layout"]) == read_layout(memoryview(payload))
    read = unpack(memoryview(payload))
    assert {name: array.tolist() for name, array in read.items()} == vector["values"]


def test_a_payload_byte_by_byte() -> None:
    payload = bytes(pack({"ab": np.array([[1], [2]], np.uint16), "c": np.array(True)}))
    assert struct.unpack_from("<II", payload) == (2, 320)
    first = b"ab".ljust(24, b"\0") + struct.pack("<BBHIQ6I", 4, 2, 0, 0, 192, 2, 1, 0, 0, 0, 0)
    second = b"c".ljust(24, b"\0") + struct.pack("<BBHIQ6I", 1, 0, 0, 0, 256, 0, 0, 0, 0, 0, 0)
    assert payload[8:72] == first
    assert payload[72:136] == second
    assert payload[136:192] == bytes(56)
    assert payload[192:256] == b"\1\0\2\0" + bytes(60)
    assert payload[256:320] == b"\1" + bytes(63)


@given(ANY_ARRAYS)
def test_arrays_survive_the_way(arrays: dict[str, np.ndarray]) -> None:
    payload = pack(arrays)
    assert len(payload) % ALIGNMENT == 0
    read = unpack(payload.data)
    assert list(read) == list(arrays)
    assert all(equal(read[name], array) for name, array in arrays.items())
    layout = Layout.of(arrays)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    assert read_layout(payload.data) == layout


def test_views_share_the_payloads_memory() -> None:
    payload = pack({"x": np.zeros(3, np.float32)})
    unpack(payload.data)["x"][1] = 5
    assert unpack(payload.data)["x"].tolist() == [0, 5, 0]


def test_room_behind_the_arrays_belongs_to_the_sender() -> None:
    layout = Layout((Field("x", "uint8", (3,)),))
    payload, views = layout.allocate(extra=16)
    views["x"][:] = 7
    assert len(payload) == layout.size + 16
    assert layout.matches(payload.data)
    with pytest.raises(Rejected) as caught:
        unpack(payload.data)
    assert caught.value.reason == "size"


def test_other_byte_orders_are_written_as_little_endian() -> None:
    read = unpack(pack({"x": np.array([1, 2], ">i4")}).data)
    assert read["x"].dtype == np.dtype("<i4")
    assert read["x"].tolist() == [1, 2]


@pytest.mark.parametrize("what", bad_tables())
def test_tables_that_are_not_as_specified_are_rejected(what: str) -> None:
    with pytest.raises(Rejected) as caught:
        unpack(memoryview(bad_tables()[what]))
    assert caught.value.reason == "table"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("x", "float32", (1,))] * 2,
        [(f"x{i}", "bool", ()) for i in range(MAX_FIELDS + 1)],
        [("x" * 25, "bool", ())],
        [("", "bool", ())],
        [("a-b", "bool", ())],
        [("ä", "bool", ())],
        [("x", "float16", ())],
        [("x", "object", ())],
        [("x", "bool", (1,) * 7)],
        [("x", "uint8", (MAX_PAYLOAD_BYTES + 1,))],
        [("x", "float64", (2**31, 2**31, 2**31))],
        [("x", "uint8", (0, 2**32 - 1, 2**32 - 1, 2**32 - 1))],
        [("x", "uint8", (MAX_PAYLOAD_BYTES // 2,)), ("y", "uint8", (MAX_PAYLOAD_BYTES // 2,))],
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_layouts_that_cannot_be_are_rejected(fields: list[tuple[Any, ...]]) -> None:
    with pytest.raises(Rejected) as caught:
        Layout(tuple(Field(*field) for field in fields))
    assert caught.value.reason == "table"


def test_a_layout_just_within_the_limits() -> None:
    fields = tuple(Field(f"x{i}", "uint8", (1,)) for i in range(MAX_FIELDS - 1))
    table = -(-(8 + 64 * MAX_FIELDS) // 64) * 64
    rest = MAX_PAYLOAD_BYTES - table - 64 * len(fields)
    assert Layout((*fields, Field("rest", "uint8", (rest,)))).size == MAX_PAYLOAD_BYTES
    with pytest.raises(Rejected):
        Layout((*fields, Field("rest", "uint8", (rest + 1,))))


def test_nothing_is_allocated_for_what_a_table_claims() -> None:
    tables = [memoryview(table) for table in bad_tables().values()]
    shapes = [[["x", "uint8", [2**28]]], [["x", "float64", [2**31, 0, 2**31]]]]
    for table in tables:
        with pytest.raises(Rejected):
            unpack(table)
    tracemalloc.start()
    try:
        for table in tables:
            with pytest.raises(Rejected):
                unpack(table)
        for shape in shapes:
            with pytest.raises(Rejected):
                Layout.from_json(shape)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


CHANGES = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=4)


@given(ANY_ARRAYS, CHANGES, st.integers(-70, 70))
@example({"x": np.zeros((0, 2), np.float32)}, [(51, 255), (55, 255)], 0)
def test_a_changed_payload_is_read_or_rejected(
    arrays: dict[str, np.ndarray], changes: list[tuple[int, int]], resized: int
) -> None:
    payload = bytearray(bytes(pack(arrays)))
    table = len(Layout.of(arrays).table)
    for offset, value in changes:
        payload[offset % table] = value
    payload = payload[: len(payload) + resized] if resized < 0 else payload + bytes(resized)
    try:
        read = unpack(memoryview(payload))
    except Rejected:
        return
    # There is one way to write arrays, so what was accepted has the table that we would write.
    again = pack(read)
    assert bytes(payload[:table]) == bytes(again[:table])


@given(st.binary(max_size=300))
def test_noise_is_rejected(payload: bytes) -> None:
    with pytest.raises(Rejected):
        unpack(memoryview(payload))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(
    st.lists(
        st.tuples(NAMES | SCALARS, st.sampled_from(DTYPES) | SCALARS, st.lists(SCALARS, max_size=8))
        .map(list)
        .filter(bool)
        | SCALARS
        | st.lists(SCALARS, max_size=4)
    )
    | SCALARS
)
def test_a_layout_from_json_is_read_or_rejected(value: Any) -> None:
    try:
        layout = Layout.from_json(value)
    except Rejected:
        return
    assert layout.to_json() == value
    assert layout.size <= MAX_PAYLOAD_BYTES
