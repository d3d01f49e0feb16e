"""What rollouts, buffer and learner agree on: how segments look and how they are used.

Rollouts say it in HELLO; the buffer hands it to the learner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from rljob.envs.spaces import Spaces
from rljob.errors import InputError
from rljob.spec.experience import Field, OnPolicy, Replay
from rljob.wire.arrays import DTYPES, Layout
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Rejected

EPISODE_BYTES = 16
"""One episode record behind a segment's arrays: float64 return, float64 length."""
ACTOR_WINDOW = 4
"""Segments that one rollout may have been granted and not delivered."""
REQUIRED = {
    "reward": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "valid": "bool",
}
CORE = "core"
"""The memory of the acting network before the first row of a segment, `[1, N, size]`."""
RESERVED = frozenset({"next_observation", "key", "probability", "stored"})
"""Names that sampling gives to arrays of its own."""


@dataclass(frozen=True)
class ExperienceFormat:
    """One job's experience; all its rollouts say the same.

    Attributes:
        layout: of one segment's payload.
        length, envs: `T` and `N`.
        spaces: the environment's, as JSON, handed on to the learner.
    """

    layout: Layout
    data: OnPolicy | Replay
    spaces: dict[str, Any]

    @property
    def length(self) -> int:
        return self._field("reward").shape[0]

    @property
    def envs(self) -> int:
        return self._field("reward").shape[1]

    @property
    def steps(self) -> int:
        """Environment steps in one segment, those that only reset included."""
        return self.length * self.envs

    def segments_per_batch(self, otherwise: int) -> int:
        """Deliveries to the learner that one policy version is made of.

        Args:
            otherwise: segments in a batch where the algorithm leaves it open.
        """
        if isinstance(self.data, Replay):
            return 1
        return self.data.segments_per_batch or otherwise

    def _field(self, name: str) -> Field:
        return next(field for field in self.layout.fields if field.name == name)

    def to_json(self) -> dict[str, Any]:
        values = dict(vars(self.data))
        # The layout tells it.
        del values["segment_length"]
        if isinstance(self.data, OnPolicy):
            values["segments_per_batch"] = self.data.segments_per_batch or 0
        kind = "on-policy" if isinstance(self.data, OnPolicy) else "replay"
        return {
            "layout": self.layout.to_json(),
            "data": {"kind": kind, **values},
            "spaces": self.spaces,
        }

    @classmethod
    def of(
        cls,
        data: OnPolicy | Replay,
        fields: Sequence[Field],
        envs: int,
        spaces: Spaces,
        core_size: int = 0,
    ) -> ExperienceFormat:
        """The format of a job's segments.

        Args:
            data: how the algorithm uses experience.
            fields: what the algorithm adds to each step.
            envs: environments of one rollout.
            core_size: numbers that the acting network remembers of each environment.

        Raises:
            InputError: one segment is larger than a message may be.
        """
        length = data.segment_length
        observation, action = spaces.observation, spaces.action
        arrays = [
            Field("observation", observation.dtype.name, (length + 1, envs, *observation.shape)),
            Field("action", action.dtype.name, (length, envs, *action.shape)),
            *(Field(name, dtype, (length, envs)) for name, dtype in REQUIRED.items()),
            *(Field(each.name, each.dtype, (length, envs, *each.shape)) for each in fields),
        ]
        if core_size:
            arrays.append(Field(CORE, "float32", (1, envs, core_size)))
        try:
            layout = Layout(tuple(arrays))
            _check_size(layout, length * envs)
        except Rejected as error:
            raise InputError(
                f"{envs} environments and {length} steps make a segment that is too large to send: "
                f"{error.detail}; lower one of them",
                path="rollout.envsPerReplica",
            ) from error
        return cls(layout, data, spaces.to_json())

    @classmethod
    def from_json(cls, value: Any) -> ExperienceFormat:
        """Raises Rejected for anything that `to_json` would not have made."""
        if not isinstance(value, dict):
            raise Rejected("json", "a plan must be an object")
        spaces, data = value.get("spaces"), value.get("data")
        if not isinstance(spaces, dict) or not isinstance(data, dict):
            raise Rejected("json", "spaces and data must be objects")
        layout = Layout.from_json(value.get("layout"))
        length = _check_layout(layout)
        try:
            known = Spaces.from_json(spaces)
        except (ValueError, InputError) as error:
            raise Rejected("json", f"spaces: {error}") from error
        for field in layout.fields:
            space = {"observation": known.observation, "action": known.action}.get(field.name)
            if space is not None and field.shape[2:] != space.shape:
                raise Rejected("layout", f"{field.name} has shape {field.shape}, its space {space}")
        return cls(layout, _data(dict(data), length), spaces)


def _data(value: dict[str, Any], length: int) -> OnPolicy | Replay:
    kind = value.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Rejected("json", f"data.kind {kind!r}")
    try:
        data = _KINDS[kind](segment_length=length, **value)
    except TypeError as error:
        raise Rejected("json", f"data: {error}") from error
    for name, number in vars(data).items():
        allowed, least = _NUMBERS.get(name, ((int,), 1))
        if type(number) not in allowed or not least <= number < 2**31:
            raise Rejected("json", f"data.{name} is {str(number)[:80]}")
    return (
        replace(data, segments_per_batch=data.segments_per_batch or None)
        if isinstance(data, OnPolicy)
        else data
    )


_KINDS: dict[str, type[OnPolicy | Replay]] = {"on-policy": OnPolicy, "replay": Replay}
_NUMBERS: dict[str, tuple[tuple[type, ...], float]] = {
    "segments_per_batch": ((int,), 0),
    "samples_per_insert": ((int, float), 1e-9),
    "priority_exponent": ((int, float), 0),
}
"""Types and least value of what is not a count."""


_INTEGERS = tuple(name for name in DTYPES if "int" in name)


def _check_size(layout: Layout, steps: int) -> None:
    """Raises Rejected where a segment and the records of its episodes do not fit into a message."""
    most = layout.size + steps * EPISODE_BYTES
    if most > MAX_PAYLOAD_BYTES:
        raise Rejected("table", f"{most} bytes exceed {MAX_PAYLOAD_BYTES}")


def _check_layout(layout: Layout) -> int:
    """The segments' length; raises Rejected where the layout is none of segments."""
    fields = {field.name: field for field in layout.fields}
    missing = {"observation", "action", *REQUIRED} - fields.keys()
    if missing:
        raise Rejected("layout", f"{', '.join(sorted(missing))} missing")
    steps = fields["reward"].shape
    if len(steps) != 2 or not all(steps):
        raise Rejected("layout", f"reward has shape {steps}")
    next_row = fields.get("next_row")
    if next_row is not None and (next_row.shape != steps or next_row.dtype not in _INTEGERS):
        raise Rejected("layout", f"next_row has shape {next_row.shape}, dtype {next_row.dtype}")
    if RESERVED & fields.keys():
        raise Rejected("layout", f"{', '.join(sorted(RESERVED & fields.keys()))} is reserved")
    _check_size(layout, math.prod(steps))
    for field in layout.fields:
        rows = {"observation": steps[0] + 1, CORE: 1}.get(field.name, steps[0])
        if field.shape[:2] != (rows, steps[1]):
            raise Rejected("layout", f"{field.name} has shape {field.shape}")
        if field.dtype != REQUIRED.get(field.name, field.dtype):
            raise Rejected("layout", f"{field.name} has dtype {field.dtype}")
    return steps[0]
