"""Judges a run by what its processes traced: nothing acknowledged was lost, nothing stored twice.

The lines are those of `rljob.process.trace`: `EVENT ACTOR EPOCH SEQ`, in one file for each life of a process.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

Origin = tuple[int, int, int]
_LINE = re.compile(r"(acked|stored|recovered|evicted|consumed) (\d+) (\d+) (\d+)")


@dataclass(frozen=True)
class Judgement:
    """What became of every segment.

    Attributes:
        operations: lines that were read.
        missing: acknowledged and not stored: lost.
        stored_twice: stored more often than once.
        consumed_twice: trained on more often than once by one life of a learner. (What a killed learner
            trained on after its last checkpoint, the next life trains on again: that is no fault.)
        invented: trained on or evicted, and never stored.
        unreadable: lines that are none; a killed process may leave its last one unfinished.
        least: operations below which nothing can be said.
    """

    operations: int
    missing: set[Origin] = field(default_factory=set)
    stored_twice: set[Origin] = field(default_factory=set)
    consumed_twice: set[Origin] = field(default_factory=set)
    invented: set[Origin] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    least: int = 1

    @property
    def verdict(self) -> str:
        """`valid`, `invalid`, or `unknown` when too little happened to say."""
        faults = (self.missing, self.stored_twice, self.consumed_twice, self.invented)
        if any(faults) or self.unreadable:
            return "invalid"
        return "valid" if self.operations >= self.least else "unknown"

    def __str__(self) -> str:
        parts = [f"{self.verdict} after {self.operations} operations (at least {self.least})"]
        for name in ("missing", "stored_twice", "consumed_twice", "invented"):
            found = sorted(getattr(self, name))
            if found:
                parts.append(f"{name}: {len(found)}, the first {found[:5]}")
        if self.unreadable:
            parts.append(f"unreadable: {self.unreadable[:5]}")
        return "; ".join(parts)


def judge(folder: Path, least: int) -> Judgement:
    """Read all traces in a folder.

    Args:
        least: acknowledged and consumed segments, together, for a verdict.
    """
    events: dict[str, Counter[Origin]] = {
        name: Counter() for name in ("acked", "stored", "recovered", "evicted", "consumed")
    }
    consumed_twice: set[Origin] = set()
    unreadable: list[str] = []
    for path in sorted(folder.glob("*.trace")):
        mine: Counter[Origin] = Counter()
        for line in path.read_text(encoding="ascii").splitlines():
            found = _LINE.fullmatch(line)
            if found is None:
                unreadable.append(f"{path.name}: {line!r}")
                continue
            origin = int(found[2]), int(found[3]), int(found[4])
            events[found[1]][origin] += 1
            if found[1] == "consumed":
                mine[origin] += 1
        consumed_twice |= {origin for origin, count in mine.items() if count > 1}
    stored = events["stored"].keys() | events["recovered"].keys()
    return Judgement(
        operations=events["acked"].total() + events["consumed"].total(),
        missing=events["acked"].keys() - stored,
        stored_twice={origin for origin, count in events["stored"].items() if count > 1},
        consumed_twice=consumed_twice,
        invented=(events["consumed"].keys() | events["evicted"].keys()) - stored,
        unreadable=unreadable,
        least=least,
    )


def vanished(folder: Path, held: int) -> list[Origin]:
    """Segments of an on-policy job that were stored and then neither trained on nor evicted.

    Args:
        held: how many the buffer may still have had when it was ended: the last that were stored.
    """
    stored: list[Origin] = []
    settled: set[Origin] = set()
    # One life of the buffer ends before the next begins, so their last lines order them.
    for path in sorted(folder.glob("*.trace"), key=lambda path: path.stat().st_mtime_ns):
        for line in path.read_text(encoding="ascii").splitlines():
            found = _LINE.fullmatch(line)
            if found is None:
                continue
            origin = int(found[2]), int(found[3]), int(found[4])
            if found[1] in ("stored", "recovered"):
                stored.append(origin)
            elif found[1] in ("consumed", "evicted"):
                settled.add(origin)
    return [origin for origin in stored[: max(0, len(stored) - held)] if origin not in settled]
