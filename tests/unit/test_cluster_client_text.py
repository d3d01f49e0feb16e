"""What the client shows of jobs: table, page, live view, and how a job ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rljob.client.detail import detail
from rljob.client.job import ClusterJob, JobEvent, one_line
from rljob.client.live import ending_lines, event_line, record, roles
from rljob.client.table import age, head, row
from rljob.errors import RunError
from rljob.show.view.columns import columns
from rljob.show.view.panel import State, panel, text
from tests.unit.clusterjobs import NOW, TRAINING, before, cluster_job, condition, event, raw


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 600, "3h10m"),
        (8 * 3600 + 600, "8h"),
        (48 * 3600, "2d"),
        (50 * 3600, "2d2h"),
        (8 * 86_400 + 3600, "8d"),
        (400 * 86_400, "400d"),
    ],
)
def test_ages_are_those_of_kubectl(seconds: float, expected: str) -> None:
    assert age(timedelta(seconds=seconds)) == expected


def test_the_table_has_the_columns_of_kubectl() -> None:
    jobs = [cluster_job(TRAINING), cluster_job()]
    lines, _ = columns([head(), *(row(job, NOW) for job in jobs)])
    assert lines == [
        "NAME   PHASE      ROLLOUTS   APPS   LEARNER   STEP    RETURN   STEPS/S   LAG   RESTARTS   AGE",
        "test   Training   1/2        -      Running   81920   384.2    61200     2     4          2m30s",
        "test   Pending    -          -      -         -       -        -         -     0          2m30s",
    ]


def test_more_is_shown_where_it_is_asked_for() -> None:
    cells = row(cluster_job(TRAINING), NOW, everywhere=True, wide=True)
    named = dict(zip(head(everywhere=True, wide=True), cells, strict=True))
    wide = ("NAMESPACE", "BEST", "BUFFER", "CHECKPOINT", "REASON")
    assert [named[key] for key in wide] == ["rl", "391.0", "12 %", "80000", "AllRolesReady"]


def test_columns_only_grow() -> None:
    _, widths = columns([["a", "long"], ["b", "c"]])
    assert columns(
        [
            [
                "abc",
                "d",
            ]
        ],
        widths,
    ) == (["abc   d"], [3, 4])


def test_a_job_that_is_being_deleted_says_so() -> None:
    going = raw(TRAINING)
    going["metadata"]["deletionTimestamp"] = before(1)
    assert ClusterJob.of(going).phase == "Terminating"


def test_a_status_of_another_version_is_named() -> None:
    with pytest.raises(
        RunError, match="this version of rljob cannot read the status of test: phase"
    ):
        cluster_job({"phase": "Dreaming"})
    # What was added to it does not matter.
    assert cluster_job({"phase": "Training", "mood": "good"}).phase == "Training"


def test_a_list_goes_on_where_one_status_cannot_be_read() -> None:
    odd = ClusterJob.listed(raw({"phase": "Dreaming"}))

    assert (odd.name, odd.phase, odd.end) == ("test", "Unknown", None)
    assert row(odd, NOW)[1] == "Unknown"
    assert ClusterJob.listed(raw(TRAINING)) == ClusterJob.of(raw(TRAINING))


# ---- one job


def test_a_status_looks_like_a_local_run() -> None:
    job = cluster_job(TRAINING, stop={"steps": 500_000, "meanReturn": 475})
    state = State(job.job(), "namespace rl", now=NOW.timestamp())
    state.advance(record(job.status), job.status.restarts, roles(job.status))
    drawn = "\n".join(text(line) for line in panel(state, 120))
    assert (
        drawn
        == """
  return    ▁                              384.2  best        391.0
  steps      81,920 of 500,000 · 61,200/s       updates     3,328 · 610/s
  policy    v104 · lag p50 1, p95 2 (bound 4)   buffer      12 % · rollouts waited  3 %, learner waited  9 %
  rollouts  1/2 ready · 4 restarts              checkpoint  v100, 2 s ago
  rollout 1/2 ready (Unschedulable): 0/2 nodes are available: 2 Insufficient cpu
  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 16 % of 500,000 steps · ~570 s left""".replace(
            "~570 s", "~9m 30s"
        )
    )


def test_a_job_without_a_status_can_be_shown() -> None:
    job = cluster_job()
    state = State(job.job(), "namespace rl")
    state.advance(record(job.status), 0, roles(job.status))
    assert "0/2 ready" in "\n".join(text(line) for line in panel(state, 80))


PAGE = """\
Training · created 2m30s ago, started 2m ago

