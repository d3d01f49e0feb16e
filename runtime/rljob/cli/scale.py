"""`rljob scale`: change the number of rollouts of a job."""

from __future__ import annotations

import argparse

from rljob.cli import clusters
from rljob.show.view.figures import some


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    parser.add_argument(
        "--replicas", type=_replicas, required=True, metavar="N", help="desired number of rollouts"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Set the number of rollouts and print the change."""
    before = clusters.connect(arguments).scale(arguments.name, arguments.replicas)
    full, wanted = clusters.full_name(arguments.name), some(arguments.replicas, "rollout")
    if before == arguments.replicas:
        print(f"{full} already has {wanted}")
    else:
        print(f"{full} scaled from {before} to {wanted}")
    return 0


def _replicas(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
