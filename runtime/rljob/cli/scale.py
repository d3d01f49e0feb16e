"""`rljob scale`: more or fewer rollouts, while the job trains."""

from __future__ import annotations

import argparse

from rljob.cli import clusters
from rljob.show.view.figures import some


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    parser.add_argument(
        "--replicas", type=_replicas, required=True, metavar="N", help="rollouts that are wanted"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Ask for it; where it is so already, say so."""
    before = clusters.connect(arguments).scale(arguments.name, arguments.replicas)
    full, wanted = clusters.full_name(arguments.name), some(arguments.replicas, "rollout")
    if before == arguments.replicas:
        print(f"{full} has {wanted} already")
    else:
        print(f"{full} scaled from {before} to {wanted}")
    return 0


def _replicas(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)
