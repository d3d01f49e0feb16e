"""`rljob logs`: print the logs of a job's pods."""

from __future__ import annotations

import argparse

from rljob.cli import clusters
from rljob.errors import InputError
from rljob.spec.roles import ROLES


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    parser.add_argument("--role", choices=ROLES, default="learner", help="default: learner")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="continue until the job has ended"
    )
    parser.add_argument(
        "-p", "--previous", action="store_true", help="logs from before the last restart"
    )
    parser.add_argument("--tail", type=_lines, metavar="N", help="print only the last N lines")
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print the logs; with several pods, each line starts with the pod's name."""
    from rljob.client.logs import Wanted, follow, print_logs

    if arguments.follow and arguments.previous:
        raise InputError("--follow and --previous cannot be combined")
    jobs = clusters.connect(arguments)
    wanted = Wanted(arguments.role, arguments.previous, arguments.tail)
    show = follow if arguments.follow else print_logs
    try:
        show(jobs, jobs.get(arguments.name), wanted, _write, clusters.note)
    except KeyboardInterrupt as error:
        return clusters.interrupted(error)
    return 0


def _write(line: str) -> None:
    print(line, flush=True)


def _lines(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
