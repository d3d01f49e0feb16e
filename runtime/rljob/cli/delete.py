"""`rljob delete`: delete a job and its pods."""

from __future__ import annotations

import argparse

from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    parser.add_argument(
        "--wait", action="store_true", help="wait until the job and all its objects are deleted"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Delete the job; Kubernetes then deletes its pods."""
    jobs = clusters.connect(arguments)
    job = jobs.delete(arguments.name, foreground=arguments.wait)
    if arguments.wait:
        try:
            jobs.await_gone(job)
        except KeyboardInterrupt as error:
            clusters.note(f"{job.name} is being deleted; the deletion continues")
            return clusters.interrupted(error)
    print(f'rljob.rljob.dev "{job.name}" deleted')
    return 0
