"""The report's pure parts: what records say, which runs belong together, axes, and the page's text."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rljob import spec
from rljob.errors import InputError
from rljob.show.report.files import read
from rljob.show.report.groups import group, spread
from rljob.show.report.history import RunHistory, between, history, thin
from rljob.show.report.page import page
from rljob.show.report.plots import Plot, PlotLine, plots, returns, shares
from rljob.show.report.scale import Scale, nice_step, tick, time_tick, x_scale, y_scale

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def record(seconds: float, **more: Any) -> dict[str, Any]:
    """A line of metrics.jsonl, `seconds` after the run began."""
    return {
        "time": 1000.0 + seconds,
        "seconds": seconds,
        "steps": 100 * seconds,
        "meanReturn": 10 * seconds,
        "bestReturn": 10 * seconds,
        "policyVersion": int(seconds),
        "stepsPerSecond": 100.0,
        "lagP50": 1,
        "lagP95": 2,
        "lagBound": 4,
        "bufferFill": 0.5,
        "rolloutsWaiting": 0.1,
        "learnerWaiting": 0.25,
        "stages": {"update": 0.5, "publish": 0.05, "checkpoint": 0.0},
        "checkpoint": None,
        "metrics": {"policy_loss": -0.5, "entropy": None},
        **more,
    }


def job(**changed: Any) -> str:
    values: dict[str, Any] = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO"},
        "stop": {"meanReturn": 475, "steps": 1000},
        "seed": 0,
        **changed,
    }
    return spec.dump(spec.parse({"metadata": {"name": "pole"}, "spec": values}))


def write(folder: Path, lines: list[dict[str, Any]], **changed: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(job(**changed))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = {"outcome": "Complete", "reason": "MeanReturnReached", "meanReturn": 30.0}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


# ---- history


def test_what_a_learner_lost_when_it_went_back_is_left_out() -> None:
    lines = [record(1), record(2), record(3), {**record(1.5), "time": 1010.0}, record(2.5)]
    told = history(lines)
    assert [sample.seconds for sample in told.samples] == [1, 1.5, 2.5]
    assert [mark.kind for mark in told.marks] == ["restart"]


def test_a_pause_is_a_restart_and_takes_no_time() -> None:
    told = history([record(1), record(2), {**record(3), "time": 5000.0}])
    assert [(mark.kind, mark.seconds) for mark in told.marks] == [("restart", 3.0)]
    assert not history([record(1), record(2), record(3)]).marks


def test_a_death_that_was_told_is_not_counted_twice() -> None:
    events = [{"time": 1002.5, "role": "learner-0", "event": "died", "reason": "was killed"}]
    told = history([record(1), record(2), {**record(2.1), "time": 1010.0}], events=events)
    assert [mark.text for mark in told.marks] == ["learner-0 was killed"]
    assert 2.0 <= told.marks[0].seconds <= 2.1


def test_each_checkpoint_is_marked_once_where_it_was_first_seen() -> None:
    saved = [{"policyVersion": version} for version in (1, 1, 4)]
    told = history([record(k + 1.0, checkpoint=saved[k]) for k in range(3)])
    assert [(m.text, m.steps) for m in told.marks] == [
        ("checkpoint v1", 100),
        ("checkpoint v4", 300),
    ]


def test_an_evaluation_lies_where_its_policy_was_made() -> None:
    line = {"time": 1.0, "policyVersion": 2, "mean": 7.0, "std": 1.0, "episodes": 5}
    told = history([record(1), record(3)], [line, {"mean": 3}, {}])
    assert [(x, played.mean) for x, played in told.evaluated("steps")] == [(200.0, 7.0)]


@pytest.mark.parametrize(
    "line", [{}, {"time": "now"}, {"time": 1, "seconds": math.nan, "steps": 1}]
)
def test_what_is_no_record_is_left_out(line: dict[str, Any]) -> None:
    assert not history([line])


def test_a_mean_weighs_each_record_by_its_time() -> None:
    told = history([record(1, x=1.0), record(4, x=5.0)])
    assert told.mean("x") == pytest.approx((1 * 1 + 5 * 3) / 4)
    assert told.mean("y") is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(3, 50))
def test_thinned_points_keep_ends_order_and_range(values: list[float], most: int) -> None:
    points = [(float(x), y) for x, y in enumerate(values)]
    kept = thin(points, most)
    assert len(kept) <= most
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert kept == sorted(kept, key=lambda point: point[0])
    assert min(values) - 1e-3 <= min(y for _, y in kept) <= max(values) + 1e-3


def test_between_points_and_beyond_them() -> None:
    points = [(0.0, 0.0), (2.0, 4.0)]
    assert [between(points, x) for x in (-1, 0, 1, 2, 3)] == [0, 0, 2, 4, 4]


# ---- groups


def test_runs_that_differ_in_their_seed_alone_are_one_group(tmp_path: Path) -> None:
    runs = [read(write(tmp_path / f"r{seed}", [record(1)], seed=seed)) for seed in (3, 4)]
    fast = {"name": "PPO", "config": {"learningRate": 0.5}}
    other = read(write(tmp_path / "other", [record(1)], algorithm=fast))
    found = group([runs[0], other, runs[1]])
    assert [[run.name for run in each.runs] for each in found] == [["r3", "r4"], ["other"]]
    assert found[1].label == "learningRate 0.5"
    assert found[0].seeds == "3, 4"


def test_spread_is_taken_where_all_curves_are() -> None:
    both = spread([[(0.0, 0.0), (10.0, 10.0)], [(2.0, 4.0), (12.0, 14.0)]])
    assert both.mean[0] == pytest.approx((2.0, 3.0))
    assert both.mean[-1] == pytest.approx((10.0, 11.0))
    assert both.band[0] == pytest.approx((2.0, 3.0 - math.sqrt(2), 3.0 + math.sqrt(2)))
    assert not spread([[(0.0, 0.0), (1.0, 1.0)], [(2.0, 0.0), (3.0, 0.0)]]).mean


# ---- plots and axes


def test_one_run_has_its_curve_its_goal_and_its_marks(tmp_path: Path) -> None:
    lines = [record(1), record(2, checkpoint={"policyVersion": 2})]
    drawn = returns(group([read(write(tmp_path / "r", lines))]), "steps")
    assert [line.points for line in drawn.lines] == [[(100, 10), (200, 20)]]
    assert [level.y for level in drawn.levels] == [475]
    assert [mark.text for mark in drawn.marks] == ["checkpoint v2"]


def test_several_seeds_have_a_mean_and_a_band(tmp_path: Path) -> None:
    runs = [read(write(tmp_path / str(s), [record(1), record(2)], seed=s)) for s in range(3)]
    drawn = returns(group(runs), "seconds")
    assert [line.quiet for line in drawn.lines] == [True, True, True, False]
    assert len(drawn.bands) == 1


def test_shares_of_the_time_add_up() -> None:
    spent = shares(history([record(1), record(2)]))
    assert sum(share for _, share in spent) == pytest.approx(1.0)
    assert dict(spent)["waiting for data"] == 0.25
    assert shares(RunHistory()) == []


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    empty = read(write(tmp_path / "r", []))
    assert plots(group([empty])) == []
    keys = {plot.key for plot in plots(group([read(write(tmp_path / "q", [record(1)]))]))}
    assert {"return", "lag", "buffer", "learner-time", "algorithm-policy-loss"} <= keys
    assert "algorithm-entropy" not in keys


def test_plots_of_names_that_are_alike_have_files_of_their_own(tmp_path: Path) -> None:
    info = {"a.b": 1.0, "a b": 2.0, "A-B": 3.0, "x" * 64: 4.0, "x" * 63: 5.0}
    metrics = {"my_loss": 1.0, "my loss": 2.0, "my-loss-2": 3.0, "é" * 300: 4.0}
    lines = [record(1, info=info, metrics=metrics)]
    found = plots(group([read(write(tmp_path / "q", lines))]))
    keys = [plot.key for plot in found if plot.key.startswith(("info-", "algorithm-"))]
    assert len(keys) == len({key.lower() for key in keys}) == len(info) + len(metrics)
    assert all(len(f"{key}.png".encode()) < 256 for key in keys)
    shown = {plot.key: plot.lines[0].points[-1][1] for plot in found if plot.lines}
    assert (shown["info-a-b"], shown["info-a-b-2"], shown["info-a-b-3"]) == (1.0, 2.0, 3.0)


@given(st.floats(1e-9, 1e12), st.integers(2, 10))
def test_steps_between_ticks_are_round_and_few(span: float, most: int) -> None:
    step = nice_step(span, most)
    assert span / step <= most * (1 + 1e-6)
    digits = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(digits - nice) for nice in (1, 2, 2.5, 5)) < 1e-6


@given(st.lists(st.tuples(st.floats(0, 1e9), st.floats(-1e9, 1e9)), max_size=5))
def test_all_that_is_drawn_lies_inside(points: list[tuple[float, float]]) -> None:
    plot = Plot("k", "t", "", "steps", [PlotLine("l", 0, points)], zero=False)
    x, y = x_scale(plot), y_scale(plot)
    for each in points:
        assert -1e-9 <= x.at(each[0]) <= 1 + 1e-9
        assert -1e-9 <= y.at(each[1]) <= 1 + 1e-9


def test_ticks_are_as_short_as_they_can_be() -> None:
    assert [tick(v, (0, 250_000)) for v in (0, 250_000)] == ["0", "250 k"]
    assert tick(1_500_000, (0, 1_500_000)) == "1.5 M"
    assert tick(-0.02, (-0.02, 0)) == "−0.02"
    assert tick(0.5, (0, 1), share=True) == "50 %"
    assert [time_tick(v, (0, 300)) for v in (0, 300)] == ["0", "5 min"]
    assert time_tick(7200, (0, 3600)) == "2 h"
    assert Scale(0, 10, ()).at(5) == 0.5


# ---- files and the page


class Text(HTMLParser):
    """Collects tags and text of a page, its style and script aside."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("style", "script"):
            self.text += data


