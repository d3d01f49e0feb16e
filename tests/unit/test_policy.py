"""A policy version as bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy

from rljob.checkpoints.policy import decode, encode
from rljob.errors import RunError

ARRAYS = {
    "q/b.bias": np.arange(3, dtype=np.float32),
    "q/a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "q/limit": np.array(np.inf, np.float32),
    "table": np.arange(4, dtype=np.int64),
    "flags": np.array([True, False, True]),
    "nothing": np.zeros((0, 2), np.float16),
    "epsilon": np.array(0.25),
}


def test_what_is_written_is_what_the_library_writes() -> None:
    # The library orders different dtypes of the same size, such as int64 and float64, in its own way.
    plain = {n: np.array(a, order="C") for n, a in ARRAYS.items() if n != "epsilon"}
    assert encode(plain) == safetensors.numpy.save(plain)


@pytest.mark.parametrize("other", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f8"])
def test_the_library_reads_what_is_written(other: str) -> None:
    arrays = ARRAYS | {"other": np.array([1, 2], other)}
    read = safetensors.numpy.load(encode(arrays))
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_what_is_written_can_be_read() -> None:
    read = decode(encode(ARRAYS))
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_a_policy_of_nothing_is_one_too() -> None:
    assert decode(encode({})) == {}


@pytest.mark.parametrize("array", [np.array(["a"]), np.zeros(2, complex), np.zeros(1, ">f4")])
def test_a_dtype_that_the_format_lacks_is_refused_by_name(array: np.ndarray) -> None:
    with pytest.raises(RunError, match=f"cannot publish table: it has dtype {array.dtype}"):
        encode({"table": array})


@pytest.mark.parametrize(
    "change",
    [
        lambda payload: b"",
        lambda payload: payload[:-1],
        lambda payload: payload[:50],
        lambda payload: payload.replace(b'"F32"', b'"F33"'),
        lambda payload: payload.replace(b'"F32"', b'"I64"'),
        lambda payload: payload.replace(b"[2]", b"[3]").replace(b"[4]", b"[9]"),
        lambda payload: payload.replace(b"data_offsets", b"data-offsets"),
        lambda payload: payload.replace(b"[0,8]", b"[-8,0]").replace(b"} ", b"}", 1),
        lambda payload: (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_what_is_damaged_cannot_be_read(change: Callable[[bytes], bytes]) -> None:
    payload = encode(ARRAYS)
    damaged = change(payload)
    assert damaged != payload
    with pytest.raises(RunError, match="cannot read the policy"):
        decode(damaged)
