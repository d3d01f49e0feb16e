"""What rollouts, buffer and learner agree on: how segments look and how they are used.

Rollouts say it in HELLO; the buffer hands it to the learner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from rljob.envs.spaces import Space, Spaces
from rljob.errors import InputError
from rljob.spec.experience import Field, OnPolicy, Replay, Weighting
from rljob.wire.arrays import DTYPES, MAX_DIMENSIONS, Layout
from rljob.wire.messages import MAX_PAYLOAD_BYTES, Rejected

EPISODE = ("return", "length", "discounted_return")
"""First numbers of each episode record behind a segment's arrays, float64; those of `info` follow."""
MOST_INFO, LONGEST_INFO = 16, 64
ACTOR_WINDOW = 4
"""Segments that one rollout may have been granted and not delivered."""
REQUIRED = {
    "reward": "float32",
    "terminated": "bool",
    "truncated": "bool",
    "valid": "bool",
}
RESERVED = frozenset(
    {"next_observation", "next_mask", "next_state", "key", "probability", "stored"}
)
"""Names that sampling gives to arrays of its own."""
MASK = "mask"
"""Which actions are allowed after each observation: bool `[T + 1, N, K]`, where the environments tell."""
STATE = "state"
"""Of the whole environment at each observation: `[T + 1, N / agents, ...]`, where the environments tell it."""
CORE = "core"
"""Memory of the acting network before some rows of a segment: float32 `[rows, N, size]`, see `core_rows`."""
PRIORITY = "priority"
"""Priorities of a segment's rows when they are stored: float32 `[T, N]`."""


@dataclass(frozen=True)
class ExperienceFormat:
    """One job's experience; all its rollouts say the same.

    Attributes:
        layout: of one segment's payload.
        length, envs: `T` and `N`, where each agent of an environment counts.
        spaces: the environment's, as JSON, handed on to the learner.
        info: numbers of `info` at the end of each record of an episode, by their keys.
    """

    layout: Layout
    data: OnPolicy | Replay
    spaces: dict[str, Any]
    info: tuple[str, ...] = ()

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

    @property
    def episode_numbers(self) -> int:
        """Numbers in one episode record."""
        return len(EPISODE) + len(self.info)

    @property
    def records_bytes(self) -> int:
        """Bytes of the most episode records that a segment can have."""
        return 8 * self.steps * self.episode_numbers

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
            "info": list(self.info),
        }

    @classmethod
    def of(
        cls,
        data: OnPolicy | Replay,
        fields: Sequence[Field],
        envs: int,
        spaces: Spaces,
        core_size: int = 0,
        info: Sequence[str] = (),
    ) -> ExperienceFormat:
        """The format of a job's segments.

        Args:
            data: how the algorithm uses experience.
            fields: what the algorithm adds to each step.
            envs: environments of one rollout, each with `spaces.agents` columns.
            core_size: numbers that the acting network remembers of each environment; 0 adds no `core`.
            info: keys of `environment.info`.

        Raises:
            InputError: the algorithm asks for what cannot be, or one segment is larger than a message may be.
        """
        if found := _contradiction(data) or _wrong_agents(data, spaces):
            raise InputError(f"{found}; change the algorithm's `data`", path="algorithm")
        for each in fields:
            if each.name in {"observation", "action", MASK, STATE, CORE, *REQUIRED, *RESERVED}:
                text = f"field {each.name!r} is not allowed; rljob has an array of this name"
                raise InputError(text, path="algorithm")
        length, games, envs = data.segment_length, envs, envs * spaces.agents
        observation, action, choices = spaces.observation, spaces.action, spaces.mask_size
        state = spaces.state
        arrays = (
            Field("observation", observation.dtype.name, (length + 1, envs, *observation.shape)),
            *([Field(MASK, "bool", (length + 1, envs, choices))] if choices else []),
            *([] if state is None else [_state(state, length, games)]),
            Field("action", action.dtype.name, (length, envs, *action.shape)),
            *(Field(name, dtype, (length, envs)) for name, dtype in REQUIRED.items()),
            *(Field(each.name, each.dtype, (length, envs, *each.shape)) for each in fields),
            *([Field(CORE, "float32", (core_rows(data), envs, core_size))] if core_size else []),
        )
        try:
            layout = Layout(arrays)
            _check_size(layout, length * envs, len(info))
        except Rejected as error:
            raise InputError(
                f"{games} environments and {length} steps make a segment that is too large to send: "
                f"{error.detail}; lower one of them",
                path="rollout.envsPerReplica",
            ) from error
        try:
            _check_layout(layout, data, len(info))
        except Rejected as error:
            raise InputError(error.detail, path="algorithm") from error
        return cls(layout, data, spaces.to_json(), tuple(info))

    @classmethod
    def from_json(cls, value: Any) -> ExperienceFormat:
        """Raises Rejected for anything that `to_json` would not have made."""
        if not isinstance(value, dict):
            raise Rejected("json", "a plan must be an object")
        spaces, data = value.get("spaces"), value.get("data")
        if not isinstance(spaces, dict) or not isinstance(data, dict):
            raise Rejected("json", "spaces and data must be objects")
        layout = Layout.from_json(value.get("layout"))
        use = _data(dict(data), _length(layout))
        info = _info(value.get("info", []))
        _check_layout(layout, use, len(info))
        try:
            known = Spaces.from_json(spaces)
        except (ValueError, InputError) as error:
            raise Rejected("json", f"spaces: {error}") from error
        for field in layout.fields:
            space = {"observation": known.observation, "action": known.action}.get(field.name)
            if space is not None and field.shape[2:] != space.shape:
                raise Rejected("layout", f"{field.name} has shape {field.shape}, its space {space}")
        masks = [field.shape[2:] for field in layout.fields if field.name == MASK]
        if masks != ([(known.mask_size,)] if known.masked else []):
            raise Rejected("layout", f"masks of the shapes {masks}, spaces with {known.mask_size}")
        _check_agents(layout, use, known)
        return cls(layout, use, spaces, info)


