"""The payload of experience: arrays in one frame behind an offset table (docs/design/protocol.md, Arrays).

One frame per message: several frames cost two to three times the throughput on ipc and tcp. The
table is fixed for a stream of segments, so a reader compares its bytes once per message and takes
views; the data start at multiples of 64 bytes and are never copied to be decoded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from rljob.spec.experience import Field
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Rejected

ALIGNMENT = 64
MAX_FIELDS = 64
MAX_DIMENSIONS = 6
NAME_BYTES = 24
KNOWN_LAYOUTS = 256
"""Layouts that are kept, so that the table of a message that comes again is not worked out again."""

_TABLE = struct.Struct("<II")
_ENTRY = struct.Struct(f"<{NAME_BYTES}sBBHIQ{MAX_DIMENSIONS}I")
assert _ENTRY.size == 64

DTYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
)
"""A dtype's code on the wire is its place in this tuple, from 1."""
_CODES = {np.dtype(name): code for code, name in enumerate(DTYPES, 1)}


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def nbytes(field: Field) -> int:
    """Bytes of one array."""
    return math.prod(field.shape) * np.dtype(field.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """Where the arrays of a payload lie; equal layouts have equal tables, byte for byte."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        if len(set(names)) != len(names):
            raise Rejected("table", f"duplicate name in {names}")
        if not 0 < len(self.fields) <= MAX_FIELDS:
            raise Rejected("table", f"{len(self.fields)} fields; 1 to {MAX_FIELDS} are allowed")
        for item in self.fields:
            if not (item.name.isascii() and item.name.isidentifier()):
                raise Rejected("table", f"{item.name!r} is not a name")
            if len(item.name) > NAME_BYTES or len(item.shape) > MAX_DIMENSIONS:
                raise Rejected("table", f"{item.name}: name or shape too long")
            if item.dtype not in DTYPES:
                raise Rejected("table", f"{item.name}: dtype {item.dtype!r}")
            # A zero among huge dimensions makes an empty array that numpy still cannot describe.
            if math.prod(n or 1 for n in item.shape) > MAX_PAYLOAD_BYTES:
                raise Rejected("table", f"{item.name}: shape {item.shape}")
        if self.size > MAX_PAYLOAD_BYTES:
            raise Rejected("table", f"{self.size} bytes exceed {MAX_PAYLOAD_BYTES}")

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Layout:
        """The layout of given arrays, in their order."""
        return _layout_of(tuple((name, a.dtype, a.shape) for name, a in arrays.items()))

    @cached_property
    def _placed(self) -> tuple[tuple[int, ...], int]:
        offset = _aligned(_TABLE.size + len(self.fields) * _ENTRY.size)
        offsets = []
        for item in self.fields:
            offsets.append(offset)
            offset = _aligned(offset + nbytes(item))
        return tuple(offsets), offset

    @property
    def offsets(self) -> tuple[int, ...]:
        """Byte offset of each field's data from the payload's start."""
        return self._placed[0]

    @property
    def size(self) -> int:
        """Bytes of a payload with this layout, a multiple of 64."""
        return self._placed[1]

    @cached_property
    def _arrays(self) -> tuple[tuple[str, tuple[int, ...], np.dtype[Any], int], ...]:
        return tuple(
            (item.name, item.shape, np.dtype(item.dtype), offset)
            for item, offset in zip(self.fields, self.offsets, strict=True)
        )

    @cached_property
    def table(self) -> bytes:
        """The payload's first bytes, padded to where the first array starts."""
        entries = [
            _ENTRY.pack(
                item.name.encode(),
                _CODES[np.dtype(item.dtype)],
                len(item.shape),
                0,
                0,
                offset,
                *item.shape,
                *([0] * (MAX_DIMENSIONS - len(item.shape))),
            )
            for item, offset in zip(self.fields, self.offsets, strict=True)
        ]
        table = _TABLE.pack(len(self.fields), self.size) + b"".join(entries)
        return table.ljust(self.offsets[0], b"\0")

    def views(self, buffer: Any) -> dict[str, np.ndarray]:
        """Arrays that share memory with `buffer`, a payload of this layout (longer is allowed)."""
        return {
            name: np.ndarray(shape, dtype, buffer, offset)
            for name, shape, dtype, offset in self._arrays
        }

    def allocate(self, extra: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A new payload with its table written, `extra` bytes after it, and views of its arrays."""
        payload = np.zeros(self.size + extra, np.uint8)
        payload[: len(self.table)] = np.frombuffer(self.table, np.uint8)
        return payload, self.views(payload)

    def allocate_empty(
        self, memory: memoryview | None = None
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A payload with undefined content; the caller writes every array.

        Args:
            memory: where to put it, `size` bytes; None is somewhere new.
        """
        payload = (
            np.empty(self.size, np.uint8) if memory is None else np.frombuffer(memory, np.uint8)
        )
        payload[: len(self.table)] = np.frombuffer(self.table, np.uint8)
        for item, offset in zip(self.fields, self.offsets, strict=True):
            end = offset + nbytes(item)
            payload[end : _aligned(end)] = 0
        return payload, self.views(payload)

    def matches(self, payload: memoryview) -> bool:
        """Whether a payload starts with exactly this layout's table and has room for its arrays."""
        return len(payload) >= self.size and payload[: len(self.table)] == self.table

    def to_json(self) -> list[list[Any]]:
        return [[item.name, item.dtype, list(item.shape)] for item in self.fields]

    @classmethod
    def from_json(cls, value: Any) -> Layout:
        """Raises Rejected for anything that `to_json` would not have made."""
        if not isinstance(value, list):
            raise Rejected("table", "a layout must be a list of [name, dtype, shape]")
        return cls(tuple(_field_from_json(item) for item in value))


def _field_from_json(item: Any) -> Field:
    match item:
        case [str(name), str(dtype), list(shape)] if all(
            type(n) is int and 0 <= n < 2**32 for n in shape
        ):
            return Field(name, dtype, tuple(shape))
    raise Rejected("table", f"{str(item)[:80]} is not [name, dtype, shape]")


@lru_cache(maxsize=KNOWN_LAYOUTS)
def _layout_of(arrays: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]) -> Layout:
    return Layout(tuple(Field(name, dtype.name, shape) for name, dtype, shape in arrays))


def pack(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """A payload that holds copies of the arrays: uint8 `[size]`."""
    payload, views = Layout.of(arrays).allocate()
    for name, array in arrays.items():
        views[name][...] = array
    return payload


def unpack(payload: memoryview) -> dict[str, np.ndarray]:
    """Views of a payload's arrays.

    Raises:
        Rejected: when the table is not exactly what `Layout.table` writes for the same fields.
    """
    layout = read_layout(payload)
    if len(payload) != layout.size:
        raise Rejected("size", f"{len(payload)} bytes instead of {layout.size}")
    return layout.views(payload)


def read_layout(payload: memoryview) -> Layout:
    """Read a payload's table. There is one valid table for given fields, so it is read, written
    again and compared: offsets, padding and reserved bytes need no rules of their own."""
    if len(payload) < _TABLE.size:
        raise Rejected("table", f"{len(payload)} bytes")
    count, _ = _TABLE.unpack_from(payload)
    if not 0 < count <= MAX_FIELDS or len(payload) < _TABLE.size + count * _ENTRY.size:
        raise Rejected("table", f"{count} fields in {len(payload)} bytes")
    layout = _layout_in(bytes(payload[: _aligned(_TABLE.size + count * _ENTRY.size)]))
    if len(payload) < layout.size:
        raise Rejected(
            "table", f"the table describes {layout.size} bytes, the payload has {len(payload)}"
        )
    return layout


@lru_cache(maxsize=KNOWN_LAYOUTS)
def _layout_in(table: bytes) -> Layout:
    count, _ = _TABLE.unpack_from(table)
    layout = Layout(tuple(_read_entries(table, count)))
    if layout.table != table:
        raise Rejected("table", "offsets, sizes or padding differ from the specification")
    return layout


def _read_entries(payload: bytes, count: int) -> Iterable[Field]:
    for index in range(count):
        name, code, ndim, _, _, _, *shape = _ENTRY.unpack_from(
            payload, _TABLE.size + index * _ENTRY.size
        )
        if not 1 <= code <= len(DTYPES) or ndim > MAX_DIMENSIONS:
            raise Rejected("table", f"dtype code {code} or {ndim} dimensions")
        try:
            text = name.rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError as error:
            raise Rejected("table", repr(name)) from error
        yield Field(text, DTYPES[code - 1], tuple(shape[:ndim]))
