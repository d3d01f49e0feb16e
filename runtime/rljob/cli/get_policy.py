"""`rljob get-policy`: fetch and verify the policy of a job on a cluster, for `rljob eval`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", help="the job")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the new folder")
    parser.add_argument(
        "--image",
        help="image of the pod that reads the checkpoints if no learner runs; default: the learner's",
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Fetch the policy. On an error, no folder is left."""
    from rljob.client.policy import fetch
    from rljob.show.view.figures import some
    from rljob.show.view.lines import hints
    from rljob.show.view.screen import show

    clusters.interrupt_on_termination()
    jobs = clusters.connect(arguments)
    try:
        job = jobs.get(arguments.name)
        fetched = fetch(jobs, job, arguments.out, clusters.note, arguments.image)
    except KeyboardInterrupt as error:
        return clusters.interrupted(error)
    matched = "its manifest and the job's status" if fetched.named else "its manifest"
    steps = some(fetched.steps, "step")
    print(
        f"Policy version {fetched.version} ({steps}) is in {arguments.out}; it matches {matched}."
    )
    command = f"rljob eval {arguments.out} --episodes 20"
    show(lambda width: hints([(command, "play it")]))
    return 0
