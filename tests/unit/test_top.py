"""The table of how fast jobs go."""

from __future__ import annotations

from typing import Any

from rljob.client.top import lines
from rljob.show.view.panel import text
from tests.unit.clusterjobs import NOW, TRAINING, cluster_job, condition


def job(name: str, rate: int, **status: Any) -> Any:
    progress = {**TRAINING["progress"], "stepsPerSecond": rate}
    made = cluster_job({**TRAINING, "progress": progress, **status})
    made.raw["metadata"]["name"] = name
    return made


def shown(*jobs: Any, everywhere: bool = False) -> list[list[str]]:
    """The cells of each line."""
    found = lines(jobs, NOW, everywhere)
    return [[cell.strip() for cell in text(line).split("   ") if cell.strip()] for line in found]


def test_the_fastest_is_first_and_what_is_over_is_left_out() -> None:
    over = job(
        "c", 900, phase="Complete", conditions=[condition("Complete", "True", "StepsReached")]
    )

    table = shown(job("a", 10), job("b", 1200), over)

    assert [row[0] for row in table[1:-1]] == ["b", "a"]
    assert table[-1] == ["2 jobs, 1,210 steps/s"]


def test_what_each_column_says() -> None:
    (head, row, _) = shown(job("a", 1200))

    assert dict(zip(head, row, strict=True)) == {
        "NAME": "a",
        "PHASE": "Training",
        "STEPS/S": "1,200",
        "UPDATES/S": "610.2",
        "ROLLOUTS": "1/2",
        "ROLLOUTS WAIT": "3 %",
        "LEARNER WAITS": "9 %",
        "BUFFER": "12 %",
        "LAG": "2",
        "RETURN": "384.2",
        "REACHED": "100 %",
        "AGE": "2m30s",
    }


def test_what_holds_a_job_up_stands_where_its_phase_was() -> None:
    stalled = job("a", 0, conditions=[condition("Progressing", "False", "EnvironmentHung")])

    (_, line, _) = lines([stalled], NOW)

    assert "EnvironmentHung" in text(line)
    assert line[0][1] == "warning"


def test_no_jobs() -> None:
    assert shown()[-1] == ["0 jobs, 0 steps/s"]


def test_namespaces_come_first_when_there_are_several() -> None:
    (head, row, _) = shown(job("a", 1), everywhere=True)

    assert (head[0], row[0]) == ("NAMESPACE", "rl")
