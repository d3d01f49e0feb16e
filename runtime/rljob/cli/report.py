"""`rljob report`: a report of one or more runs as an HTML page."""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.cli import clusters
from rljob.errors import InputError, RunError

if TYPE_CHECKING:
    from rljob.show.report.files import Run

PAGE = "report.html"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, or the name of a job on a cluster; several runs are compared",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"default {PAGE}, in the folder of a single run"
    )
    parser.add_argument(
        "--png", type=Path, metavar="DIR", help="also write each plot as a PNG file"
    )
    parser.add_argument(
        "--image",
        help="image of the pod that reads the records if no learner runs; default: the learner's",
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Write the report."""
    from datetime import UTC, datetime

    from rljob.show.report.groups import group
    from rljob.show.report.page import page
    from rljob.show.report.plots import plots

    clusters.interrupt_on_termination()
    try:
        runs = [_read(run, arguments) for run in arguments.runs]
    except KeyboardInterrupt as error:
        return clusters.interrupted(error)
    out = arguments.out or _beside(arguments.runs)
    try:
        out.write_text(page(runs, datetime.now(UTC)), encoding="utf-8")
        print(out)
        if arguments.png is not None:
            from rljob.show.report.picture import write

            arguments.png.mkdir(parents=True, exist_ok=True)
            for plot in plots(group(runs)):
                print(write(plot, arguments.png))
    except OSError as error:
        raise RunError(f"cannot write {error.filename or out}: {error.strerror}") from error
    return 0


def _read(run: str, arguments: argparse.Namespace) -> Run:
    """Read the run from a folder; if there is no such folder, from the job of that name on a cluster."""
    from rljob.show.report.files import read

    folder = Path(run)
    if folder.exists() or not _NAME.fullmatch(run):
        return read(folder)
    from rljob.client.records import fetch

    try:
        jobs = clusters.connect(arguments)
    except InputError as error:
        raise InputError(
            f"{run}: there is no such folder, and no cluster with a job of that name: {error}"
        ) from None
    job = jobs.get(run)
    with tempfile.TemporaryDirectory() as temporary:
        fetch(jobs, job, Path(temporary), clusters.note, arguments.image)
        return read(Path(temporary), run, f"job {run} in namespace {job.namespace}")


def _beside(runs: list[str]) -> Path:
    single = Path(runs[0])
    return single / PAGE if len(runs) == 1 and single.is_dir() else Path(PAGE)
