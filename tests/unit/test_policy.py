"""A policy version as bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy

from rljob.checkpoints.policy import PolicyWeights
from rljob.errors import RunError

TENSORS = {
    "b.bias": np.arange(3, dtype=np.float32),
    "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "limit": np.array(np.inf, np.float32),
    "table": np.arange(4, dtype=np.int64),
    "flags": np.array([True, False, True]),
    "nothing": np.zeros((0, 2), np.float16),
}


def test_what_is_written_is_what_the_library_writes() -> None:
    weights = PolicyWeights(TENSORS, {"epsilon": 0.25})
    plain = {name: np.ascontiguousarray(array) for name, array in TENSORS.items()}
    plain["limit"] = TENSORS["limit"]
    assert weights.encode() == safetensors.numpy.save(plain, metadata=weights.metadata())


def test_what_is_written_can_be_read() -> None:
    read = PolicyWeights.decode(PolicyWeights(TENSORS, {"epsilon": 0.25}).encode())
    assert read.scalars == {"epsilon": 0.25}
    assert read.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert read.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(read.tensors[name], array)


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
        lambda payload: payload.replace(b"[0,32]", b"[-8,24]").replace(b"} ", b"}", 1),
        lambda payload: (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_what_is_damaged_cannot_be_read(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(RunError, match="cannot read the policy"):
        PolicyWeights.decode(change(PolicyWeights(TENSORS, {}).encode()))
