"""An operator that dies, and an API server that fails: what is asked for comes about all the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rljob.kube.kinds import BY_NAME
from tests.apiserver import ApiServer
from tests.controlplane.forks import serving
from tests.controlplane.operators import Operator, install, running, until
from tests.controlplane.proxy import Fault, Proxy, Request, proxied
from tests.controlplane.rljobs import BUFFER, LEARNER, ROLLOUT, Job

pytestmark = pytest.mark.timeout(300)
WORKLOADS = {BUFFER, LEARNER, ROLLOUT}
END = {"outcome": "Complete", "reason": "StopSteps", "message": "done"}


@pytest.fixture
def proxy(apiserver: ApiServer) -> Iterator[Proxy]:
    with proxied(apiserver.url, apiserver.folder / "ca.crt") as made:
        yield made


@pytest.fixture
def kubeconfig(apiserver: ApiServer, proxy: Proxy, tmp_path: Path) -> Path:
    return proxy.kubeconfig(install(apiserver), tmp_path / "kubeconfig")


@pytest.fixture
def job(apiserver: ApiServer, namespace: str) -> Job:
    return Job(apiserver, namespace)


def no_workload(job: Job) -> bool:
    return job.status().get("phase") == "Suspended" and not WORKLOADS & set(job.children())


def is_back(job: Job) -> bool:
    return job.complete() and job.status().get("phase") not in (None, "Suspended")


def has_no_evaluator(job: Job) -> bool:
    return job.complete() and ("Deployment", "x-evaluator") not in job.children()


STEPS: tuple[tuple[str, Callable[[Job], object], Callable[[Job], bool]], ...] = (
    ("created", lambda job: job.create(evaluation={"interval": "1s"}), is_back),
    ("suspended", lambda job: job.edit(suspend=True), no_workload),
    ("resumed", lambda job: job.edit(suspend=False), is_back),
    ("edited", lambda job: job.edit(evaluation=None, rollout={"replicas": 3}), has_no_evaluator),
    ("deleted after its end", lambda job: expire(job), lambda job: job.get() is None),
)
"""The life of a job: what is done to it, and what has to come about."""


def expire(job: Job) -> None:
    job.edit(ttlSecondsAfterFinished=0)
    job.end_learner(END)


class OneWriteEach:
    """Lets the first write of each operator through, and kills the operator before it hears of that."""

    def __init__(self) -> None:
        self.operator: Operator | None = None
        self._keys_made = False

    def __call__(self, request: Request) -> Fault | None:
        if not request.write or self.operator is None:
            return None
        if request.path.endswith("/secrets"):
            # Every operator asks for them once; later ones are told that they are there.
            if self._keys_made:
                return None
            self._keys_made = True
        operator, self.operator = self.operator, None
        return Fault(pass_on=True, then=operator.kill)


@pytest.mark.timeout(600)
def test_killed_at_every_write(job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path) -> None:
    """Each operator makes one write and is killed; the next one goes on from there, to the same end."""
    proxy.judge = judge = OneWriteEach()
    options = ("--lease=false", f"--namespaces={job.namespace}", "--status-seconds=0.05")
    kills = 0
    with serving() as forks:
        for what, do, done in STEPS:
            do(job)
            while True:
                with running(kubeconfig, tmp_path / "log", *options, start=forks) as operator:
                    judge.operator = operator

                    def over(o: Operator = operator, done: Callable[[Job], bool] = done) -> bool:
                        return o.process.poll() is not None or done(job)

                    until(over, f"the job is {what}")
                    if operator.process.poll() is None:
                        break
                    kills += 1
    # Children and keys, twice the workloads, an evaluator and its policy, and the status in between.
    assert kills > 25
    assert len(proxy.writes()) >= kills


def test_errors_at_random(job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path) -> None:
    """A quarter of all writes and some reads fail, in every way there is."""
    chance = random.Random(4)
    throttled = Fault(429, {"Retry-After": "1"})
    ways = (Fault(409), throttled, Fault(500), Fault(503), Fault(), Fault(pass_on=True))
    faults = itertools.cycle(ways)

    def judge(request: Request) -> Fault | None:
        fails = chance.random() < (0.25 if request.write else 0.1)
        return next(faults) if fails else None

    options = ("--lease=false", f"--namespaces={job.namespace}", "--resync-seconds=0.5")
    with running(kubeconfig, tmp_path / "log", *options) as operator:
        operator.until_ready()
        proxy.judge = judge
        for what, do, done in STEPS:
            do(job)
            until(lambda done=done: done(job), f"the job is {what}")  # type: ignore[misc]
        for reason in ("throttled", "connection"):
            assert operator.metric("errors_total", reason=reason) > 0
        assert operator.get("/healthz")[0] == 200
        assert operator.stop() == 0


def test_what_the_server_asks_for_is_waited_for(
    job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    """After a 429 nothing is tried before its time, whatever happens meanwhile."""
    with running(
        kubeconfig, tmp_path / "log", "--lease=false", f"--namespaces={job.namespace}"
    ) as (operator):
        operator.until_ready()
        refused: list[Request] = []

        def judge(request: Request) -> Fault | None:
            if not request.write:
                return None
            refused.append(request)
            return Fault(429, {"Retry-After": "3600"})

        proxy.judge = judge
        job.create()
        until(lambda: refused, "a write that is refused")
        for number in range(5):
            job.edit(rollout={"replicas": 2 + number})
        before = operator.metric("watch_last_event_age_seconds", resource="rljobs")
        until(
            lambda: operator.metric("watch_last_event_age_seconds", resource="rljobs") > before + 1,
            "all events are told of",
        )
        assert len(refused) == 1


def test_an_api_server_that_fails_with_one_child_is_told_of_in_the_status(
    job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    """A webhook that is down, for example. Everything else is made, and it is tried ever more seldom."""
    with running(
        kubeconfig, tmp_path / "log", "--lease=false", f"--namespaces={job.namespace}"
    ) as (operator):
        operator.until_ready()
        proxy.judge = lambda r: Fault(500) if r.write and "/statefulsets" in r.path else None
        job.create()
        until(lambda: "made up by a test" in str(job.status()), "the status has its words")
        assert set(job.wanted()) - set(job.children()) == {BUFFER}
        proxy.judge = lambda _: None
        until(job.complete, "all children")
        until(lambda: "made up by a test" not in str(job.status()), "a status without complaint")


def test_an_outage_is_survived(job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path) -> None:
    """Watches and writes go on where they were."""
    with running(
        kubeconfig, tmp_path / "log", "--lease=false", f"--namespaces={job.namespace}"
    ) as (operator):
        operator.until_ready()
        cut: list[Request] = []

        def judge(request: Request) -> Fault | None:
            cut.append(request)
            return Fault()

        proxy.judge = judge
        proxy.hang_up()
        job.create()
        until(lambda: len(cut) > 20, "many calls that fail")
        assert operator.get("/healthz")[0] == 200
        proxy.judge = lambda _: None
        until(job.complete, "all children")
        assert operator.stop() == 0


def test_a_watch_that_died_in_silence_is_found_out_and_replaced(
    job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    """What it missed is put right at once, and the process asks to be made anew."""
    options = (
        "--lease=false",
        f"--namespaces={job.namespace}",
        "--audit-seconds=0.5",
        "--stale-seconds=1",
        "--silence-seconds=3600",
    )
    with running(kubeconfig, tmp_path / "log", *options) as operator:
        operator.until_ready()
        job.create()
        until(job.complete, "all children")
        assert operator.get("/healthz")[0] == 200
        proxy.silent = lambda request: request.path.endswith(("/rljobs", "/services"))
        job.edit(rollout={"replicas": 5})
        deployment = BY_NAME["Deployment"]
        until(
            lambda: (job.get(deployment, "x-rollout") or {})["spec"]["replicas"] == 5,
            "an edit that no watch told of",
        )
        job.server.call("DELETE", BY_NAME["Service"].path(job.namespace, "x-buffer"))
        until(job.complete, "a child is back whose end no watch told of")

        def told() -> bool:
            status, text = operator.get("/healthz")
            return status == 503 and "rljobs" in text and "services" in text

        until(told, "/healthz names both watches")
        assert operator.stop() == 0


def test_a_silent_watch_is_made_anew_in_time(
    job: Job, proxy: Proxy, kubeconfig: Path, tmp_path: Path
) -> None:
    """Then nothing is missed, and nothing is wrong."""
    options = (
        "--lease=false",
        f"--namespaces={job.namespace}",
        "--audit-seconds=0.5",
        "--stale-seconds=20",
        "--silence-seconds=2",
    )
    with running(kubeconfig, tmp_path / "log", *options) as operator:
        operator.until_ready()
        # Only those that are open now.
        stalled = {id(request) for request in proxy.seen if request.watch}
        proxy.silent = lambda request: id(request) in stalled
        job.create()
        until(job.complete, "all children")
        assert operator.get("/healthz")[0] == 200
        assert operator.metric("watch_stale_objects", resource="rljobs") == 0
