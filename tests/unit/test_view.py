"""What a run looks like: golden texts at three widths, the history line, how the terminal is left."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rljob import __version__, spec
from rljob.local.summary import summary
from rljob.local.view import ScreenView
from rljob.run_folder.record import Record
from rljob.show.view.figures import ReturnCurve, count, reached, score, span_text
from rljob.show.view.lines import plain_line
from rljob.show.view.panel import State, header, panel, text
from rljob.show.view.screen import LiveScreen, PlainScreen, make_screen
from tests.unit.specs import GOOD, application_job, job

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
RECORD: dict[str, Any] = {
    "time": 1000.0,
    "seconds": 12.0,
    "steps": 81_920,
    "episodes": 700,
    "updates": 3328,
    "meanReturn": 384.25,
    "bestReturn": 391.0,
    "stepsPerSecond": 61_200.4,
    "updatesPerSecond": 610.2,
    "policyVersion": 104,
    "lagP50": 1,
    "lagP95": 2,
    "lagBound": 4,
    "bufferFill": 0.12,
    "rolloutsReady": 2,
    "rolloutsWaiting": 0.03,
    "learnerWaiting": 0.09,
    "checkpoint": {"policyVersion": 100, "time": 999.2},
}


def record(**changes: Any) -> Record:
    return Record.from_json({**RECORD, **changes})


def make_job(**stop: Any) -> spec.RLJob:
    return spec.parse(job(stop=stop or {"steps": 500_000, "meanReturn": 475}))


def training(**changes: Any) -> State:
    history = ReturnCurve()
    for index in range(40):
        history.add(
            Record.from_json({"steps": index * 2048, "meanReturn": 20.0 + index * index / 4})
        )
    evaluation = {"mean": 500.0, "std": 0.0, "episodes": 10}
    values = {"record": record(), "evaluation": evaluation, "history": history, "now": 1000.0}
    return State(make_job(), "runs/test-1", **{**values, **changes})


def drawn(state: State, width: int) -> str:
    return "\n".join(text(line) for line in panel(state, width))


GOLDEN = {
    60: """
  return      ▁▁▁▁▁▁▁▁▁▁▂▂▂▂▂▂▂▂▃▃▃▃▃▄▄▄▄▅▅▅▅▆▆▆▇    384.2
  best        391.0
  eval        500.0 ± 0.0
  steps        81,920 of 500,000 · 61,200/s
  updates     3,328 · 610/s
  policy      v104 · lag p50 1, p95 2 (bound 4)
  buffer      12 % full
  waiting     rollouts  3 %, learner  9 %
  rollouts    2/2 ready · 0 restarts
  checkpoint  v100, 1 s ago

  ━━━━━━━━━━━━━━━━━━━━ 80 % of meanReturn 475 · ~3 s left""",
    80: """
  return    ▁▁▁▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▇    384.2  best        391.0
  steps      81,920 of 500,000 · 61,200/s       updates     3,328 · 610/s
  policy    v104 · lag p50 1, p95 2 (bound 4)   buffer      12 % full
  waiting   rollouts  3 %, learner  9 %         eval        500.0 ± 0.0
  rollouts  2/2 ready · 0 restarts              checkpoint  v100, 1 s ago

  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 80 % of meanReturn 475 · ~3 s left""",
    120: """
  return    ▁▁▁▁▁▁▁▁▂▂▂▂▂▂▃▃▃▃▄▄▄▅▅▅▆▆▇    384.2  best        391.0 · eval 500.0 ± 0.0 (10 episodes)
  steps      81,920 of 500,000 · 61,200/s       updates     3,328 · 610/s
  policy    v104 · lag p50 1, p95 2 (bound 4)   buffer      12 % · rollouts waited  3 %, learner waited  9 %
  rollouts  2/2 ready · 0 restarts              checkpoint  v100, 1 s ago

  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 80 % of meanReturn 475 · ~3 s left""",
}
STARTING = """
  return    no episode has ended yet              best        –
  steps           0 of 500,000                  updates     0
  policy    none yet                            buffer       0 % full
  waiting   rollouts  0 %, learner  0 %         eval        –
  rollouts  0/2 ready · 0 restarts              checkpoint  none yet
  learner-0 starting
  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  0 % of 500,000 steps"""


@pytest.mark.parametrize("width", GOLDEN)
def test_a_running_job_looks_like_this(width: int) -> None:
    assert drawn(training(), width) == GOLDEN[width]


def test_a_job_that_applications_feed_shows_them() -> None:
    alone = State(spec.parse(application_job()), "runs/x-1", record=record(applicationsConnected=3))
    assert "  apps      3 connected · 0 restarts" in drawn(alone, 80)
    line = text(header(alone.job, alone.place, 120)[0])
    assert line.endswith("test · PPO · applications · runs/x-1")
    assert " applications 3 restarts 0" in plain_line(alone)
    assert "rolloutsReady" not in plain_line(alone)
    both = State(
        spec.parse(GOOD["applications-and-rollouts"]), "x", record=record(applicationsConnected=1)
    )
    assert "  rollouts  2/2 ready · 1 app · 0 restarts" in drawn(both, 80)
    assert "2 rollouts × 1 env, applications" in text(header(both.job, both.place, 120)[0])


def test_a_starting_job_looks_like_this() -> None:
    state = State(make_job(), "runs/test-1", roles={"learner-0": "starting", "buffer-0": "ready"})
    assert drawn(state, 80) == STARTING


@pytest.mark.parametrize("width", [60, 72, 78, 80, 100, 110, 120, 200])
def test_the_panel_keeps_its_height_and_fits(width: int) -> None:
    empty = State(make_job(), "runs/test-1")
    long = {"steps": 9_999_999, "stepsPerSecond": 161_200, "policyVersion": 99_999}
    states = (empty, training(), training(record=record(**long), restarts=12))
    assert len({len(panel(state, width)) for state in states}) == 1
    assert all(len(text(line)) <= width for state in states for line in panel(state, width))


def test_values_change_and_nothing_moves() -> None:
    more = {"steps": 400_000, "rolloutsWaiting": 0.42, "learnerWaiting": 0.0, "meanReturn": 9.5}
    before, after = training(), training(record=record(**more))
    for label in ("updates", "buffer", "checkpoint", "learner"):
        places = [
            [line.find(label) for line in drawn(state, 120).splitlines()]
            for state in (before, after)
        ]
        assert places[0] == places[1]


def test_no_lag_bound_is_shown_where_there_is_none() -> None:
    assert "p95 2   " in drawn(training(record=record(lagBound=None)), 80)


def test_the_header_breaks_where_the_terminal_ends() -> None:
    assert [text(line) for line in header(make_job(), "runs/test-1", 60)] == [
        f"rljob {__version__} · test · CartPole-v1 · PPO",
        "  2 rollouts × 16 envs · runs/test-1",
    ]


# ---- history and stop condition


def test_the_history_spans_the_whole_run_by_steps() -> None:
    history = ReturnCurve()
    for steps, mean in ((100, 1.0), (200, 3.0), (300, 2.0), (400, 4.0), (1000, 10.0)):
        history.add(Record.from_json({"steps": steps, "meanReturn": mean}))
    assert history.columns(2) == [2.5, 10.0]
    # Nothing is known between 400 and 1000: the last value is repeated.
    assert history.columns(5) == [1.0, 2.5, 4.0, 4.0, 10.0]
    assert history.columns(100) == history.columns(5)


def test_the_history_keeps_its_shape_however_long_the_run() -> None:
    history = ReturnCurve()
    for steps in range(1, 20_001):
        history.add(Record.from_json({"steps": steps, "meanReturn": float(steps)}))
    assert history.columns(4) == pytest.approx([2500, 7500, 12_500, 17_500], rel=0.02)


def test_what_repeats_or_says_nothing_leaves_the_history_alone() -> None:
    history = ReturnCurve()
    for steps, mean in ((0, None), (5, 1.0), (5, 9.0), (4, 9.0), (6, float("nan"))):
        history.add(Record.from_json({"steps": steps, "meanReturn": mean}))
    assert history.columns(9) == [1.0]


@pytest.mark.parametrize(
    ("stop", "record", "share", "condition"),
    [
        ({"steps": 1000}, {"steps": 250}, 0.25, "1,000 steps"),
        ({"duration": "10m"}, {"seconds": 300.0}, 0.5, "duration 10m"),
        ({"meanReturn": 100}, {"meanReturn": 60.0}, 0.5, "meanReturn 100"),
        ({"meanReturn": 100}, {"meanReturn": 10.0}, 0.0, "meanReturn 100"),
        ({"meanReturn": 100}, {"meanReturn": 120.0}, 0.99, "meanReturn 100"),
        ({"meanReturn": 100, "steps": 10}, {"meanReturn": 60.0, "steps": 6}, 0.6, "10 steps"),
        ({"meanReturn": 100}, {}, 0.0, "meanReturn 100"),
        ({"updates": 2000, "steps": 100}, {"updates": 1000, "steps": 1}, 0.5, "2,000 updates"),
        ({"episodes": 10}, {"episodes": 12}, 1.0, "10 episodes"),
    ],
)
def test_the_nearest_stop_condition_is_shown(
    stop: dict[str, Any], record: dict[str, Any], share: float, condition: str
) -> None:
    found = reached(make_job(**stop).spec.stop, Record.from_json(record), first=20.0)
    assert found.share == pytest.approx(share)
    assert found.condition == condition


def test_time_left_follows_from_the_share_and_is_not_guessed_too_early() -> None:
    stop = make_job(steps=1000).spec.stop
    assert reached(
        stop, Record.from_json({"steps": 250, "seconds": 10.0}), None
    ).left == pytest.approx(30.0)
    assert reached(stop, Record.from_json({"steps": 250, "seconds": 0.5}), None).left is None
    endless = spec.parse(application_job(stop={})).spec
    assert reached(endless.stop, Record(), None).condition == "no end"
    assert reached(stop, Record.from_json({"steps": 1, "seconds": 10.0}), None).left is None


# ---- numbers


def test_numbers_are_written_for_people() -> None:
    assert [count(n) for n in (0, 61_200.4, 12_345_678)] == ["0", "61,200", "12.35 M"]
    assert [score(x) for x in (0.125, -110.0, 12_345.6, None)] == ["0.12", "-110.0", "12,346", "–"]
    spans = [span_text(s) for s in (0, 2.14, 9.96, 59.7, 80, 3599.6, 7500)]
    assert spans == ["0.0 s", "2.1 s", "10 s", "1m 00s", "1m 20s", "1h 00m", "2h 05m"]


# ---- the end


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            {
                "outcome": "Complete",
                "reason": "MeanReturnReached",
                "steps": 106_496,
                "seconds": 2.1,
                "evaluation": {"mean": 491.5, "std": 12.25, "episodes": 10},
            },
            [
                "Solved in 2.1 s (106,496 steps). Policy: runs/a/checkpoints/latest",
                "10 greedy episodes: 491.5 ± 12.2",
                "  rljob eval runs/a --episodes 20   play the policy",
                "  rljob report runs/a               write a report",
            ],
        ),
        (
            {
                "outcome": "Complete",
                "reason": "StepsReached",
                "steps": 500_000,
                "seconds": 80,
            },
            [
                "Ended after 500,000 steps (StepsReached), 1m 20s. Policy: runs/a/checkpoints/latest",
                "  rljob eval runs/a --episodes 20   play the policy",
                "  rljob report runs/a               write a report",
            ],
        ),
        (
            {"outcome": "Stopped", "steps": 10, "seconds": 3, "meanReturn": 9.25},
            [
                "Stopped after 10 steps, 3.0 s, mean return 9.25. Policy: runs/a/checkpoints/latest",
                "  rljob eval runs/a --episodes 20   play the policy",
                "  rljob report runs/a               write a report",
                "  rljob run --resume --dir runs/a   resume training",
            ],
        ),
        (
            {"outcome": "Failed", "reason": "CrashLoop", "message": "learner-0 died 4 times"},
            [
                "Failed after 0 steps, 0.0 s: learner-0 died 4 times",
                "Policy: runs/a/checkpoints/latest",
                "  rljob eval runs/a --episodes 20   play the policy",
                "  rljob report runs/a               write a report",
                "  rljob run --resume --dir runs/a   resume training",
            ],
        ),
    ],
)
def test_a_run_ends_with_what_it_reached_and_what_can_be_done(
    result: dict[str, Any], expected: list[str]
) -> None:
    assert [text(line) for line in summary(result, "runs/a", has_policy=True)] == expected


def test_a_crash_loop_shows_the_last_words_of_the_role() -> None:
    result = {"outcome": "Failed", "message": "died", "log": "a/r.log", "lastLines": "one\ntwo"}
    assert [text(line) for line in summary(result, "runs/a", has_policy=True)][:5] == [
        "Failed after 0 steps, 0.0 s: died",
        "Last lines of a/r.log:",
        "  one",
        "  two",
        "Policy: runs/a/checkpoints/latest",
    ]


def test_nothing_is_offered_that_would_not_work() -> None:
    failed = summary({"outcome": "Failed", "message": "no"}, "runs/a", has_policy=False)
    assert [text(line) for line in failed] == ["Failed after 0 steps, 0.0 s: no"]


# ---- without a terminal


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def run_plainly(encoding: str, folder: Path) -> list[str]:
    clock, raw = Clock(), io.BytesIO()
    out = io.TextIOWrapper(raw, encoding)
    view = ScreenView(PlainScreen(out, clock))
    view.started(make_job(), folder)
    for _ in range(8):
        view.progress(record(), 1, {})
        clock.now += 1.0
    view.event("rollout-1 was killed; it starts again")
    view.finished({"outcome": "Complete", "reason": "StepsReached", "steps": 500_000}, folder)
    out.flush()
    return raw.getvalue().decode(encoding).splitlines()


def test_the_plain_view_writes_a_line_at_once_and_then_every_three_seconds(tmp_path: Path) -> None:
    lines = run_plainly("utf-8", tmp_path)
    moments = [line for line in lines if line.startswith("seconds ")]
    assert len(moments) == 3 + 1
    assert " steps 81920 " in moments[0]
    assert " steps 500000 " in moments[-1]
    assert lines[0].startswith(f"rljob {__version__} · test")
    assert sum(line.endswith(" s  rollout-1 was killed; it starts again") for line in lines) == 1


def test_the_plain_view_writes_ascii_where_the_output_knows_no_more(tmp_path: Path) -> None:
    lines = run_plainly("ascii", tmp_path)
    assert lines[0].startswith(f"rljob {__version__} - test - CartPole-v1")
    assert "2 rollouts x 16 envs" in lines[0]


def test_a_plain_line_has_the_same_keys_from_the_first_to_the_last() -> None:
    lines = [plain_line(State(make_job(), "runs/a")), plain_line(training())]
    keys = [re.findall(r"([A-Za-z0-9]+) [^ ]+", line) for line in lines]
    assert keys[0] == keys[1]
    assert "meanReturn - " in lines[0]
    assert "meanReturn 384.25 " in lines[1]


@pytest.mark.parametrize(
    ("terminal", "kind", "plain", "expected"),
    [
        (True, "xterm-256color", False, LiveScreen),
        (True, "xterm-256color", True, PlainScreen),
        (True, "dumb", False, PlainScreen),
        (False, "xterm-256color", False, PlainScreen),
    ],
)
def test_only_a_terminal_that_can_show_it_gets_the_live_view(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, kind: str, plain: bool, expected: type
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(out, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", kind)
    assert type(make_screen(plain)) is expected


# ---- in a terminal


def make_live() -> tuple[ScreenView, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, highlight=False)
    return ScreenView(LiveScreen(console)), out


def test_the_cursor_comes_back_whatever_happens(tmp_path: Path) -> None:
    view, out = make_live()
    view.started(make_job(), tmp_path)
    view.progress(record(), 0, {})
    assert HIDE in out.getvalue()
    assert SHOW not in out.getvalue()
    view.close()
    view.close()
    assert out.getvalue().count(SHOW) == 1


def test_events_and_the_end_stay_above_and_below(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "latest").mkdir(parents=True)
    (tmp_path / "evaluations.jsonl").write_text(
        json.dumps({"mean": 321.5, "std": 2.5, "episodes": 10}) + '\n{"mean": 99'
    )
    view, out = make_live()
    view.started(make_job(), tmp_path)
    view.progress(record(), 0, {})
    view.event("rollout-1 was killed")
    view.finished({"outcome": "Complete", "reason": "MeanReturnReached", "seconds": 2.1}, tmp_path)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert shown.count("rollout-1 was killed") == 1
    assert "321.5 ± 2.5" in shown
    ending = shown[shown.rindex("meanReturn 475 reached") :]
    assert "Solved in 2.1 s" in ending
    assert SHOW in out.getvalue()


def test_counters_never_jump_backwards(tmp_path: Path) -> None:
    view, out = make_live()
    view.started(make_job(), tmp_path)
    view.progress(record(), 0, {})
    view.progress(record(steps=40_960, policyVersion=52, rolloutsReady=1), 1, {})
    view.close()
    view.finished({"outcome": "Stopped", "reason": "Interrupted"}, tmp_path)
    shown = out.getvalue()
    assert "81,920 of" in shown
    assert "40,960" not in shown
    assert "1/2 ready" in shown


def test_a_resumed_run_shows_its_history_from_the_start(tmp_path: Path) -> None:
    lines = [{"steps": 100 * n, "meanReturn": float(n)} for n in range(1, 9)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"steps": 9'
    (tmp_path / "metrics.jsonl").write_text(text)
    view, out = make_live()
    view.started(make_job(meanReturn=8), tmp_path)
    view.progress(record(steps=900, meanReturn=8.0), 0, {})
    view.finished({"outcome": "Stopped", "reason": "Interrupted"}, tmp_path)
    assert "▁▂▃▄▅▆▇█" in out.getvalue()
