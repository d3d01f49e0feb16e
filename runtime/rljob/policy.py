"""A policy version as bytes: safetensors with the acting scalars in its metadata.

https://github.com/huggingface/safetensors describes the format: no code in it, readable in any language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.numpy

from rljob.errors import RunError

_LENGTH_BYTES = 8


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
        """The safetensors file."""
        return safetensors.numpy.save(self.tensors, metadata=self.metadata())

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
