"""`rljob explain`: explain why a job does not train or what limits its speed."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.cli import clusters

if TYPE_CHECKING:
    from rljob.diagnosis.situation import Situation


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("job", metavar="NAME|RUN", help="a job on the cluster, or a run's folder")
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Diagnose the job and print the findings; returns 1 if the user has to act, else 0."""
    from rljob.diagnosis.page import page
    from rljob.diagnosis.verdict import explain
    from rljob.show.view.screen import show

    clusters.interrupt_on_termination()
    try:
        situation = _situation(arguments)
    except KeyboardInterrupt as error:
        return clusters.interrupted(error)
    explanation = explain(situation)
    show(lambda _: page(situation, explanation))
    return 0 if explanation.well else 1


def _situation(arguments: argparse.Namespace) -> Situation:
    folder = Path(arguments.job)
    if folder.is_dir():
        from rljob.local.situation import situation as of_run

        return of_run(folder, time.time())
    from datetime import UTC, datetime

    from rljob.client.situation import situation as of_job

    jobs = clusters.connect(arguments)
    return of_job(jobs, jobs.get(arguments.job), datetime.now(UTC))
