"""`rljob suspend` and `rljob resume`: stop a job's pods after a checkpoint; resume from it."""

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
    """Set or clear `spec.suspend` and print the result."""
    jobs = clusters.connect(arguments)
    name, full = arguments.name, clusters.full_name(arguments.name)
    job = jobs.suspend(name, suspend)
    flags = clusters.choice(arguments).flags
    if job is None:
        print(f"{full} {'is already suspended' if suspend else 'is not suspended'}")
    elif suspend:
        print(f"{full} suspended: the learner saves a checkpoint, then the pods end")
        print(f"  rljob resume {name}{flags}   resume from the checkpoint")
    else:
        saved = job.status.last_checkpoint
        start = f"at step {saved.step:,}" if saved is not None else "from the beginning"
        print(f"{full} resumed: it starts {start}")
    return 0
