"""A policy version as bytes: safetensors with the acting scalars in its metadata.

https://github.com/huggingface/safetensors describes the format: no code in it, readable in any language.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rljob.errors import RunError

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


@dataclass(frozen=True)
class PolicyWeights:
    """Weights and scalars for acting.

    Attributes:
        tensors: as `rljob.nets.export` names them.
        scalars: values of the algorithm for acting, e.g. `epsilon`.
    """

    tensors: dict[str, np.ndarray]
    scalars: dict[str, float]

    def encode(self) -> bytes:
        """The safetensors file; written here, for the library copies every tensor twice."""
        order, entries = _entries(tuple((n, a.dtype, a.shape) for n, a in self.tensors.items()))
        text = f'{{"__metadata__":{_compact(self.metadata())}{entries}}}'.encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)
        arrays = [np.ascontiguousarray(self.tensors[name]).data for name in order]
        return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, *arrays))

    def metadata(self) -> dict[str, str]:
        """The acting scalars as safetensors metadata."""
        return {"scalars": json.dumps(self.scalars)}

    @classmethod
    def decode(cls, payload: bytes) -> PolicyWeights:
        """Read what `encode` wrote; the tensors share memory with the payload.

        Raises:
            RunError: when the bytes are no such file.
        """
        try:
            start = _LENGTH_BYTES + int.from_bytes(payload[:_LENGTH_BYTES], "little")
            places, scalars = _header(payload[_LENGTH_BYTES:start])
            # numpy refuses what would end behind the payload.
            tensors = {
                name: np.ndarray(shape, dtype, payload, start + begin)
                for name, dtype, shape, begin in places
            }
            return cls(tensors, dict(scalars))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RunError(f"cannot read the policy: {error}") from error

    @classmethod
    def of(cls, tensors: dict[str, np.ndarray], metadata: Mapping[str, str]) -> PolicyWeights:
        """From tensors and the metadata that `metadata` made."""
        return cls(tensors, _scalars(metadata))


Scalars = dict[str, float]
_Described = tuple[str, np.dtype[Any], tuple[int, ...]]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


@lru_cache(maxsize=16)
def _entries(tensors: tuple[_Described, ...]) -> tuple[list[str], str]:
    """The order of such tensors in the file, and their part of its header: every version has the same."""
    # The larger its numbers, the further in front, so that all are aligned.
    placed = sorted(tensors, key=lambda tensor: (-tensor[1].itemsize, tensor[0]))
    text, at = "", 0
    for name, dtype, shape in placed:
        end = at + math.prod(shape) * dtype.itemsize
        entry = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": (at, end)}
        text += f",{_compact(name)}:{_compact(entry)}"
        at = end
    return [name for name, _, _ in placed], text


@lru_cache(maxsize=16)
def _header(text: bytes) -> tuple[list[tuple[str, np.dtype[Any], tuple[int, ...], int]], Scalars]:
    """Where the tensors are (name, dtype, shape, offset), and the scalars; remembered, for most versions
    have the header of the one before."""
    header = json.loads(text)
    scalars = _scalars(header.pop("__metadata__", {}))
    places = []
    for name, entry in header.items():
        dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if begin < 0 or math.prod(shape) * dtype.itemsize != end - begin:
            raise ValueError(f"{name}: {shape} of {dtype} in bytes {begin} to {end}")
        places.append((name, dtype, shape, begin))
    return places, scalars


def _scalars(metadata: Mapping[str, str]) -> Scalars:
    scalars = json.loads(metadata.get("scalars", "{}"))
    return {name: float(value) for name, value in scalars.items()}
