"""`rljob submit`: create an RLJob on a cluster and optionally watch it."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from rljob import spec
from rljob.cli import clusters, render
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
    parser.add_argument(
        "--plain", action="store_true", help="with --watch: print lines instead of the live view"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Create the job. With `--watch`, returns 0 if the job completes, 1 if it fails."""
    job = spec.load(arguments.file, arguments.overrides)
    # Without numpy, the settings cannot be checked here; the API server checks them.
    if importlib.util.find_spec("numpy") is not None:
        from rljob.algorithms.settings import check_settings

        check_settings(job)
    # The operator would find the same faults in a pod template, but only after the job is stored.
    render.objects(job)
    jobs = clusters.connect(arguments, namespace(job, arguments.namespace))
    made = jobs.create(job)
    print(f"{clusters.full_name(made.name)} created", flush=True)
    if not arguments.watch:
        return 0
    from rljob.cli.status import watch

    return watch(arguments, jobs, made, past=True)


def namespace(job: RLJob, chosen: str | None) -> str | None:
    """Namespace of the file. `--namespace` must not differ from it, as in kubectl."""
    own = job.metadata.namespace
    if own is not None and chosen is not None and own != chosen:
        message = f"{own} differs from --namespace {chosen}"
        raise spec.locate(job, InputError(message, path="metadata.namespace"))
    return own
