"""`rljob plan`: how fast a job would be with how many rollouts, and what would bound it."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.cli.eval import ONE_THREAD
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.plan.measured import Costs
    from rljob.plan.model import Place
    from rljob.spec import RLJob

ROLLOUTS = (1, 2, 4, 8)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", nargs="?", type=Path, help="the RLJob's YAML file")
    parser.add_argument("--env", metavar="ID", help="Gymnasium id, e.g. CartPole-v1")
    parser.add_argument("--algorithm", metavar="NAME", help="default PPO")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, e.g. rollout.envsPerReplica=32; may be repeated",
    )
    parser.add_argument(
        "--rollouts",
        type=_counts,
        metavar="N,...",
        help=f"numbers of rollouts; default {','.join(map(str, ROLLOUTS))} and the job's own",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--cores", type=_positive, metavar="N", help="that all roles share; default this machine's"
    )
    where.add_argument(
        "--cores-per-pod",
        type=_positive,
        metavar="N",
        help="on a cluster: each role has so many of its own",
    )
    parser.add_argument(
        "--price", type=_positive, metavar="P", help="of one core for an hour, to know the cost"
    )
    parser.add_argument(
        "--costs", type=Path, metavar="FILE", help="keep what was measured, or go by what was kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    # What `rljob run` has besides, for naming a job.
    parser.set_defaults(handle=handle, seed=None, resume=False)


def handle(arguments: argparse.Namespace) -> int:
    """Measure for a few seconds, predict, and print."""
    # Read when numpy is imported; as the roles have it.
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    from rljob.algorithms.settings import check_settings
    from rljob.cli.run import chosen
    from rljob.local.prepare import read
    from rljob.plan import page
    from rljob.plan.model import Place, fewest, predict
    from rljob.roles.learner.cores import usable_cores

    job = read(*chosen(arguments))
    check_settings(job)
    own = arguments.cores_per_pod
    place = Place(own or arguments.cores or float(usable_cores()), pods=own is not None)
    counts = arguments.rollouts or sorted({*ROLLOUTS, job.spec.rollout.replicas})
    try:
        costs = _costs(job, place, arguments)
    except KeyboardInterrupt:
        return 130
    predictions = [predict(costs, count, place) for count in counts]
    found = costs, place, predictions, fewest(costs, place), arguments.price
    if arguments.json:
        print(json.dumps(page.values(*found)))
    else:
        print("\n".join(page.lines(*found)))
    return 0


def _costs(job: RLJob, place: Place, arguments: argparse.Namespace) -> Costs:
    """Those in the file, when there is one; else measured now."""
    from rljob.plan.calibrate import calibrate, digest
    from rljob.plan.measured import Costs
    from rljob.roles.learner.cores import usable_cores

    kept = arguments.costs
    if kept is not None and kept.exists():
        costs = Costs.load(kept)
        if costs.job != digest(job):
            raise InputError(
                "what is kept there was measured of another job, or with other settings; name "
                "another file",
                file=str(kept),
            )
        return costs
    rollouts = job.spec.rollout.replicas
    free = place.cores if place.pods else place.cores - rollouts
    print(f"Measuring {job.metadata.name} for a few seconds", file=sys.stderr)
    folder = arguments.file.parent if arguments.file is not None else Path()
    with _importable(job, folder):
        company = not place.pods and usable_cores() > 1
        costs = calibrate(job, max(1, math.floor(free)), company)
    if kept is not None:
        costs.save(kept)
    return costs


@contextmanager
def _importable(job: RLJob, folder: Path) -> Iterator[None]:
    """Where the roles would look for modules: the job's own code, here, and beside its file."""
    with tempfile.TemporaryDirectory(prefix="rljob-plan-") as name:
        for module, text in (job.spec.code or {}).items():
            Path(name, module).write_text(text, encoding="utf-8")
        before = list(sys.path)
        sys.path[:0] = [name, str(Path().resolve()), str(folder.resolve())]
        try:
            yield
        finally:
            sys.path[:] = before


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 1 <= int(count) <= 10_000 for count in counts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers from 1 to 10000, as in 1,2,4"
        )
    return sorted({int(count) for count in counts})


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value
