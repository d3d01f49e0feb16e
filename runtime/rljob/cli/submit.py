"""`rljob submit`: create an RLJob on a cluster and optionally watch it."""

from __future__ import annotations

import argparse
from pathlib import Path

from rljob import spec
from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", type=Path, help="the RLJob's YAML file")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, e.g. rollout.replicas=4; may be repeated",
    )
    parser.add_argument(
        "--code", type=Path, metavar="DIR", help="folder of modules that goes with the job"
    )
    parser.add_argument(
        "-w", "--watch", action="store_true", help="show the job until it has ended"
    )
    parser.add_argument(
        "--plain", action="store_true", help="with --watch: print lines instead of the live view"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Create the job. With `--watch`, returns 0 if the job completes, 1 if it fails."""
    from rljob.handles.cluster import create

    job = spec.load(arguments.file, arguments.overrides)
    jobs, made = create(job, clusters.choice(arguments), arguments.code)
    print(f"{clusters.full_name(made.name)} created", flush=True)
    if not arguments.watch:
        return 0
    from rljob.cli.status import watch

    return watch(arguments, jobs, made, past=True)
