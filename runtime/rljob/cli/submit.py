"""`rljob submit`: make an RLJob on a cluster, and look at it until it has ended if that is wished for."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from rljob import spec
from rljob.cli import clusters
from rljob.errors import InputError
from rljob.spec import RLJob


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
        "-w", "--watch", action="store_true", help="show the job until it has ended"
    )
    parser.add_argument("--plain", action="store_true", help="with --watch: lines, no live view")
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Create it; with `--watch`, 0 when it completes and 1 when it fails."""
    job = checked(spec.load(arguments.file, arguments.overrides))
    jobs = clusters.connect(arguments, namespace(job, arguments.namespace))
    made = jobs.create(job)
    print(f"{clusters.full_name(made.name)} created", flush=True)
    if not arguments.watch:
        return 0
    from rljob.cli.status import watch

    return watch(arguments, jobs, made, past=True)


def checked(job: RLJob) -> RLJob:
    """The job, once its algorithm's and network's settings are known to be right.

    Where what knows them is not installed, the API server says it.

    Raises:
        InputError: with file and line, as `rljob run` has it.
    """
    if importlib.util.find_spec("numpy") is None:
        return job
    from rljob.algorithms import load_config
    from rljob.nets import resolve_network

    try:
        if job.spec.algorithm.entry_point is None:
            load_config(job.spec.algorithm)
        if job.spec.network.entry_point is None:
            resolve_network(job.spec.network)
    except InputError as error:
        raise spec.locate(job, error) from None
    return job


def namespace(job: RLJob, chosen: str | None) -> str | None:
    """The one that the file names, which the command line may only repeat, as with kubectl."""
    own = job.metadata.namespace
    if own is not None and chosen is not None and own != chosen:
        message = f"{own} is not the namespace {chosen} that --namespace names"
        raise spec.locate(job, InputError(message, path="metadata.namespace"))
    return own
