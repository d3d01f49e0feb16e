"""Looking at a job costs nothing as long as there is nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.apiserver import ApiServer
from tests.controlplane.operators import install, running, until
from tests.controlplane.proxy import WRITES, proxied
from tests.controlplane.rljobs import Job

pytestmark = pytest.mark.timeout(300)
END = {"outcome": "Complete", "reason": "StopSteps", "message": "done"}
ROUNDS = 10


def test_quiet_jobs_cost_no_writes(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    """However often they are looked at: one that waits, one that is suspended, one that has ended."""
    waits, stands, over = (Job(apiserver, namespace, name) for name in ("waits", "stands", "over"))
    options = (
        "--lease=false",
        f"--namespaces={namespace}",
        "--resync-seconds=0.3",
        # What is told of a pod that does not come is told at once.
        "--pending-grace-seconds=0.1",
    )
    with proxied(apiserver.url, apiserver.folder / "ca.crt") as proxy:
        kubeconfig = proxy.kubeconfig(install(apiserver), tmp_path / "kubeconfig")
        with running(kubeconfig, tmp_path / "log", *options) as operator:
            operator.until_ready()
            waits.create()
            stands.create(suspend=True)
            over.create()
            for job in (waits, over):
                until(job.complete, f"all children of {job.name}")
            over.end_learner(END)
            until(lambda: over.status().get("phase") == "Complete", "one job is over")
            until(lambda: stands.status().get("phase") == "Suspended", "one job is suspended")
            until(lambda: waits.status().get("phase"), "one job waits")
            # There is no controller here that makes pods. Nobody says why, which is told after half a minute.
            until(lambda: "PodsMissing" in str(waits.status()), "all that is missing was told")

            def looks() -> float:
                return operator.metric("reconcile_seconds_count")

            def settled() -> bool:
                before, seen = looks(), len(proxy.seen)
                until(lambda: looks() >= before + 3, "another round")
                return len(proxy.seen) == seen

            until(settled, "a round without any call")
            before, start = len(proxy.seen), looks()
            until(lambda: looks() >= start + 3 * ROUNDS, f"{ROUNDS} looks at each job")
            assert [r for r in proxy.seen[before:] if r.method in WRITES] == []
            assert operator.metric("errors_total", reason="bug") == 0
