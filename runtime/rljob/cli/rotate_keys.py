"""`rljob rotate-keys`: give a job new CURVE keys while it trains."""

from __future__ import annotations

import argparse
from pathlib import Path

from rljob.cli import clusters


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("job", metavar="NAME|RUN", help="a job on the cluster, or a run's folder")
    clusters.add_options(parser)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Rotate the keys: of a run at once, of a job on a cluster by asking its operator to."""
    folder = Path(arguments.job)
    if folder.is_dir():
        from rljob.local.rotate import rotate

        rotate(folder, lambda line: print(line, flush=True))
        return 0
    from rljob.client.applications import tell_applications

    jobs = clusters.connect(arguments)
    generation = jobs.rotate_keys(arguments.job)
    full = clusters.full_name(arguments.job)
    print(f"{full} gets keys {generation}. Older keys are refused once this ends:")
    print(f"  kubectl wait --for=condition=KeysCurrent --timeout=15m {full}", flush=True)
    told = tell_applications(jobs, arguments.job, generation)
    if told:
        print(f"The Secrets of {told} applications have them, too.")
    return 0
