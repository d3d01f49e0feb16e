"""`rljob status`: a table of jobs, or the details of one job."""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rljob.cli import clusters, output
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.client.job import ClusterJob
    from rljob.client.jobs import Jobs

LOOK_EVERY = 2.0
"""Seconds between two updates of the table."""
FORMATS = ("wide", *output.FORMATS, "name")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("name", nargs="?", help="the job; default: all jobs of the namespace")
    parser.add_argument(
        "-w", "--watch", action="store_true", help="show changes until the job has ended or Ctrl-C"
    )
    parser.add_argument(
        "--plain", action="store_true", help="with --watch: print lines instead of the live view"
    )
    parser.add_argument("-o", "--output", choices=FORMATS, help="output format")
    parser.add_argument(
        "-A", "--all-namespaces", action="store_true", help="show the jobs of all namespaces"
    )
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Print one job or the table. With `--watch` and a name, returns 0 if the job completes, 1 if it fails."""
    name, everywhere = arguments.name, arguments.all_namespaces
    if name is not None and everywhere:
        raise InputError("a job's name and --all-namespaces cannot be combined")
    if arguments.watch and arguments.output not in (None, "wide"):
        raise InputError(f"--watch and --output {arguments.output} cannot be combined")
    jobs = clusters.connect(arguments)
    if name is None and arguments.watch:
        return _watch_table(jobs, everywhere, arguments.output == "wide")
    if name is not None and arguments.watch:
        return watch(arguments, jobs, jobs.get(name))
    found = [jobs.get(name)] if name is not None else jobs.all(everywhere)
    if arguments.output in (*output.FORMATS, "name"):
        print(_serialized(found, arguments.output, name is not None), end="")
    elif name is not None and arguments.output is None:
        _print_detail(jobs, found[0])
    elif found:
        _print_table(found, everywhere, arguments.output == "wide")
    else:
        where = "any namespace" if everywhere else f"namespace {jobs.namespace}"
        clusters.note(f"there is no RLJob in {where}")
    return 0


def watch(arguments: argparse.Namespace, jobs: Jobs, job: ClusterJob, past: bool = False) -> int:
    """Show one job until it has ended. Returns 0 if it completes, 1 if it fails.

    Args:
        past: whether to show earlier Events too.
    """
    from rljob.client.watch import watch as watch_job
    from rljob.show.view.screen import make_screen

    clusters.interrupt_on_termination()
    flags = clusters.choice(arguments).flags
    try:
        end = watch_job(jobs, job, make_screen(arguments.plain), flags, past)
    except KeyboardInterrupt as error:
        again = f"rljob status {job.name} --watch{flags}"
        clusters.note(f"{job.name} continues on the cluster; to watch it again: {again}")
        return clusters.interrupted(error)
    return 0 if end == "Complete" else 1


def _print_detail(jobs: Jobs, job: ClusterJob) -> None:
    from rljob.client.detail import detail
    from rljob.show.view.screen import show

    events = jobs.events(job)
    show(lambda width: detail(job, events, datetime.now(UTC), width))


def _print_table(found: list[ClusterJob], everywhere: bool, wide: bool) -> None:
    from rljob.client.table import head, row
    from rljob.show.view.columns import columns

    now = datetime.now(UTC)
    rows = [head(everywhere, wide), *(row(job, now, everywhere, wide) for job in found)]
    lines, _ = columns(rows)
    print("\n".join(lines))


def _watch_table(jobs: Jobs, everywhere: bool, wide: bool) -> int:
    """Print the table, then a row for each changed job, like `kubectl get --watch`."""
    from rljob.client.errors import Unavailable
    from rljob.client.table import head, row
    from rljob.show.view.columns import columns

    clusters.interrupt_on_termination()
    rows, seen = [head(everywhere, wide)], dict[str, str]()
    found = jobs.all(everywhere)
    widths: list[int] | None = None
    try:
        while True:
            now = datetime.now(UTC)
            for job in found:
                version = str(job.raw["metadata"]["resourceVersion"])
                if seen.get(job.uid) != version:
                    seen[job.uid] = version
                    rows.append(row(job, now, everywhere, wide))
            if rows:
                lines, widths = columns(rows, widths)
                print("\n".join(lines), flush=True)
                rows = []
            time.sleep(LOOK_EVERY)
            try:
                found = jobs.all(everywhere)
            except Unavailable as error:
                clusters.note(f"{error}; trying again")
    except KeyboardInterrupt as error:
        return clusters.interrupted(error)


def _serialized(found: list[ClusterJob], form: str, one: bool) -> str:
    """The objects as returned by the API server."""
    if form == "name":
        return "".join(f"{clusters.full_name(job.name)}\n" for job in found)
    objects = [_without_managed_fields(job.raw) for job in found]
    value = objects[0] if one else {"apiVersion": "v1", "kind": "List", "items": objects}
    return output.serialize(value, form)


def _without_managed_fields(raw: dict[str, Any]) -> dict[str, Any]:
    """The object without managedFields, as in kubectl."""
    metadata = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    return {**raw, "metadata": metadata}
