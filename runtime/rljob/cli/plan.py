"""`rljob plan`: predict the rate of a job for several numbers of rollouts."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.cli.eval import ONE_THREAD

if TYPE_CHECKING:
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
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    # Arguments of `rljob run` that name a job.
    parser.set_defaults(handle=handle, seed=None, resume=False)


def handle(arguments: argparse.Namespace) -> int:
    """Measure for a few seconds, predict, and print."""
    # numpy reads these when it is imported. The roles have the same settings.
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    from rljob.algorithms.settings import check_settings
    from rljob.cli.run import chosen
    from rljob.local.prepare import read
    from rljob.plan import table
    from rljob.plan.measure import measure
    from rljob.plan.predict import Deployment, predict
    from rljob.system import usable_cores
    from rljob.user_code.host import hosting

    job = read(*chosen(arguments))
    check_settings(job)
    own, replicas = arguments.cores_per_pod, job.spec.rollout.replicas
    where = Deployment(own or arguments.cores or usable_cores(), pods=own is not None)
    threads = max(1, int(where.cores if where.pods else where.cores - replicas))
    folder = arguments.file.parent if arguments.file is not None else Path()
    print(f"Measuring {job.metadata.name} for a few seconds", file=sys.stderr)
    with hosting("rljob plan"), tempfile.TemporaryDirectory(prefix="rljob-plan-") as code:
        make_importable(job, Path(code), folder)
        costs = measure(job, threads, shared=not where.pods and usable_cores() > 1)
    counts = arguments.rollouts or sorted({*ROLLOUTS, replicas})
    predictions = [predict(costs, count, where) for count in counts]
    if arguments.json:
        print(json.dumps(table.values(costs, where, predictions)))
    else:
        print("\n".join(table.lines(costs, where, predictions)))
    return 0


def make_importable(job: RLJob, code: Path, folder: Path) -> None:
    """Import modules from where the roles find them: the job's code, here, and beside the job's file."""
    for module, text in (job.spec.code or {}).items():
        (code / module).write_text(text, encoding="utf-8")
    sys.path[:0] = [str(code), str(Path().resolve()), str(folder.resolve())]


def _counts(text: str) -> list[int]:
    counts = text.split(",")
    if not all(count.isdecimal() and 1 <= int(count) <= 10_000 for count in counts):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of whole numbers from 1 to 10000, as in 1,2,4"
        )
    return sorted({int(count) for count in counts})


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)
