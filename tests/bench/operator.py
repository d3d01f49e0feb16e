"""What an operator costs with many jobs, on the API server of the tests.

Half of the jobs are asked to train and half are suspended; no pod runs. Measured on a process that made
all children, and on one that was started when they were there.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rljob_operator.telemetry.metrics import RECONCILE_BUCKETS
from tests.apiserver import ApiServer, start
from tests.bench.findings import findings
from tests.bench.group import Figure, Group, Measure, Values, plain
from tests.bench.stages import table
from tests.controlplane.operators import ROOT, Operator, install, running
from tests.controlplane.proxy import proxied
from tests.controlplane.rljobs import Job

PATIENCE = 900.0
LOOKS = 10


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


def jobs(count: int) -> Measure:
    """An operator that makes the children of so many jobs, and one that is started beside them."""

    def run(seed: int) -> Values:
        with start() as server, tempfile.TemporaryDirectory() as folder:
            for crd in sorted((ROOT / "crds").glob("*.yaml")):
                server.install(crd)
            namespace = server.namespace()
            for number in range(count):
                Job(server, namespace, f"j{number}").create(suspend=bool(number % 2))
            made = measure(server, namespace, Path(folder), count)
            found = measure(server, namespace, Path(folder), count)
        return {
            f"{name}{when}": value
            for when, figures in (("", made), (" when started beside them", found))
            for name, value in vars(figures).items()
        }

    return run


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


def _figures(count: int, memory_aim: float) -> list[Figure]:
    name = f"{count} jobs"
    return [
        plain(f"Resident, {name}", (name, "mib"), memory_aim, " MiB", least=False),
        plain(
            f"Resident, started beside {name}",
            (name, "mib when started beside them"),
            memory_aim,
            " MiB",
            least=False,
        ),
        plain(
            f"Reconcile p99 while {name} are made at once",
            (name, "p99_seconds"),
            1.0,
            " s",
            least=False,
        ),
        plain(f"Writes while {name} are quiet", (name, "quiet_writes"), 0.0, least=False),
        plain(f"All children of {name} made", (name, "seconds"), unit=" s"),
    ]


GROUP = Group(
    "operator",
    "The operator",
    {"200 jobs": jobs(200), "500 jobs": jobs(500)},
    [*_figures(200, 120.0), *_figures(500, 150.0)],
    quick=0,
    stages=lambda results: table(
        results,
        {
            "mib": "resident, MiB",
            "mib when started beside them": "started beside them, MiB",
            "seconds": "until all children are made, s",
            "seconds when started beside them": "started beside them, until it is quiet, s",
        },
    ),
    limit=findings(
        (
            "Memory of a job with its children",
            "25 to 65 KiB: 300 jobs more take 7 to 19 MiB more",
        ),
        (
            "Memory without jobs",
            "Python and its libraries",
        ),
        (
            "Time while all jobs are made at once",
            "0.13 to 0.18 s for each job, on two cores that the operator and the API server share",
        ),
        (
            "Time of an operator that is started beside them",
            "it compares, and writes nothing",
        ),
    ),
    note=(
        "Half of the jobs are asked to train and half are suspended; no pod runs. p99 is the upper bound of "
        "the histogram's bucket. Quiet: ten further looks at every job. Needs what `make cluster-tools` gets."
    ),
)
