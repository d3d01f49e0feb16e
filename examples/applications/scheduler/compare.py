"""Mean bounded slowdown of a trained policy, of FCFS and of SJF, over jobs that it was not trained with."""

from __future__ import annotations

import sys

from machine import Choose, Machine, first_come, shortest
from scheduler import JOBS, candidates, observe
from workload import Job, generate

import rljob


def mean_slowdown(choose: Choose, parts: int) -> float:
    """Over so many parts of a trace of its own."""
    jobs, slowdowns = generate(seed=1), list[float]()

    def ended(job: Job, slowdown: float) -> None:
        slowdowns.append(slowdown)

    for first in range(0, JOBS * parts, JOBS):
        Machine(jobs[first : first + JOBS], ended).run(choose)
    return sum(slowdowns) / len(slowdowns)


def main(run: str, parts: str = "40") -> None:
    """Print the table."""
    policy = rljob.load_policy(run)

    def learned(machine: Machine) -> Job:
        jobs = candidates(machine)
        observation, mask = observe(machine, jobs)
        return jobs[int(policy.act(observation, mask=mask))]

    for name, choose in (("FCFS", first_come), ("SJF", shortest), ("learned", learned)):
        print(f"{name:<8}{mean_slowdown(choose, int(parts)):6.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
