"""The state of a learner: what its attributes hold, as arrays and JSON values.

Saved are torch modules and optimizers (`state_dict`), rljob's own objects with state (`state`), random
generators of numpy and torch, tensors and arrays that can be written, and lists and dicts of these.
Everything else is left out: numbers and texts are settings, which a resumed run may change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rljob.envs.spaces import Arrays

ARRAY, TENSOR, ITEMS = "array", "tensor", "items"
"""Keys of the JSON objects that stand for an array, a tensor, and a dict whose keys are not all text."""


@dataclass
class LearnerState:
    """All that a learner needs to go on as if never stopped.

    Attributes:
        arrays: by name.
        values: JSON values, one for each attribute; they refer to the arrays.
    """

    arrays: Arrays
    values: dict[str, Any]


def save(attributes: Mapping[str, Any]) -> LearnerState:
    """Copies of what these attributes hold."""
    state = LearnerState({}, {})
    for name, part in _parts(attributes):
        state.values[name] = _pack(name, _read(part), state.arrays)
    return state


def load(attributes: Mapping[str, Any], state: LearnerState) -> None:
    """Write what `save` returned into the objects that these attributes hold.

    Raises:
        ValueError: the state is that of other attributes, or of other shapes.
    """
    parts = dict(_parts(attributes))
    if parts.keys() != state.values.keys():
        missing = sorted(parts.keys() - state.values.keys())
        unknown = sorted(state.values.keys() - parts.keys())
        raise ValueError(f"the learner's state lacks {missing} and has {unknown} in addition")
    for name, part in parts.items():
        _write(name, part, _unpack(state.values[name], state.arrays))


def _parts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The objects with state, each once, by dotted name."""
    seen: set[int] = set()

    def walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if id(value) in seen:
            return
        seen.add(id(value))
        if _has_state(value):
            yield name, value
        elif isinstance(value, Mapping):
            for key, each in value.items():
                yield from walk(f"{name}.{key}", each)
        elif isinstance(value, list | tuple):
            for index, each in enumerate(value):
                yield from walk(f"{name}.{index}", each)

    for name, value in attributes.items():
        yield from walk(name.lstrip("_"), value)


def _torch() -> Any:
    """Torch where something has imported it: without, nothing can be an object of it."""
    torch = sys.modules.get("torch")
    # While another thread imports it, it is there without its content.
    return torch if hasattr(torch, "Tensor") and hasattr(torch, "from_numpy") else None


def _is_tensor(value: Any) -> bool:
    torch = _torch()
    return torch is not None and isinstance(value, torch.Tensor)


def _has_state(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.flags.writeable
    if isinstance(value, type):
        return False
    pairs = (("state_dict", "load_state_dict"), ("state", "load_state"), ("get_state", "set_state"))
    return (
        _is_tensor(value)
        or isinstance(value, np.random.Generator)
        or any(callable(getattr(value, a, None)) and hasattr(value, b) for a, b in pairs)
    )


def _read(part: Any) -> Any:
    if isinstance(part, np.random.Generator):
        return part.bit_generator.state
    for name in ("state_dict", "state", "get_state"):
        if callable(read := getattr(part, name, None)):
            return read()
    return part


def _write(name: str, part: Any, value: Any) -> None:
    if isinstance(part, np.ndarray) or _is_tensor(part):
        if part.shape != value.shape:
            raise ValueError(f"{name} has the shape {list(value.shape)}, not {list(part.shape)}")
        if isinstance(part, np.ndarray):
            part[...] = value
        else:
            part.data.copy_(value)
    elif isinstance(part, np.random.Generator):
        part.bit_generator.state = value
    else:
        writers = ("load_state_dict", "load_state", "set_state")
        next(getattr(part, name) for name in writers if hasattr(part, name))(value)


def _pack(name: str, value: Any, arrays: Arrays) -> Any:
    """A JSON value; arrays and tensors go to `arrays`."""
    if _is_tensor(value):
        arrays[name] = value.detach().cpu().numpy().copy()
        return {TENSOR: name}
    if isinstance(value, np.ndarray):
        arrays[name] = value.copy()
        return {ARRAY: name}
    if isinstance(value, Mapping):
        items = [[key, _pack(f"{name}.{key}", each, arrays)] for key, each in value.items()]
        return {ITEMS: items}
    if isinstance(value, list | tuple):
        return [_pack(f"{name}.{index}", each, arrays) for index, each in enumerate(value)]
    return value.item() if isinstance(value, np.generic) else value


def _unpack(value: Any, arrays: Arrays) -> Any:
    if isinstance(value, list):
        return [_unpack(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if ITEMS in value:
        return {key: _unpack(each, arrays) for key, each in value[ITEMS]}
    if ARRAY in value:
        return arrays[value[ARRAY]].copy()
    return _torch().from_numpy(arrays[value[TENSOR]].copy())
