"""`rljob report`: what runs have done, as one page of HTML."""

from __future__ import annotations

import argparse
from pathlib import Path

PAGE = "report.html"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder; several are compared"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"default {PAGE}, in the folder of a single run"
    )
    parser.add_argument("--png", type=Path, metavar="DIR", help="single plots as well, as pictures")
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Read, draw and write."""
    from datetime import UTC, datetime

    from rljob.report.files import read
    from rljob.report.page import page

    runs = [read(Path(run)) for run in arguments.runs]
    out = arguments.out
    if out is None:
        out = Path(arguments.runs[0]) / PAGE if len(runs) == 1 else Path(PAGE)
    out.write_text(page(runs, datetime.now(UTC)), encoding="utf-8")
    print(out)
    if arguments.png is not None:
        from rljob.report.groups import group
        from rljob.report.plots import plots
        from rljob.report.png import write

        arguments.png.mkdir(parents=True, exist_ok=True)
        for plot in plots(group(runs)):
            print(write(plot, arguments.png))
    return 0
