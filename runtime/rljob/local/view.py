"""Shows a run while it goes on: a live area in a terminal, lines of text anywhere else."""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rljob.local.figures import span_text
from rljob.local.lines import plain_line, summary, to_ascii
from rljob.local.panel import STYLES, Line, State, header, panel, text
from rljob.spec import RLJob

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

PLAIN_EVERY = 3.0
"""Seconds between two lines of the plain view."""
REDRAWS_PER_SECOND = 4
EVALUATIONS = "evaluations.jsonl"
METRICS = "metrics.jsonl"
COUNTERS = ("seconds", "steps", "episodes", "updates", "policyVersion")
TAIL_BYTES = 4096
"""A line of evaluations.jsonl is a good deal shorter."""


class View(Protocol):
    """What a run tells about itself; calls come from one thread."""

    def started(self, job: RLJob, folder: Path) -> None:
        """The run begins, or goes on when `folder` has a history."""
        ...

    def progress(self, record: dict[str, Any], restarts: int, roles: dict[str, str]) -> None:
        """The newest line of `metrics.jsonl` (empty before the first), restarts of all roles so far,
        and the state of each role by name: `starting`, `running`, or what else there is to say."""
        ...

    def event(self, text: str) -> None:
        """Something worth a lasting line: a role died, a role is back."""
        ...

    def finished(self, result: dict[str, Any], folder: Path) -> None:
        """The run is over; `result` is that of `result.json`, with `message` where it failed."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; may be called more than once."""
        ...


def make_view(plain: bool) -> View:
    """The live view where stdout is a terminal that can show it, else the plain one."""
    out = sys.stdout
    able = out.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    if plain or not able or not _is_unicode(out):
        return PlainView(out)
    from rich.console import Console

    return LiveView(Console(file=out, highlight=False))


class _Watch:
    """What both views keep: the run's state, and what lies in its folder."""

    def __init__(self, job: RLJob, folder: Path) -> None:
        self.state = State(job, shown_path(folder))
        self._started = time.monotonic()
        self._evaluations = folder / EVALUATIONS
        self._seen = 0
        if (folder / METRICS).exists():
            with (folder / METRICS).open(encoding="utf-8") as file:
                for line in file:
                    self.state.history.add(_record(line))

    def update(self, record: Mapping[str, Any], restarts: int, roles: Mapping[str, str]) -> None:
        state = self.state
        if record:
            # A learner that goes on from a checkpoint repeats some of its way: that is no progress lost.
            held = {name: state.record[name] for name in COUNTERS if name in state.record}
            state.record = {**record, **{n: max(v, record.get(n, v)) for n, v in held.items()}}
            state.history.add(record)
        state.restarts, state.roles = restarts, dict(roles)
        self._read_evaluation()

    def end(self, result: Mapping[str, Any]) -> None:
        """The result is newer than the last record, and has the same names for the same things."""
        known = {name: result[name] for name in result if name in self.state.record}
        self.update({**self.state.record, **known}, self.state.restarts, {})
        self.state.ended = str(result.get("reason") or result.get("outcome", ""))

    def event(self, what: str) -> Line:
        age = span_text(time.monotonic() - self._started)
        return [(f"  {age:>7}  ", "dim"), (what, "")]

    def _read_evaluation(self) -> None:
        try:
            size = self._evaluations.stat().st_size
            if size == self._seen:
                return
            with self._evaluations.open("rb") as file:
                file.seek(max(0, size - TAIL_BYTES))
                whole, _, _ = file.read().rpartition(b"\n")
        except OSError:
            return
        self._seen = size
        newest = _record(whole.rpartition(b"\n")[2].decode())
        if newest:
            self.state.evaluation = newest


class PlainView:
    """A line of `key value` pairs every few seconds.

    Args:
        out: where to.
        clock: seconds, for the pace of the lines.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._ascii = not _is_unicode(out)
        self._next = 0.0
        self._watch: _Watch | None = None

    def started(self, job: RLJob, folder: Path) -> None:
        self._watch = _Watch(job, folder)
        for line in header(job, shown_path(folder), width=10_000):
            self._print(line)

    def progress(self, record: dict[str, Any], restarts: int, roles: dict[str, str]) -> None:
        assert self._watch is not None
        self._watch.update(record, restarts, roles)
        now = self._clock()
        if record and now >= self._next:
            self._next = now + PLAIN_EVERY
            self._print([(plain_line(self._watch.state), "")])

    def event(self, text: str) -> None:
        assert self._watch is not None
        self._print(self._watch.event(text))

    def finished(self, result: dict[str, Any], folder: Path) -> None:
        assert self._watch is not None
        self._watch.end(result)
        if self._watch.state.record:
            self._print([(plain_line(self._watch.state), "")])
        for line in summary(result, shown_path(folder), has_policy(folder)):
            self._print(line)

    def close(self) -> None:
        """Nothing is held."""

    def _print(self, line: Line) -> None:
        shown = to_ascii(text(line)) if self._ascii else text(line)
        print(shown, file=self._out, flush=True)


class LiveView:
    """A few lines at the bottom of the terminal that are drawn anew, events above them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._watch: _Watch | None = None

    def started(self, job: RLJob, folder: Path) -> None:
        from rich.live import Live

        self._watch = _Watch(job, folder)
        for line in header(job, shown_path(folder), self._console.width):
            self._print(line)
        self._live = Live(
            console=self._console,
            get_renderable=self._panel,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        )
        # A cursor that stays hidden outlives the process, whatever ended it.
        atexit.register(self.close)
        self._live.start(refresh=True)

    def progress(self, record: dict[str, Any], restarts: int, roles: dict[str, str]) -> None:
        assert self._watch is not None
        self._watch.update(record, restarts, roles)

    def event(self, text: str) -> None:
        assert self._watch is not None
        self._console.print(_styled(self._watch.event(text)))

    def finished(self, result: dict[str, Any], folder: Path) -> None:
        assert self._watch is not None
        self._watch.end(result)
        self.close()
        self._watch.state.now = time.time()
        width = self._console.width
        lines = panel(self._watch.state, width) if self._watch.state.record else []
        ending = summary(result, shown_path(folder), has_policy(folder), width)
        for line in [*lines, [], *ending]:
            self._print(line)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            atexit.unregister(self.close)

    def _panel(self) -> Text:
        from rich.text import Text

        assert self._watch is not None
        self._watch.state.now = time.time()
        lines = panel(self._watch.state, self._console.width)
        return Text("\n", no_wrap=True, overflow="crop").join([_styled(line) for line in lines])

    def _print(self, line: Line) -> None:
        # The terminal may break it, rich must not: paths and commands are copied.
        self._console.print(_styled(line), soft_wrap=True)


def _styled(line: Line) -> Text:
    from rich.text import Text

    return Text.assemble(*((part, STYLES[style]) for part, style in line))


def shown_path(folder: Path) -> str:
    """As short as it can be typed: from here when it lies below."""
    try:
        return str(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(folder)


def has_policy(folder: Path) -> bool:
    """Whether a checkpoint was saved in the run's folder."""
    return (folder / "checkpoints" / "latest").exists()


def _record(line: str) -> dict[str, Any]:
    """One line of JSON; empty for a line that was cut off."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "") == "utf8"
