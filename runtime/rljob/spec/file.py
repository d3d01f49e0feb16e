"""Origin of a job: its file, the lines of its fields, and the `--set` overrides."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rljob.errors import InputError
from rljob.spec import yamltext

MAX_BYTES = 1 << 20
"""Largest RLJob file, in bytes; an API server takes little more."""

_OUTSIDE = ("apiVersion", "kind", "metadata", "spec")


class JobSource:
    """Where each field of a job was written: a line of a file, or an override.

    Paths are dotted and start below `spec`, as in `rollout.replicas`; `metadata.name` and the
    other fields outside `spec` keep their full path.
    """

    def __init__(self, file: str = "", lines: Mapping[str, int] | None = None) -> None:
        self.file = file
        self._lines = {below_spec(path): line for path, line in (lines or {}).items()}
        self._overrides: dict[str, str] = {}

    # Where a job was written makes no difference to what it is: jobs compare by their fields.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobSource)

    def __hash__(self) -> int:
        return 0

    def where(self, path: str) -> tuple[str, int | None]:
        """File (or `--set …`) and 1-based line of a field, else of the nearest section above it."""
        outside = path.partition(".")[0] in _OUTSIDE
        while path:
            if path in self._overrides:
                return self._overrides[path], None
            if path in self._lines:
                return self.file, self._lines[path]
            for below, text in self._overrides.items():
                if _within(below, path):
                    return text, None
            path = path.rpartition(".")[0]
        return self.file, self._lines.get("" if outside else "spec")

    def line(self, path: str) -> int | None:
        """1-based line of the field in its file; None when an override set it or no file is known."""
        return self.where(path)[1]

    def override(self, path: str, text: str) -> None:
        """Note that `text`, as in `--set path=value`, replaced everything at and below `path`."""
        self._lines = {key: line for key, line in self._lines.items() if not _within(key, path)}
        self._overrides = {
            key: old for key, old in self._overrides.items() if not _within(key, path)
        }
        self._overrides[path] = text


def below_spec(path: str) -> str:
    """The path as messages show it: without the leading `spec.`."""
    return path.removeprefix("spec.")


def read(path: str | Path) -> str:
    """Text of a file; InputError when it is missing, unreadable, not text, or above 1 MiB."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError("no such file", file=name) from None
    except IsADirectoryError:
        raise InputError("is a directory; give the YAML file of an RLJob", file=name) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read: {reason}", file=name) from None
    if len(data) > MAX_BYTES:
        raise InputError("is larger than 1 MiB, the most that an RLJob may have", file=name)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", file=name) from None


def parse_mapping(text: str, file: str = "") -> tuple[dict[str, Any], JobSource]:
    """The one mapping that the YAML text holds, and where its fields are."""
    value, lines = yamltext.load(text, file)
    if value is None:
        raise InputError("is empty; an RLJob has at least metadata and spec", file=file)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "one plain value"
        raise InputError(f"holds {kind}; an RLJob is a mapping with metadata and spec", file=file)
    return value, JobSource(file, lines)


def checked_overrides(overrides: Iterable[str]) -> tuple[str, ...]:
    """The overrides that Python code gave.

    Raises:
        InputError: they are no list of texts; a single text is no list.
    """
    given: object = overrides
    if isinstance(given, str):
        raise InputError(f"overrides: {given!r:.80} is one text; write a list: [{given!r:.80}]")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        kind = type(given).__name__
        raise InputError(f"overrides: expected a list like ['stop.steps=1000'], got a {kind}")
    found = tuple(overrides)
    for each in found:
        value: object = each
        if not isinstance(value, str):
            raise InputError(f"overrides: {value!r:.80} is no text like 'stop.steps=1000'")
    return found


def apply_overrides(
    raw: Mapping[str, Any], source: JobSource, overrides: Sequence[str]
) -> dict[str, Any]:
    """A copy of `raw` with each `path=value` set, and noted in `source`.

    The path starts below `spec`, or with `metadata`; the value is YAML, and `null` restores the
    default. Whether such a field exists is found out when the job is validated.
    """
    result: dict[str, Any] = copy.deepcopy(dict(raw))
    for override in checked_overrides(overrides):
        label = f"--set {override}"
        path, equals, text = override.partition("=")
        path = below_spec(path.strip())
        keys = path.split(".")
        if not equals or not all(keys) or path == "spec":
            raise InputError("write PATH=VALUE, as in --set rollout.replicas=4", file=label)
        value, _ = yamltext.load(text, label)
        *sections, last = keys if keys[0] == "metadata" else ["spec", *keys]
        at = result
        for section in sections:
            below = at.get(section)
            if below is None:
                below = at[section] = {}
            if not isinstance(below, dict):
                message = f"{section} is {below!r} and has no fields below it"
                raise InputError(message, path=path, file=label)
            at = below
        at[last] = value
        source.override(path, label)
    return result


def _within(key: str, path: str) -> bool:
    return key == path or key.startswith(path + ".")
