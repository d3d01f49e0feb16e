"""Screens for a job in training: a live area in a terminal, else lines of text."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from rljob.show.view.lines import plain_line, to_ascii
from rljob.show.view.panel import STYLES, State, TextLine, header, panel, text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

PLAIN_EVERY = 3.0
"""Seconds between two lines of the plain screen."""
REDRAWS_PER_SECOND = 4
ENDLESS = 10_000
"""Width in columns of an output that is not a terminal."""


class Screen(Protocol):
    """Shows one state, which the caller updates; all calls are from one thread."""

    def open(self, state: State) -> None:
        """Show the header and start to show the state."""
        ...

    def moved(self) -> None:
        """The state has changed."""
        ...

    def say(self, line: TextLine) -> None:
        """Print a permanent line."""
        ...

    def end(self, ending: Callable[[int], list[TextLine]]) -> None:
        """Show the last state, then the lines that `ending` returns for the width in columns."""
        ...

    def close(self) -> None:
        """Restore the terminal; may be called more than once."""
        ...


def make_screen(plain: bool = False) -> Screen:
    """A live screen if stdout is a suitable terminal, else a plain one."""
    out = sys.stdout
    if plain or not _is_terminal(out):
        return PlainScreen(out)
    from rich.console import Console

    return LiveScreen(Console(file=out, highlight=False))


class PlainScreen:
    """Prints a line of `key value` pairs every few seconds.

    Args:
        out: output stream.
        clock: clock in seconds.
    """

    def __init__(self, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._out, self._clock = out, clock
        self._ascii = not _is_unicode(out)
        self._next = 0.0
        self._state: State | None = None

    def open(self, state: State) -> None:
        self._state = state
        for line in header(state.job, state.place, ENDLESS):
            self.say(line)

    def moved(self) -> None:
        assert self._state is not None
        now = self._clock()
        if self._state.record and now >= self._next:
            self._next = now + PLAIN_EVERY
            self.say([(plain_line(self._state), "")])

    def say(self, line: TextLine) -> None:
        shown = to_ascii(text(line)) if self._ascii else text(line)
        print(shown, file=self._out, flush=True)

    def end(self, ending: Callable[[int], list[TextLine]]) -> None:
        if self._state is not None and self._state.record:
            self.say([(plain_line(self._state), "")])
        for line in ending(ENDLESS):
            self.say(line)

    def close(self) -> None:
        """Do nothing."""


class LiveScreen:
    """A live area at the bottom of the terminal, below permanent lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._state: State | None = None

    def open(self, state: State) -> None:
        from rich.live import Live

        self._state = state
        for line in header(state.job, state.place, self._console.width):
            self._print(line)
        self._live = Live(
            console=self._console,
            get_renderable=self._panel,
            refresh_per_second=REDRAWS_PER_SECOND,
            transient=True,
            vertical_overflow="crop",
        )
        # Restore the cursor at exit; otherwise it stays hidden after the process.
        atexit.register(self.close)
        self._live.start(refresh=True)

    def moved(self) -> None:
        """Do nothing: the live area refreshes itself."""

    def say(self, line: TextLine) -> None:
        self._console.print(styled(line))

    def end(self, ending: Callable[[int], list[TextLine]]) -> None:
        self.close()
        width = self._console.width
        if self._state is not None and self._state.record:
            self._state.now = time.time()
            for line in panel(self._state, width):
                self._print(line)
        for line in [[], *ending(width)]:
            self._print(line)

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            atexit.unregister(self.close)

    def _panel(self) -> Text:
        assert self._state is not None
        self._state.now = time.time()
        return _block(panel(self._state, self._console.width))

    def _print(self, line: TextLine) -> None:
        # rich must not wrap the line, so that paths and commands can be copied. The terminal may wrap it.
        self._console.print(styled(line), soft_wrap=True)


def show(draw: Callable[[int], list[TextLine]]) -> None:
    """Print the lines that `draw` returns for the width in columns; in colour if possible."""
    if not _is_terminal(sys.stdout):
        plain = PlainScreen(sys.stdout)
        for line in draw(ENDLESS):
            plain.say(line)
        return
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False)
    for line in draw(console.width):
        console.print(styled(line), soft_wrap=True)


def keep_showing(first: list[TextLine], look: Callable[[], list[TextLine]], every: float) -> bool:
    """Redraw lines in place until interrupted. Without a terminal, draw nothing and return False.

    Args:
        first: initial lines.
        look: returns updated lines.
        every: seconds between two updates.
    """
    if not _is_terminal(sys.stdout):
        return False
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    with Live(_block(first), console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                time.sleep(every)
                live.update(_block(look()), refresh=True)
        except KeyboardInterrupt:
            return True


def _block(lines: list[TextLine]) -> Text:
    from rich.text import Text

    return Text("\n", no_wrap=True, overflow="crop").join([styled(line) for line in lines])


def styled(line: TextLine) -> Text:
    """The line as rich prints it."""
    from rich.text import Text

    return Text.assemble(*((part, STYLES[style]) for part, style in line))


def _is_terminal(out: TextIO) -> bool:
    able = out.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    return able and _is_unicode(out)


def _is_unicode(out: TextIO) -> bool:
    return (out.encoding or "").lower().replace("-", "") == "utf8"