def _data(value: dict[str, Any], length: int) -> OnPolicy | Replay:
    kind = value.pop("kind", None)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Rejected("json", f"data.kind {kind!r}")
    try:
        data = _KINDS[kind](segment_length=length, **value)
    except (TypeError, ValueError) as error:
        raise Rejected("json", f"data: {error}") from error
    for name, number in vars(data).items():
        allowed, least = _NUMBERS.get(name, ((int,), 1))
        if name in _WORDS:
            fits = number in _WORDS[name]
        else:
            fits = type(number) in allowed and least <= number < 2**31
        if not fits:
            raise Rejected("json", f"data.{name} is {str(number)[:80]}")
    if found := _contradiction(data):
        raise Rejected("json", f"data: {found}")
    return (
        replace(data, segments_per_batch=data.segments_per_batch or None)
        if isinstance(data, OnPolicy)
        else data
    )


def _info(value: Any) -> tuple[str, ...]:
    names: list[Any] = value if isinstance(value, list) else [None]
    if len(names) > MOST_INFO or not all(type(name) is str for name in names):
        raise Rejected("json", f"info: expected at most {MOST_INFO} texts")
    if len(set(names)) < len(names) or not all(0 < len(name) <= LONGEST_INFO for name in names):
        raise Rejected("json", f"info: expected different texts of 1 to {LONGEST_INFO} characters")
    return tuple(names)


def core_rows(data: OnPolicy | Replay) -> int:
    """Rows of a segment at which `core` is kept: those where what is trained on may begin."""
    return data.segment_length // data.period if isinstance(data, Replay) else 1


def _contradiction(data: OnPolicy | Replay) -> str:
    """Which of its values do not fit each other; empty if all do."""
    if isinstance(data, OnPolicy):
        return ""
    if data.segment_length % data.period:
        return f"period {data.period} does not divide the {data.segment_length} steps of a segment"
    if data.length == 1 and (data.period, data.start) != (1, "row"):
        return f"period {data.period} and start {data.start!r} need sequences, and length is 1"
    if data.start == "episode" and data.period != 1:
        return f"period is {data.period}, but an episode may begin at any row; with start 'episode' it is 1"
    return ""


def _state(space: Space, length: int, games: int) -> Field:
    return Field(STATE, space.dtype.name, (length + 1, games, *space.shape))


def _wrong_agents(data: OnPolicy | Replay, spaces: Spaces) -> str:
    """Why agents cannot be drawn together like this; empty if they can."""
    if isinstance(data, OnPolicy) or data.agents in (1, spaces.agents):
        return ""
    return (
        f"agents is {data.agents}, and an environment has {spaces.agents}; with agents=spaces.agents those of an "
        "environment are drawn together, with 1 each by itself"
    )


