"""The jobs of these tests, and the verdict on what became of their experience."""

from __future__ import annotations

from tests.faults.runs import PATIENCE, Run, job
from tests.oracle import judge, vanished

PPO = job({"name": "PPO", "config": {"rolloutLength": 16, "epochs": 2}})
DQN = job({"name": "DQN", "config": {"minSize": 500}}, buffer={"capacity": 20_000})
PPO_SLOTS = 2 * (4 + 3)
"""Segments that PPO's buffer has room for: two a batch, a policy lag of 4, three more batches."""


def judged(
    run: Run, held: int | None = PPO_SLOTS, least: int = 60, patience: float = PATIENCE
) -> None:
    """End the run and hold its traces against the promise.

    Args:
        held: segments that the buffer may end with; None for replay, which keeps what it gave.
        least: operations below which nothing can be said.
        patience: seconds until so many count as hung.
    """

    def enough() -> bool:
        return judge(run.trace, least).operations >= least

    run.until(enough, f"{least} operations", patience, every=patience / 1000)
    assert run.stop() == run.interrupted, run.tell()
    judgement = judge(run.trace, least=least)
    assert judgement.verdict == "valid", f"{judgement}\n{run.tell()}"
    if held is not None:
        assert vanished(run.trace, held) == [], run.tell()
