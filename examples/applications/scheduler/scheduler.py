"""A batch scheduler with its own loop: asks an agent which job to start, and tells it how long each job was slowed down.

rljob run examples/applications/scheduler/job.yaml
python examples/applications/scheduler/scheduler.py runs/scheduler-1
python examples/applications/scheduler/compare.py runs/scheduler-1
"""

from __future__ import annotations

import sys

import numpy as np
from machine import Machine
from workload import PROCESSORS, QUEUES, Job, generate, read

import rljob

JOBS = 256
"""Jobs of one episode."""
SEEN = 32
"""So many waiting jobs are candidates: those that request the least time."""
NUMBERS = 6 + QUEUES


def candidates(machine: Machine) -> list[Job]:
    """Jobs among which the agent chooses."""
    return sorted(machine.waiting, key=lambda job: job.requested)[:SEEN]


def observe(machine: Machine, jobs: list[Job]) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each candidate, float32 `[SEEN, NUMBERS]`, and which rows are one, bool `[SEEN]`."""
    rows, mask = np.zeros((SEEN, NUMBERS), np.float32), np.zeros(SEEN, bool)
    shared = (machine.free / PROCESSORS, min(len(machine.waiting), 2 * SEEN) / (2 * SEEN))
    for row, job in zip(rows, jobs, strict=False):
        row[:6] = (
            np.log1p(machine.now - job.submitted) / 4 - 1,
            np.log(job.requested) / 2 - 4,
            np.log2(job.processors) - 2,
            job.processors <= machine.free,
            *shared,
        )
        row[6 + job.queue] = 1
    mask[: len(jobs)] = True
    return rows, mask


def schedule(agent: rljob.Agent, jobs: list[Job]) -> float:
    """Run some jobs; returns their mean bounded slowdown. The reward of a decision comes when its job has ended."""
    slowdowns: list[float] = []
    decisions = {}
    with agent.episode() as episode:

        def choose(machine: Machine) -> Job:
            jobs = candidates(machine)
            observation, mask = observe(machine, jobs)
            decision = episode.decide(observation, mask=mask)
            job = jobs[int(decision.action)]
            decisions[id(job)] = decision
            return job

        def ended(job: Job, slowdown: float) -> None:
            slowdowns.append(slowdown)
            if (decision := decisions.pop(id(job), None)) is not None:
                decision.reward(-slowdown)

        Machine(jobs, ended).run(choose)
        episode.end(terminated=True)
    return sum(slowdowns) / len(slowdowns)


def main(run: str, trace: str = "") -> None:
    """Schedule parts of a trace until the job ends; without a file's name, of a synthetic one."""
    if trace:
        with open(trace) as lines:
            jobs = list(read(lines))
    else:
        jobs = generate(seed=0)
    rng = np.random.default_rng(0)
    with rljob.Agent(run, name="scheduler") as agent:
        while True:
            first = int(rng.integers(len(jobs) - JOBS))
            mean = schedule(agent, jobs[first : first + JOBS])
            print(f"version {agent.policy_version}: slowdown {mean:.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
