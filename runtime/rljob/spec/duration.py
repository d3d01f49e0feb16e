"""A span of time as people write it in YAML: `90s`, `1h30m`, `500ms`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

from rljob.spec.cel import rule, rules

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART = r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|h|m|s)"
_LONGEST = 8760 * 3600
_ALLOWED = "write for example 90s, 10m, 1h30m or 500ms, up to 8760h; a bare whole number is seconds"


@dataclass(frozen=True, init=False)
class Duration:
    """A positive duration of at most a year.

    Args:
        value: text of numbers with the units `h`, `m`, `s`, `ms`, or a whole number of seconds.

    Attributes:
        text: as it was written; a bare number `30` becomes `30s`.
        seconds: its length in seconds; two durations of the same length are equal.

    Raises:
        ValueError: it is not a duration, is zero, or is longer than a year.
    """

    text: str = field(compare=False)
    seconds: float

    def __init__(self, value: str | int) -> None:
        text = value if isinstance(value, str) else f"{value}s"
        if not re.fullmatch(f"(?:{_PART})+", text):
            raise ValueError(f"{value!r} is not a duration; {_ALLOWED}")
        parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if not 0.0 < seconds <= _LONGEST:
            raise ValueError(f"{value!r} is not allowed; a duration above 0: {_ALLOWED}")
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "seconds", seconds)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        # What the API server checks; the pattern is applied to text only.
        return {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": f"^({_PART.replace('?:', '')})+$",
            **rules(
                rule(
                    f"type(self) == int ? self > 0 && self <= {_LONGEST} : "
                    "duration(self) > duration('0s') && duration(self) <= duration('8760h')",
                    f"is not allowed; a duration above 0: {_ALLOWED}",
                )
            ),
        }

    @classmethod
    def _validate(cls, value: Any) -> Duration:
        if isinstance(value, Duration):
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        try:
            if isinstance(value, bool) or not isinstance(value, str | int):
                raise ValueError(f"{value!r} is not a duration; {_ALLOWED}")
            return cls(value)
        except ValueError as error:
            raise PydanticCustomError("said", "{said}", {"said": str(error)}) from None