def test_the_page_of_a_whole_run(tmp_path: Path) -> None:
    run = read(write(tmp_path / "pole-1", [record(1), record(2)]))
    found = Text(page([run], NOW))
    for words in ("pole-1", "CartPole-v1", "Solved", "Policy lag", "2030-01-02 03:04"):
        assert words in found.text
    assert "What is missing" not in found.text
    # Nothing is fetched.
    links = [a for _, a in found.tags if a.get("src") or a.get("href") not in (None, "data:,")]
    assert links == []


def test_whatever_comes_from_outside_is_text(tmp_path: Path) -> None:
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    folder = write(tmp_path / "a<b>&", [record(1, metrics={evil: 1.0})])
    (folder / "job.yaml").write_text(f"metadata: {{name: {json.dumps(evil)}}}\n")
    result = {"outcome": "Failed", "reason": evil, "message": evil, "versions": {evil: evil}}
    (folder / "result.json").write_text(json.dumps(result))
    other = read(write(tmp_path / evil.replace("/", "-"), [record(2)], seed=2))
    for runs in ([read(folder)], [read(folder), other]):
        markup = page(runs, NOW)
        found = Text(markup)
        assert [tag for tag, _ in found.tags if tag in ("img", "b")] in ([], ["b"])
        assert sum(tag == "script" for tag, _ in found.tags) == 1
        assert not [a for _, attrs in found.tags for a in attrs if a.startswith("on")]
        assert "alert(1)" in found.text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"metrics.jsonl": None}, "metrics.jsonl is missing: there are no plots"),
        ({"metrics.jsonl": ""}, "metrics.jsonl is empty: there are no plots"),
        ({"metrics.jsonl": '{"time": 1\n[1]\n'}, "metrics.jsonl has 2 lines that cannot be read"),
        ({"job.yaml": None}, "job.yaml is missing"),
        ({"job.yaml": "a: [1"}, "job.yaml cannot be read by this version of rljob"),
        ({"result.json": None}, "result.json is missing: the run has not ended, or was killed"),
        ({"result.json": "{"}, "result.json cannot be read"),
        (
            {"metrics.jsonl": "\x00\xff", "job.yaml": "\x00", "result.json": "[]"},
            "there are no plots",
        ),
    ],
)
def test_a_broken_run_says_what_is_missing(
    tmp_path: Path, broken: dict[str, str | None], said: str
) -> None:
    folder = write(tmp_path / "r", [record(1)])
    for name, text in broken.items():
        if text is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text, encoding="latin-1")
    run = read(folder)
    assert said in Text(page([run], NOW)).text
    whole = read(write(tmp_path / "whole", [record(1)]))
    assert said in Text(page([run, whole], NOW)).text


def test_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such folder"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match=re.escape("is not a run's folder")):
        read(tmp_path)
