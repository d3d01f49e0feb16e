"""A policy version as bytes: the published arrays in a safetensors file.

https://github.com/huggingface/safetensors describes the format: no code in it, readable in any language.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from rljob.envs.spaces import Arrays
from rljob.errors import RunError

BOUNDARY = "/boundary"
"""Array in which a strict job publishes the version at which it can be resumed. No algorithm can use the name."""
PROGRESS = "/progress"
"""Array in which a job with evaluations by steps or updates publishes both, int64 `[2]`. No algorithm can use the name."""
_LENGTH_BYTES = 8


_NAMES = {
    np.dtype(name): code
    for name, code in (
        ("bool", "BOOL"),
        ("uint8", "U8"),
        ("int8", "I8"),
        ("uint16", "U16"),
        ("int16", "I16"),
        ("float16", "F16"),
        ("uint32", "U32"),
        ("int32", "I32"),
        ("float32", "F32"),
        ("uint64", "U64"),
        ("int64", "I64"),
        ("float64", "F64"),
    )
}
"""Names of the dtypes in safetensors."""
_DTYPES = {code: dtype for dtype, code in _NAMES.items()}


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The safetensors file with these arrays; written here, for the library copies every one twice.

    Raises:
        RunError: an array has a dtype that safetensors does not have.
    """
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    order, entries = _entries(tuple((n, a.dtype, a.shape) for n, a in arrays.items()))
    text = f"{{{entries}}}".encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    parts = [plain[name].data for name in order]
    return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts))


def decode(payload: bytes) -> Arrays:
    """Read what `encode` wrote; the arrays share memory with the payload.

    Raises:
        RunError: when the bytes are no such file.
    """
    try:
        start = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "little")
        # numpy refuses what would end behind the payload.
        return {
            name: np.ndarray(shape, dtype, payload, start + begin)
            for name, dtype, shape, begin in _header(payload[_LENGTH_BYTES:start])
        }
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise RunError(f"cannot read the policy: {error}") from error


_Described = tuple[str, np.dtype[Any], tuple[int, ...]]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=16)
def _entries(tensors: tuple[_Described, ...]) -> tuple[list[str], str]:
    """The order of such arrays in the file, and its header: every version has the same."""
    for name, dtype, _ in tensors:
        if dtype not in _NAMES:
            raise RunError(
                f"cannot publish {name}: it has dtype {dtype}; allowed are {', '.join(map(str, _NAMES))}"
            )
    # The larger its numbers, the further in front, so that all are aligned.
    placed = sorted(tensors, key=lambda tensor: (-tensor[1].itemsize, tensor[0]))
    text, at = "", 0
    for name, dtype, shape in placed:
        end = at + math.prod(shape) * dtype.itemsize
        entry = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (at, end)}
        text += f"{',' if text else ''}{_compact(name)}:{_compact(entry)}"
        at = end
    return [name for name, _, _ in placed], text


@lru_cache(maxsize=16)
def _header(text: bytes) -> list[tuple[str, np.dtype[Any], tuple[int, ...], int]]:
    """Where the arrays are: name, dtype, shape, offset; remembered, as most versions have the header of
    the one before."""
    header = json.loads(text)
    header.pop("__metadata__", None)
    places = []
    for name, entry in header.items():
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if begin < 0 or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError(f"{name}: {shape} of {dtype} in bytes {begin} to {end}")
        places.append((name, dtype, shape, begin))
    return places
