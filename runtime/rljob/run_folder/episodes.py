"""`episodes.csv`: one row for each training episode.

A part that has `PART_BYTES` becomes `episodes.N.csv`, with N from 0; the newest `PARTS` of those are kept.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from rljob.run_folder.names import EPISODES

COLUMNS = ("steps", "policy_version", "rollout", "return", "length", "discounted_return")
INFO = "info."
"""Before the keys of `environment.info` in names of columns."""
PART_BYTES = 2**28
PARTS = 3
READ_ROWS = 2**16
_PART = re.compile(r"episodes\.([0-9]{1,9})\.csv")
_UNSAFE = re.compile(r"[^-\w.]")
_KINDS = {"steps": "i8", "policy_version": "i8", "length": "i8"}
_LOG = logging.getLogger("rljob")


@dataclass(frozen=True)
class EpisodePosition:
    """The end of the rows: which part is written, counted over all that there ever were, and its size."""

    part: int = 0
    size: int = 0


class EpisodeTable:
    """Appends rows. Rows that cannot be written are dropped and told once, and writing goes on by itself.

    Args:
        folder: the run's folder.
        info: keys of `environment.info`.
        position: where a checkpoint was; rows after it are removed, because what they tell of is trained again. None
            removes all.

    Raises:
        OSError: the files cannot be changed.
    """

    def __init__(self, folder: Path, info: Sequence[str], position: EpisodePosition | None) -> None:
        self._folder, self._path = folder, folder / EPISODES
        self._header = ",".join((*COLUMNS, *(INFO + key for key in info))) + "\n"
        self._row = "%d,%d,%s" + ",%.15g" * (3 + len(info)) + "\n"
        self._names: dict[str, str] = {}
        self._failing = self._torn = False
        self._file = -1
        self._size = 0
        self._go_back(position)
        self._open()
        if self._size and self._first_line() != self._header.encode():
            # The job was resumed with other keys.
            self._end_part()

    @property
    def position(self) -> EpisodePosition:
        return EpisodePosition(self._part, self._size)

    def append(
        self, steps: np.ndarray, versions: np.ndarray, rollouts: np.ndarray, records: np.ndarray
    ) -> None:
        """Write a row for each episode.

        Args:
            steps, versions, rollouts: int64 `[E]`, int64 `[E]` and text `[E]`; steps are those of the run by then.
            records: float64 `[E, 3 + keys]`: return, length, discounted return, and the numbers of `info`.
        """
        if not len(records):
            return
        columns = (each.tolist() for each in (steps, versions, rollouts, records))
        lines = [
            self._row % (s, v, self._clean(name), *row)
            for s, v, name, row in zip(*columns, strict=True)
        ]
        self._write(lines)
        if self._size >= PART_BYTES:
            self._end_part()

    def close(self) -> None:
        """Release the file; may be called more than once."""
        file, self._file = self._file, -1
        if file >= 0:
            # What it says of rows comes too late to write them again.
            with suppress(OSError):
                os.close(file)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o644)
        self._size = os.fstat(self._file).st_size

    def _go_back(self, position: EpisodePosition | None) -> None:
        back = position or EpisodePosition()
        parts = _parts(self._folder)
        if back.part in parts:
            parts.pop(back.part).replace(self._path)
        elif position is None:
            self._path.unlink(missing_ok=True)
        for number in [each for each in parts if each >= back.part]:
            parts.pop(number).unlink()
        self._part = back.part
        if self._path.exists():
            whole = min(back.size, _whole_lines(self._path))
            os.truncate(self._path, whole)

    def _first_line(self) -> bytes:
        with self._path.open("rb") as file:
            return file.readline()

    def _write(self, lines: Sequence[str]) -> None:
        try:
            if self._file < 0:
                self._open()
            self._mend()
            data = "".join([*([] if self._size else [self._header]), *lines]).encode()
            self._torn = True
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._mend()
            if not self._failing:
                _LOG.warning("%s cannot be written: %s; rows are lost", self._path, error.strerror)
            self._failing = True
        else:
            self._failing = self._torn = False
            self._size += len(data)

    def _mend(self) -> None:
        """Remove what a failed write has left of rows."""
        if self._torn and self._file >= 0:
            os.ftruncate(self._file, self._size)
            self._torn = False

    def _end_part(self) -> None:
        """Begin the next part. If that cannot be opened now, the next row tries it again."""
        self.close()
        with suppress(OSError):
            self._path.replace(self._folder / f"episodes.{self._part}.csv")
            self._part += 1
            self._size = 0
            for number, path in _parts(self._folder).items():
                if number < self._part - PARTS:
                    path.unlink()
        with suppress(OSError):
            self._open()

    def _clean(self, name: str) -> str:
        found = self._names.get(name)
        if found is None:
            if len(self._names) >= READ_ROWS:
                self._names.clear()
            found = self._names[name] = _UNSAFE.sub("_", name) or "_"
        return found


def read_episodes(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a run, as columns `[rows]` of at most `READ_ROWS` at a time: `rollout` as text, `steps`,
    `policy_version` and `length` int64, others float64.

    Raises:
        ValueError: a file is damaged.
    """
    for path in (*(path for _, path in sorted(_parts(folder).items())), folder / EPISODES):
        if not path.exists():
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            names = file.readline().rstrip("\n").split(",")
            while lines := list(islice(file, READ_ROWS)):
                if not lines[-1].endswith("\n"):
                    # It is being written.
                    lines.pop()
                if lines:
                    yield _columns(names, lines, path)


def _columns(names: list[str], lines: list[str], path: Path) -> dict[str, np.ndarray]:
    # A table of numbers is read many times as fast as one with text.
    text = names.index("rollout") if "rollout" in names else len(names)
    numbers = [number for number in range(len(names)) if number != text]
    try:
        rows = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2, usecols=numbers)
        rollouts = [line.split(",", text + 1)[text] for line in lines] if text < len(names) else []
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    found = dict(zip((names[number] for number in numbers), rows.T, strict=True))
    return {
        name: np.array(rollouts)
        if name == "rollout"
        else found[name].astype(_KINDS.get(name, "f8"))
        for name in names
    }


def _parts(folder: Path) -> dict[int, Path]:
    found = ((_PART.fullmatch(path.name), path) for path in folder.glob("episodes.*.csv"))
    return {int(match[1]): path for match, path in found if match}


def _whole_lines(path: Path) -> int:
    """Bytes up to the last line break."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 4096)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                return start + at + 1
            end = start
    return 0
