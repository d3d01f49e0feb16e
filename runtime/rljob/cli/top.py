"""`rljob top`: show the training rates of a cluster's jobs, refreshed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rljob.cli import clusters

if TYPE_CHECKING:
    from rljob.show.view.panel import TextLine

LOOK_EVERY = 2.0
"""Seconds between two updates."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "--once", action="store_true", help="print the table once; default without a terminal"
    )
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="show the jobs of all namespaces"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Show the table until interrupted; print it once without a terminal."""
    from rljob.client.errors import Unavailable
    from rljob.client.top import lines
    from rljob.show.view.screen import keep_showing, show

    jobs, everywhere = clusters.connect(arguments), arguments.all_namespaces

    def look() -> list[TextLine]:
        return lines(jobs.all(everywhere), datetime.now(UTC), everywhere)

    def look_again() -> list[TextLine]:
        try:
            return look()
        except Unavailable as error:
            return [[(f"{error}; trying again", "warning")]]

    first = look()
    if arguments.once or not keep_showing(first, look_again, LOOK_EVERY):
        show(lambda _: first)
    return 0