Roles
  rollout   1/2 ready   3 restarts   Unschedulable: 0/2 nodes are available: 2 Insufficient cpu
  buffer    1/1 ready   0 restarts
  learner   1/1 ready   1 restart

Conditions
  Ready   True   AllRolesReady   30s ago

Checkpoint
  policy version   100, at step 80,000
  written          2s ago
  verified         yes
  path             checkpoints/000000000100
  sha256           ab12

Last failure
  what      learner (test-learner-a), 60s ago
  why       OOMKilled, exit code 137
  message   Killed [31m

Provenance
  rljob              0.1.0
  seed               7
  image of learner   a/b@sha256:1

Events
  20s ago        Noticed   a thing
  10s ago (x3)   Noticed   another"""


def test_the_page_of_a_job_says_it_all() -> None:
    events = [event("a thing", 20), event("another", 10, count=3, type="Warning")]
    lines = detail(cluster_job(TRAINING), events, NOW, 120)
    shown = [text(line) for line in lines]
    assert shown[0].endswith("· test · CartPole-v1 · PPO · 2 rollouts × 16 envs · namespace rl")
    # The panel is tested above.
    without = [line for line in shown[1:] if line not in {text(each) for each in _panel(lines)}]
    assert "\n".join(_squeezed(without)) == PAGE
    warned = [line[0][0].split()[0] for line in lines if line and line[0][1] == "warning"]
    assert warned == ["rollout", "10s"]


def _panel(lines: list[list[tuple[str, str]]]) -> list[list[tuple[str, str]]]:
    """From the return to the bar."""
    start = next(i for i, line in enumerate(lines) if text(line).startswith("  return"))
    end = next(i for i, line in enumerate(lines) if "━" in text(line))
    return [line for line in lines[start : end + 1] if line]


def _squeezed(lines: list[str]) -> list[str]:
    """Without the second of two empty lines."""
    return [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])]


def test_a_change_that_nobody_has_seen_is_mentioned() -> None:
    job = cluster_job({**TRAINING, "observedGeneration": 0})
    assert any(
        "has not yet processed the latest change" in text(line) for line in detail(job, [], NOW, 80)
    )


def test_events_are_read_however_they_were_written() -> None:
    common = {"metadata": {"uid": "a", "creationTimestamp": before(100)}, "message": " said\n"}
    old = JobEvent.of({**common, "lastTimestamp": before(5), "count": 4})
    new = JobEvent.of({**common, "lastTimestamp": None, "eventTime": before(6)[:-1] + ".000001Z"})
    series = {"count": 9, "lastObservedTime": before(7)}
    many = JobEvent.of({**common, "eventTime": before(50), "series": series})
    assert [(NOW - one.time).total_seconds() for one in (old, new, many)] == [5, 5.999999, 7]
    assert [one.count for one in (old, new, many)] == [4, 1, 9]
    assert old.message == "said"


def test_an_event_stands_after_its_time_since_the_job_was_made() -> None:
    job = cluster_job()
    line = event_line(event("it was evicted", 100, type="Warning"), job.created)
    assert text(line) == "     50 s  it was evicted"
    assert line[1][1] == "warning"


def test_nothing_that_a_pod_says_steers_the_terminal() -> None:
    assert one_line("a\x1b]0;b\x07\r\nc\u202ed\te") == "a ]0;b c d e"


# ---- the end


def ended(kind: str, reason: str, message: str = "", **status: object) -> list[str]:
    conditions = [condition(kind, "True", reason, message)]
    job = cluster_job({**TRAINING, "phase": kind, "conditions": conditions, **status})
    assert job.end is not None
    return [text(line) for line in ending_lines(job, " -n rl")]


def test_a_job_that_completes_offers_its_policy() -> None:
    assert ended("Complete", "MeanReturnReached") == [
        "Solved in 1m 50s (81,920 steps).",
        "  rljob get-policy test --out test -n rl   fetch the policy",
        "  rljob eval test --episodes 20            play the policy",
    ]


def test_a_job_that_fails_says_why_and_where_to_look() -> None:
    lines = ended("Failed", "BackoffLimitExceeded", "it failed\n4 times", lastCheckpoint=None)
    assert lines == [
        "Failed after 81,920 steps, 1m 50s: it failed 4 times",
        "  rljob logs test --role learner -n rl   show the log",
    ]


def test_a_job_has_ended_when_a_condition_says_so() -> None:
    assert cluster_job(TRAINING).end is None
    not_yet = condition("Complete", "False", "Training")
    assert cluster_job({**TRAINING, "conditions": [not_yet]}).end is None