def _check_agents(layout: Layout, data: OnPolicy | Replay, spaces: Spaces) -> None:
    """Raises Rejected where the columns of a layout are not those of whole environments."""
    if found := _wrong_agents(data, spaces):
        raise Rejected("json", f"data: {found}")
    length, columns = next(f.shape for f in layout.fields if f.name == "reward")
    if columns % spaces.agents:
        raise Rejected(
            "layout", f"{columns} columns are not those of whole environments of {spaces.agents}"
        )
    games = columns // spaces.agents
    expected = [] if spaces.state is None else [_state(spaces.state, length, games)]
    found_states = [field for field in layout.fields if field.name == STATE]
    if [each.shape for each in found_states] != [each.shape for each in expected]:
        raise Rejected("layout", f"state is {found_states}, its spaces tell {expected}")


_KINDS: dict[str, type[OnPolicy | Replay]] = {"on-policy": OnPolicy, "replay": Replay}
_NUMBERS: dict[str, tuple[tuple[type, ...], float]] = {
    "segments_per_batch": ((int,), 0),
    "samples_per_insert": ((int, float), 1e-9),
    "priority_exponent": ((int, float), 0),
}
"""Types and least value of what is not a count."""
_WORDS = {"start": ("row", "episode"), "weighting": get_args(Weighting)}

_DTYPES = {
    **{name: (dtype,) for name, dtype in REQUIRED.items()},
    "next_row": tuple(name for name in DTYPES if "int" in name),
    MASK: ("bool",),
    CORE: ("float32",),
    PRIORITY: ("float32",),
}
_DIMENSIONS = {**dict.fromkeys((*REQUIRED, "next_row", PRIORITY), 2), MASK: 3, CORE: 3}


def _check_size(layout: Layout, steps: int, info: int) -> None:
    """Raises Rejected where a segment and the records of its episodes do not fit into a message."""
    most = layout.size + steps * 8 * (len(EPISODE) + info)
    if most > MAX_PAYLOAD_BYTES:
        raise Rejected("table", f"{most} bytes exceed {MAX_PAYLOAD_BYTES}")


def _length(layout: Layout) -> int:
    """The segments' length; raises Rejected where the layout is none of segments."""
    shape = next((field.shape for field in layout.fields if field.name == "reward"), ())
    if len(shape) != 2 or not all(shape):
        raise Rejected("layout", f"reward has shape {shape}")
    return shape[0]


def _check_layout(layout: Layout, data: OnPolicy | Replay, info: int) -> None:
    """Raises Rejected where the layout is none of segments that are used like this."""
    fields = {field.name: field for field in layout.fields}
    missing = {"observation", "action", *REQUIRED} - fields.keys()
    if missing:
        raise Rejected("layout", f"{', '.join(sorted(missing))} missing")
    if RESERVED & fields.keys():
        raise Rejected("layout", f"{', '.join(sorted(RESERVED & fields.keys()))} is reserved")
    steps, sequences = fields["reward"].shape, isinstance(data, Replay) and data.length > 1
    _check_size(layout, math.prod(steps), info)
    rows = {"observation": steps[0] + 1, MASK: steps[0] + 1, CORE: core_rows(data)}
    for field in layout.fields:
        # The columns of a state are environments; see `_check_agents`.
        fits = field.shape[:2] == (rows.get(field.name, steps[0]), steps[1])
        if not fits and field.name != STATE:
            raise Rejected("layout", f"{field.name} has shape {field.shape}")
        if field.dtype not in _DTYPES.get(field.name, (field.dtype,)):
            raise Rejected("layout", f"{field.name} has dtype {field.dtype}")
        if field.name in _DIMENSIONS and len(field.shape) != _DIMENSIONS[field.name]:
            raise Rejected("layout", f"{field.name} has shape {field.shape}")
        if sequences and len(field.shape) >= MAX_DIMENSIONS:
            text = f"{field.name} has shape {field.shape}; batches of sequences have one dimension more"
            raise Rejected("layout", f"{text}, and {MAX_DIMENSIONS} is the most")
    if "next_row" in fields and isinstance(data, Replay) and data.agents > 1:
        raise Rejected("layout", "next_row is for single columns; agents of a group go on together")
    if sequences and "next_row" in fields:
        raise Rejected("layout", "next_row is for transitions; in a sequence the next row follows")
