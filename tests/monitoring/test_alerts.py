"""Every alert of a job, fired for real: runs that train, faults that are done to them, and one Prometheus.

The rules are the chart's own, but for a shorter `for`. All faults are there at once, because a rule looks two
minutes back.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.monitoring.prometheus import RULES, Prometheus, running, shortened, until
from tests.monitoring.runs import Run, by_hand, job, started

pytestmark = pytest.mark.timeout(600)
FIRE_SECONDS = 300.0
FAST = {"id": "CartPole-v1"}
# Updates that take a hundred times as long as what they are made from.
THOROUGH = {"name": "PPO", "config": {"rolloutLength": 16, "epochs": 300}}
REPLAY = {"name": "DQN", "config": {"batchSize": 32, "minSize": 100}}
MORTAL = {"entryPoint": "slow:MortalDQN", "config": {"minSize": 100, "nStep": 1}}
EXPECTED = {
    ("RLJobLearnerStalled", "stalled"),
    ("RLJobLearnerStalled", "stalled-replay"),
    ("RLJobRolloutsStarved", "starved"),
    ("RLJobBufferFull", "full"),
    ("RLJobPolicyLagAboveBound", "lagging"),
    ("RLJobCheckpointTooOld", "unsaved"),
    ("RLJobCrashLoop", "crashing"),
    ("RLJobBatchSetAside", "crashing"),
    ("RLJobPeersRefused", "full"),
}


def test_each_fires_for_its_fault_and_for_nothing_else(tmp_path: Path) -> None:
    jobs = (
        job("well"),
        # Full within seconds, and for ever.
        job("well-replay", algorithm=REPLAY, buffer={"capacity": 2000}),
        job("stalled"),
        job("stalled-replay", algorithm=REPLAY),
        job("starved"),
        job("full", environment=FAST, algorithm=THOROUGH),
        job("unsaved", checkpoint={"interval": "5s", "keep": 2}),
        job("crashing", algorithm=MORTAL),
    )
    # Roles that disagree: the learner's bound on the lag is lower than what the buffer keeps to.
    told = {role: job("lagging") for role in ("buffer", "rollout")}
    lagging = {**told, "learner": job("lagging", buffer={"maxPolicyLag": 0})}
    rules = [shortened(path, tmp_path / "rules") for path in RULES]
    names = [content["metadata"]["name"] for content in (*jobs, lagging["learner"])]
    targets = [tmp_path / "runs" / name / "run" / "targets.json" for name in names]
    (tmp_path / "runs").mkdir()
    with (
        started(tmp_path / "runs", *jobs) as runs,
        by_hand(tmp_path / "runs" / "lagging", lagging),
        running(tmp_path / "prometheus", targets, rules) as prometheus,
    ):
        until(lambda: prometheus.up() == 3 * (len(jobs) + 1), "all roles are scraped")
        runs["stalled"].signal("learner-0", signal.SIGSTOP)
        runs["stalled-replay"].signal("learner-0", signal.SIGSTOP)
        runs["starved"].signal("rollout-0", signal.SIGSTOP)
        hang_checkpoints(runs["unsaved"])
        runs["full"].visit("experience", 20)
        runs["crashing"].poison()
        aside = 'rljob_buffer_batches_set_aside_total{rljob="crashing"}'
        until(lambda: prometheus.value(aside) == 1, "a batch is set aside", FIRE_SECONDS)
        for _ in range(3):
            kill_and_wait(prometheus, runs["crashing"], "rollout-0")
        # Not all at once: what a learner took before it was stopped counts for two minutes.
        until(
            lambda: prometheus.firing() == EXPECTED,
            lambda: f"{prometheus.firing() ^ EXPECTED} too many or too few; {evidence(prometheus)}",
            FIRE_SECONDS,
        )

        assert prometheus.value('rljob_buffer_fill_ratio{rljob="well-replay"}') == 1
        runs["stalled"].signal("learner-0", signal.SIGCONT)
        runs["starved"].signal("rollout-0", signal.SIGCONT)
        over = {("RLJobLearnerStalled", "stalled"), ("RLJobRolloutsStarved", "starved")}
        until(lambda: not over & prometheus.firing(), "what is over fires no more")


def evidence(prometheus: Prometheus) -> dict[str, list[tuple[str, float]]]:
    """What the alerts of a job that stands still are made from."""
    expressions = (
        "rljob:transitions_sampled:rate2m",
        "rljob:learner_asking:ratio2m",
        "rljob:steps_inserted:rate2m",
        "max by (rljob) (rljob_buffer_rollouts_connected)",
        "min by (rljob) (up)",
    )
    return {
        expression: [
            (sample.labels.get("rljob", ""), sample.value)
            for sample in prometheus.query(expression)
        ]
        for expression in expressions
    }


def hang_checkpoints(run: Run) -> None:
    """Have the storage hang at the next read of a checkpoint, which comes with the next but one that is saved."""
    folder = run.run / "checkpoints"

    def replaced() -> bool:
        newest = (folder / "latest").resolve()
        fifo = newest / "fifo"
        try:
            os.mkfifo(fifo)
            fifo.replace(newest / "policy.safetensors")
        except FileNotFoundError:
            return False  # It was deleted in favour of a newer one.
        return newest.exists()

    until(replaced, "a checkpoint to replace")


def kill_and_wait(prometheus: Prometheus, run: Run, role: str) -> None:
    """Kill a role, and wait until Prometheus has seen its next life."""
    start = f'process_start_time_seconds{{rljob="{run.name}",pod="{role}"}}'
    before = prometheus.value(start)
    pid = run.signal(role, signal.SIGKILL)
    until(lambda: run.processes().get(role, pid) != pid, f"{role} is back")
    until(lambda: prometheus.value(start) > before, f"the new {role} is scraped")
