"""A policy version as bytes: safetensors with the acting scalars in its metadata.

https://github.com/huggingface/safetensors describes the format: no code in it, readable in any language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.numpy

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
"""What safetensors calls the dtypes."""


@dataclass(frozen=True)
class PolicyWeights:
    """What acting needs.

    Attributes:
        tensors: as `rljob.nets.export` names them.
        scalars: values of the algorithm for acting, e.g. `epsilon`.
    """

    tensors: dict[str, np.ndarray]
    scalars: dict[str, float]

    def encode(self) -> bytes:
        """The safetensors file; written here, for the library copies every tensor twice."""
        header: dict[str, Any] = {"__metadata__": self.metadata()}
        parts, at = [], 0
        for name, array in sorted(self.tensors.items(), key=_place):
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            header[name] = {
                "dtype": _NAMES[array.dtype],
                "shape": array.shape,
                "data_offsets": (at, at + len(data)),
            }
            parts.append(data.data)
            at += len(data)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)
        return b"".join((len(text).to_bytes(_LENGTH_BYTES, "little"), text, *parts))

    def metadata(self) -> dict[str, str]:
        """The acting scalars as safetensors metadata."""
        return {"scalars": json.dumps(self.scalars)}

    @classmethod
    def decode(cls, payload: bytes) -> PolicyWeights:
        """Read what `encode` wrote.

        Raises:
            RunError: when the bytes are no such file.
        """
        try:
            tensors = safetensors.numpy.load(payload)
            length = int.from_bytes(payload[:_LENGTH_BYTES], "little")
            header = json.loads(payload[_LENGTH_BYTES : _LENGTH_BYTES + length])
            return cls.of(tensors, header.get("__metadata__", {}))
        except (ValueError, safetensors.SafetensorError) as error:
            raise RunError(f"a policy that cannot be read: {error}") from error

    @classmethod
    def of(cls, tensors: dict[str, np.ndarray], metadata: Mapping[str, str]) -> PolicyWeights:
        """From tensors and the metadata that `metadata` made."""
        scalars = json.loads(metadata.get("scalars", "{}"))
        return cls(tensors, {name: float(value) for name, value in scalars.items()})


def _place(named: tuple[str, np.ndarray]) -> tuple[int, str]:
    """The larger its numbers, the further in front, so that all are aligned."""
    name, array = named
    return -array.itemsize, name
