"""A job in training as lines of text. Pure: no terminal, no clock.

A line is a list of spans. A span is a text and the name of its style in `STYLES`. The same lines are used for
a colour terminal, a plain log and the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rljob.run_folder.record import Record
from rljob.show.view.figures import (
    ReturnCurve,
    count,
    feeds,
    reached,
    roughly,
    score,
    share_text,
    some,
    span_text,
)
from rljob.spec import RLJob, StopSpec
from rljob.version import __version__

Span = tuple[str, str]
TextLine = list[Span]

STYLES = {
    "": "",
    "label": "dim",
    "dim": "dim",
    "name": "bold",
    "value": "bold",
    "history": "cyan",
    "good": "green",
    "warning": "yellow",
    "bad": "bold red",
}
BLOCKS = "▁▂▃▄▅▆▇█"
WIDE, MEDIUM = 110, 78
"""Minimum widths in columns: for waiting times beside the buffer, and for two facts in one line."""
LABEL, LEFT, RIGHT_LABEL, SCORE = 10, 36, 12, 9
"""Widths in columns: left labels, left values, right labels, a return."""
CALM = ("running", "ready", "ended")
"""States of a role that are not shown."""


@dataclass
class State:
    """State of a job.

    Attributes:
        place: the run's folder or the cluster's namespace.
        record: the learner's newest record; None before the first.
        roles: state of each role by name, e.g. `{"learner-0": "starting"}`.
        evaluation: the newest line of `evaluations.jsonl`, or empty.
        now: current time, seconds since the epoch.
        ended: reason of the run's end; empty before.
    """

    job: RLJob
    place: str
    record: Record | None = None
    restarts: int = 0
    roles: Mapping[str, str] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    history: ReturnCurve = field(default_factory=ReturnCurve)
    now: float = 0.0
    ended: str = ""

    def advance(self, record: Record | None, restarts: int, roles: Mapping[str, str]) -> None:
        """Update the state; `record` is None without a new record."""
        if record is not None:
            # A resumed learner repeats some steps; do not show them as lost progress.
            self.record = record if self.record is None else record.at_least(self.record)
            self.history.add(record)
        self.restarts, self.roles = restarts, dict(roles)


def header(job: RLJob, place: str, width: int) -> list[TextLine]:
    """Header with the job and its place, wrapped to `width`."""
    spec = job.spec
    algorithm = spec.algorithm.name or spec.algorithm.entry_point or ""
    played = [spec.environment.label] if spec.environment.played else []
    parts = [f"rljob {__version__}", job.metadata.name, *played, algorithm, feeds(spec), place]
    rows = [parts[0]]
    for part in parts[1:]:
        joined = f"{rows[-1]} · {part}"
        if len(joined) <= width:
            rows[-1] = joined
        else:
            rows.append("  " + part)
    return [[(row, "name" if row is rows[0] else "")] for row in rows]


def panel(state: State, width: int) -> list[TextLine]:
    """The live area. Its height depends only on the width. Changing values are at the end of a line or
    have a fixed width, so that the layout is stable."""
    wide = width >= WIDE
    cells = _cells(state, wide)
    fed = "rollouts" if "rollouts" in cells else "apps"
    if width >= MEDIUM:
        history = _history(state, LEFT - SCORE)
        lines = [
            _row("return", history, "best", cells["best"] + (cells["eval"] if wide else [])),
            _row("steps", cells["steps"], "updates", cells["updates"]),
            _row("policy", cells["policy"], "buffer", cells["buffer"]),
        ]
        if not wide:
            lines.append(_row("waiting", cells["waiting"], "eval", cells["eval"]))
        lines.append(_row(fed, cells[fed], "checkpoint", cells["checkpoint"]))
    else:
        history = _history(state, max(8, width - RIGHT_LABEL - SCORE - 4))
        lines = [_labelled("return", history, RIGHT_LABEL)]
        lines += [_labelled(name, cell, RIGHT_LABEL) for name, cell in cells.items()]
    return [[], *lines, _troubles(state), _bar(state, width)]


def _cells(state: State, wide: bool) -> dict[str, TextLine]:
    record, spec = state.record or Record(), state.job.spec
    steps, target = record.steps, spec.stop.steps
    of = f"{count(steps):>{len(count(target))}} of {count(target)}" if target else count(steps)
    cells: dict[str, TextLine] = {
        "best": [(score(record.best_return), "")],
        "eval": _evaluation(state.evaluation, wide),
        "steps": [(of, "value"), _rate(record.steps_per_second)],
        "updates": [
            (count(record.updates), "value"),
            _rate(record.updates_per_second),
        ],
        "policy": _policy(record),
        "buffer": [(share_text(record.buffer_fill), "value")],
        "waiting": [],
        **_feeders(state),
        "checkpoint": _checkpoint(record, state.now),
    }
    rollouts, learner = share_text(record.rollouts_waiting), share_text(record.learner_waiting)
    if wide:
        cells["buffer"] += [(f" · rollouts waited {rollouts}, learner waited {learner}", "")]
    else:
        cells["buffer"] += [(" full", "")]
        cells["waiting"] = [(f"rollouts {rollouts}, learner {learner}", "")]
    return cells


def _history(state: State, width: int) -> TextLine:
    columns = state.history.columns(width)
    mean = state.record.mean_return if state.record else None
    if not columns or mean is None:
        return [("no episode has ended yet".ljust(width + SCORE), "dim")]
    low = min(columns)
    high = max(*columns, low, state.job.spec.stop.mean_return or low)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    blocks = "".join(BLOCKS[round((value - low) * scale)] for value in columns)
    return [(blocks.ljust(width), "history"), (f"{score(mean):>{SCORE}}", "value")]


def _evaluation(evaluation: Mapping[str, Any], wide: bool) -> TextLine:
    """Beside the best return in a wide terminal, else in its own cell."""
    if not evaluation:
        return [] if wide else [("–", "")]
    mean = evaluation["mean"]
    text = f"{score(mean)} ± {score(evaluation['std'], mean)}"
    if not wide:
        return [(text, "")]
    episodes = some(evaluation["episodes"], "episode")
    return [(" · eval ", "label"), (text, ""), (f" ({episodes})", "label")]


def _rate(value: float | None) -> Span:
    return (f" · {count(value)}/s", "") if value is not None else ("", "")


def _policy(record: Record) -> TextLine:
    version = record.policy_version
    if version is None:
        return [("none yet", "dim")]
    lag = f" · lag p50 {record.lag_p50 or 0}, p95 {record.lag_p95 or 0}"
    bound = record.lag_bound
    return [
        (f"v{version}", "value"),
        (lag, ""),
        (f" (bound {bound})" if bound is not None else "", ""),
    ]


def _feeders(state: State) -> dict[str, TextLine]:
    """The cell of what feeds the job: `apps` where there are no rollouts."""
    record, spec = state.record or Record(), state.job.spec
    restarts = f" · {some(state.restarts, 'restart')}"
    connected = record.applications_connected
    if not spec.environment.played:
        return {"apps": [(f"{connected} connected", "value"), (restarts, "")]}
    ready, wanted = record.rollouts_ready, spec.rollout.replicas
    style = "value" if ready >= wanted else "warning"
    apps = f" · {some(connected, 'app')}" if spec.rollout.applications is not None else ""
    return {"rollouts": [(f"{ready}/{wanted} ready", style), (apps + restarts, "")]}


def _checkpoint(record: Record, now: float) -> TextLine:
    saved = record.checkpoint
    if not saved:
        return [("none yet", "dim")]
    age = span_text(max(0, round(now - saved.time))).replace(".0 s", " s")
    return [(f"v{saved.policy_version}", "value"), (f", {age} ago", "")]


def _troubles(state: State) -> TextLine:
    odd = [f"{name} {what}" for name, what in sorted(state.roles.items()) if what not in CALM]
    return [("  " + ", ".join(odd), "warning")] if odd else []


def _bar(state: State, width: int) -> TextLine:
    at = reached(state.job.spec.stop, state.record or Record(), state.history.first)
    length = max(10, min(40, width - 40))
    if state.ended:
        done = _CONDITIONS.get(state.ended)
        full = length if done else round(at.share * length)
        text = f"{_condition(state.job.spec.stop, done)} reached" if done else state.ended
    else:
        full = round(at.share * length)
        left = f" · ~{roughly(at.left)} left" if at.left is not None else ""
        text = f"{share_text(at.share)} of {at.condition}{left}"
    return [("  ", ""), ("━" * full, "good"), ("━" * (length - full), "dim"), (f" {text}", "")]


_CONDITIONS = {
    "MeanReturnReached": "mean_return",
    "StepsReached": "steps",
    "UpdatesReached": "updates",
    "EpisodesReached": "episodes",
    "DurationReached": "duration",
}


def _condition(stop: StopSpec, name: str | None) -> str:
    if name == "mean_return":
        return f"meanReturn {stop.mean_return:g}"
    if name == "duration" or name is None:
        return f"duration {stop.duration}"
    return f"{count(getattr(stop, name) or 0)} {name}"


def _labelled(label: str, cell: Iterable[Span], width: int = LABEL) -> TextLine:
    return [("  " + label.ljust(width), "label"), *cell]


def _row(left: str, first: TextLine, right: str, second: TextLine) -> TextLine:
    gap = " " * max(2, LEFT - sum(len(text) for text, _ in first))
    return [*_labelled(left, first), (gap + right.ljust(RIGHT_LABEL), "label"), *second]


def text(line: Sequence[Span]) -> str:
    """A line without its styles."""
    return "".join(part for part, _ in line).rstrip()
