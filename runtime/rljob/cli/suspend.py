"""`rljob suspend` and `rljob resume`: stop a job's pods and keep what was learned; go on from there."""

from __future__ import annotations

import argparse
import functools

from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser, suspend: bool = True) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    clusters.add_options(parser)
    parser.set_defaults(handle=functools.partial(handle, suspend=suspend))


def handle(arguments: argparse.Namespace, suspend: bool) -> int:
    """Ask for it; where it is so already, say so."""
    jobs = clusters.connect(arguments)
    name, full = arguments.name, clusters.full_name(arguments.name)
    job = jobs.suspend(name, suspend)
    flags = clusters.choice(arguments).flags
    if job is None:
        print(f"{full} {'is suspended already' if suspend else 'is not suspended'}")
    elif suspend:
        print(f"{full} suspended: it saves a checkpoint and its pods end")
        print(f"  rljob resume {name}{flags}   go on from there")
    else:
        saved = job.status.last_checkpoint
        start = f"at step {saved.step:,}" if saved is not None else "from the beginning"
        print(f"{full} resumed: it goes on {start}")
    return 0
