"""What an operator costs: `python -m tests.bench.operator [--jobs 200]`. Needs the API server of the tests.

Half of the jobs are asked to train and half are suspended; no pod runs. Measured on a process that made
all children, and on one that was started when they were there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rljob_operator.metrics import RECONCILE_BUCKETS
from tests.apiserver import ApiServer, start
from tests.bench.machine import Load
from tests.controlplane.operators import ROOT, Operator, install, running
from tests.controlplane.proxy import proxied
from tests.controlplane.rljobs import Job

PATIENCE = 900.0
LOOKS = 10
MEMORY_AIM_MIB, P99_AIM_SECONDS = 120, 1.0


@dataclass(frozen=True)
class Figures:
    """Of one process.

    Attributes:
        seconds: until nothing was to be done any more.
        peak_mib, mib: resident memory, at its most and in the end.
        p99_seconds: of the looks at jobs, as the bound of the bucket it is in.
        quiet_writes: writes during `LOOKS` further looks at each job.
    """

    seconds: float
    peak_mib: float
    mib: float
    p99_seconds: float
    quiet_writes: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.operator", description=__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="RLJobs (default: 200)")
    count = parser.parse_args().jobs
    load = Load()
    with start() as server, tempfile.TemporaryDirectory() as folder:
        for crd in sorted((ROOT / "crds").glob("*.yaml")):
            server.install(crd)
        namespace = server.namespace()
        empty = measure(server, namespace, Path(folder), 0)
        for number in range(count):
            Job(server, namespace, f"j{number}").create(suspend=bool(number % 2))
        made = measure(server, namespace, Path(folder), count)
        found = measure(server, namespace, Path(folder), count)
    rows = {"no job": empty, f"{count} jobs made": made, f"{count} jobs found": found}
    print(f"{load.others():.1f} cores were used by others")
    print(
        f"| operator | seconds | peak MiB | MiB (aim ≤ {MEMORY_AIM_MIB}) | p99 s (aim ≤ "
        f"{P99_AIM_SECONDS:g}) | writes when quiet (aim 0) |"
    )
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row.seconds:.1f} | {row.peak_mib:.0f} | {row.mib:.0f} "
            f"| ≤ {row.p99_seconds:g} | {row.quiet_writes} |"
        )


def measure(server: ApiServer, namespace: str, folder: Path, count: int) -> Figures:
    """Start an operator, wait until it is done with so many jobs, and look at it."""
    options = ("--lease=false", f"--namespaces={namespace}", "--resync-seconds=2")
    with proxied(server.url, server.folder / "ca.crt") as proxy:
        kubeconfig = proxy.kubeconfig(install(server), folder / "kubeconfig")
        began = time.monotonic()
        with running(kubeconfig, folder / "log", *options) as operator:
            operator.until_ready()

            def looks() -> float:
                return operator.metric("reconcile_seconds_count")

            def is_quiet() -> bool:
                before, seen = looks(), len(proxy.writes())
                _wait(lambda: looks() >= before + 2 * count)
                return len(proxy.writes()) == seen

            _wait(lambda: sum(_phases(operator).values()) == count)
            _wait(is_quiet)
            seconds = time.monotonic() - began
            p99 = _p99(operator)
            before, written = looks(), len(proxy.writes())
            _wait(lambda: looks() >= before + LOOKS * count)
            quiet = len(proxy.writes()) - written
            status = Path(f"/proc/{operator.process.pid}/status").read_text()
            return Figures(seconds, _mib(status, "VmHWM"), _mib(status, "VmRSS"), p99, quiet)


def _phases(operator: Operator) -> dict[str, float]:
    phases = ("Pending", "Starting", "Training", "Suspended")
    return {phase: operator.metric("jobs", phase=phase) for phase in phases}


def _p99(operator: Operator) -> float:
    total = operator.metric("reconcile_seconds_count")
    for bound in RECONCILE_BUCKETS:
        if operator.metric("reconcile_seconds_bucket", le=str(bound)) >= 0.99 * total:
            return bound
    return float("inf")


def _mib(status: str, field: str) -> float:
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the operator is not done in time")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
