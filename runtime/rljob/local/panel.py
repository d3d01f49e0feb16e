"""What a run looks like as text: pure functions from what is known to lines. No terminal, no clock.

A line is a list of spans, each a text and the name of its style in `STYLES`, so that the same lines
serve a terminal in colour, a log without, and the tests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rljob import __version__
from rljob.spec import RLJob, StopSpec

Span = tuple[str, str]
Line = list[Span]
Record = Mapping[str, Any]

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
WIDE, MEDIUM = 106, 78
"""Columns from which waiting times fit beside the buffer, and two facts into one line."""
LABEL, LEFT, RIGHT_LABEL, SCORE = 10, 36, 12, 9
"""Columns of the labels on the left, of what they stand for, of the labels on the right; of a return."""
MOST_POINTS = 2048
CALM = ("ready", "running", "done")
"""States of a role that need no mention."""


class History:
    """The mean return over the whole run, by environment steps; old points are merged in pairs."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float]] = []

    def add(self, record: Record) -> None:
        """Take the mean return of a record that goes further than those before."""
        mean, steps = record.get("meanReturn"), record.get("steps", 0)
        if mean is None or (self._points and steps <= self._points[-1][0]):
            return
        self._points.append((steps, mean))
        if len(self._points) > MOST_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=False)
            self._points = [(later[0], (first[1] + later[1]) / 2) for first, later in pairs]

    @property
    def first(self) -> float | None:
        return self._points[0][1] if self._points else None

    def columns(self, width: int) -> list[float]:
        """At most `width` means over equal spans of steps; a span without a point repeats the last."""
        points = self._points
        width = min(width, len(points))
        if not width:
            return []
        sums, counts = [0.0] * width, [0] * width
        for steps, mean in points:
            at = min(width - 1, int(steps * width / points[-1][0])) if points[-1][0] else 0
            sums[at] += mean
            counts[at] += 1
        columns: list[float] = []
        before = points[0][1]
        for total, count in zip(sums, counts, strict=True):
            before = total / count if count else before
            columns.append(before)
        return columns


@dataclass
class State:
    """All that is known of a run at one moment.

    Attributes:
        record: the newest line of `metrics.jsonl`, or empty.
        roles: state of each role by name, e.g. `{"learner-0": "starting"}`.
        evaluation: the newest line of `evaluations.jsonl`, or empty.
        now: seconds since the epoch, for ages.
        ended: the reason with which the run ended, or the empty text.
    """

    job: RLJob
    folder: str
    record: Record = field(default_factory=dict)
    restarts: int = 0
    roles: Mapping[str, str] = field(default_factory=dict)
    evaluation: Record = field(default_factory=dict)
    history: History = field(default_factory=History)
    now: float = 0.0
    ended: str = ""


# ---- numbers


def count(value: float) -> str:
    """A whole number: `106,496`, and `12.35 M` from ten million on."""
    return f"{value:,.0f}" if abs(value) < 1e7 else f"{value / 1e6:,.2f} M"


def score(value: float | None, like: float | None = None) -> str:
    """A return, with as many decimals as suit it, or as suit `like`."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value if like is None else like)
    decimals = 2 if size < 10 else 1 if size < 10_000 else 0
    return f"{value:,.{decimals}f}"


def share_text(value: float) -> str:
    """A share of 1 as percent, two digits wide."""
    return f"{round(100 * value):>2} %"


def span_text(seconds: float) -> str:
    """A span of time: `2.1 s`, `42 s`, `1m 20s`, `2h 05m`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def some(number: int, noun: str) -> str:
    """`1 restart`, `2 restarts`."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


# ---- how far


@dataclass(frozen=True)
class Reached:
    """The stop condition that is nearest: its share in [0, 1], its name, and seconds left if known."""

    share: float
    condition: str
    left: float | None


def reached(stop: StopSpec, record: Record, first: float | None) -> Reached:
    """How much of the stop condition is reached; of several, the largest share.

    The mean return counts from its `first` value, and never as the whole: the learner alone decides
    that it is reached.
    """
    seconds = float(record.get("seconds", 0.0))
    found = []
    if stop.steps is not None:
        share = min(1.0, record.get("steps", 0) / stop.steps)
        found.append((share, f"{count(stop.steps)} steps"))
    if stop.duration is not None:
        found.append((min(1.0, seconds / stop.duration.seconds), f"duration {stop.duration}"))
    if stop.mean_return is not None:
        mean, share = record.get("meanReturn"), 0.0
        if mean is not None and first is not None:
            way = stop.mean_return - first
            share = (mean - first) / way if way > 0 else float(mean >= stop.mean_return)
        found.append((min(0.99, max(0.0, share)), f"meanReturn {stop.mean_return:g}"))
    share, condition = max(found, key=lambda item: item[0])
    sure = seconds >= 1.0 and share >= 0.02
    return Reached(share, condition, seconds * (1 - share) / share if sure else None)


def _roughly(seconds: float) -> str:
    """Time left changes with every look; as coarse as it is uncertain, it stands still."""
    step = 1 if seconds < 10 else 5 if seconds < 120 else 30 if seconds < 1200 else 300
    rounded = max(1, math.ceil(seconds / step)) * step
    return f"{rounded} s" if rounded < 60 else span_text(rounded)


# ---- the live panel


def header(job: RLJob, folder: str, width: int) -> list[Line]:
    """What runs, where; as many lines as it takes."""
    spec = job.spec
    environment = spec.environment.id or spec.environment.entry_point or ""
    algorithm = spec.algorithm.name or spec.algorithm.entry_point or ""
    rollout = spec.rollout
    parts = [
        f"rljob {__version__}",
        job.metadata.name,
        environment,
        algorithm,
        f"{some(rollout.replicas, 'rollout')} × {some(rollout.envs_per_replica, 'env')}",
        folder,
    ]
    rows = [parts[0]]
    for part in parts[1:]:
        joined = f"{rows[-1]} · {part}"
        if len(joined) <= width:
            rows[-1] = joined
        else:
            rows.append("  " + part)
    return [[(row, "name" if row is rows[0] else "")] for row in rows]


def panel(state: State, width: int) -> list[Line]:
    """The live area. Its height depends on the width alone, and what changes stands at a line's end
    or has a fixed width: nothing jumps."""
    wide = width >= WIDE
    cells = _cells(state, wide)
    if width >= MEDIUM:
        history = _history(state, LEFT - SCORE)
        lines = [
            _row("return", history, "best", cells["best"] + (cells["eval"] if wide else [])),
            _row("steps", cells["steps"], "updates", cells["updates"]),
            _row("policy", cells["policy"], "buffer", cells["buffer"]),
        ]
        if not wide:
            lines.append(_row("waiting", cells["waiting"], "eval", cells["eval"]))
        lines.append(_row("rollouts", cells["rollouts"], "checkpoint", cells["checkpoint"]))
    else:
        history = _history(state, max(8, width - RIGHT_LABEL - SCORE - 4))
        lines = [_labelled("return", history, RIGHT_LABEL)]
        lines += [_labelled(name, cell, RIGHT_LABEL) for name, cell in cells.items()]
    return [[], *lines, _troubles(state), _bar(state, width)]


def _cells(state: State, wide: bool) -> dict[str, Line]:
    record, spec = state.record, state.job.spec
    steps, target = record.get("steps", 0), spec.stop.steps
    of = f"{count(steps):>{len(count(target))}} of {count(target)}" if target else count(steps)
    cells: dict[str, Line] = {
        "best": [(score(record.get("bestReturn")), "")],
        "eval": _evaluation(state.evaluation, wide),
        "steps": [(of, "value"), _rate(record.get("stepsPerSecond"))],
        "updates": [
            (count(record.get("updates", 0)), "value"),
            _rate(record.get("updatesPerSecond")),
        ],
        "policy": _policy(record),
        "buffer": [(share_text(record.get("bufferFill", 0.0)), "value")],
        "waiting": [],
        "rollouts": _rollouts(state),
        "checkpoint": _checkpoint(record, state.now),
    }
    rollouts, learner = (
        share_text(record.get(key, 0.0)) for key in ("rolloutsWaiting", "learnerWaiting")
    )
    if wide:
        cells["buffer"] += [(f" · rollouts waited {rollouts}, learner waited {learner}", "")]
    else:
        cells["buffer"] += [(" full", "")]
        cells["waiting"] = [(f"rollouts {rollouts}, learner {learner}", "")]
    return cells


def _history(state: State, width: int) -> Line:
    columns = state.history.columns(width)
    mean = state.record.get("meanReturn")
    if not columns or mean is None:
        return [("no episode has ended yet".ljust(width + SCORE), "dim")]
    low = min(columns)
    high = max(*columns, low, state.job.spec.stop.mean_return or low)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    blocks = "".join(BLOCKS[round((value - low) * scale)] for value in columns)
    return [(blocks.ljust(width), "history"), (f"{score(mean):>{SCORE}}", "value")]


def _evaluation(evaluation: Record, wide: bool) -> Line:
    """Beside the best return when wide, in a cell of its own otherwise."""
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


def _policy(record: Record) -> Line:
    version = record.get("policyVersion")
    if version is None:
        return [("none yet", "dim")]
    lag = f" · lag p50 {record.get('lagP50', 0)}, p95 {record.get('lagP95', 0)}"
    bound = record.get("lagBound")
    return [
        (f"v{version}", "value"),
        (lag, ""),
        (f" (bound {bound})" if bound is not None else "", ""),
    ]


def _rollouts(state: State) -> Line:
    ready, wanted = state.record.get("rolloutsReady", 0), state.job.spec.rollout.replicas
    style = "value" if ready >= wanted else "warning"
    return [(f"{ready}/{wanted} ready", style), (f" · {some(state.restarts, 'restart')}", "")]


def _checkpoint(record: Record, now: float) -> Line:
    saved = record.get("checkpoint")
    if not saved:
        return [("none yet", "dim")]
    age = span_text(max(0, round(now - saved["time"]))).replace(".0 s", " s")
    return [(f"v{saved['policyVersion']}", "value"), (f", {age} ago", "")]


def _troubles(state: State) -> Line:
    odd = [f"{name} {what}" for name, what in sorted(state.roles.items()) if what not in CALM]
    return [("  " + ", ".join(odd), "warning")] if odd else []


def _bar(state: State, width: int) -> Line:
    at = reached(state.job.spec.stop, state.record, state.history.first)
    length = max(10, min(40, width - 40))
    if state.ended:
        done = _CONDITIONS.get(state.ended)
        full = length if done else round(at.share * length)
        text = f"{_condition(state.job.spec.stop, done)} reached" if done else state.ended
    else:
        full = round(at.share * length)
        left = f" · ~{_roughly(at.left)} left" if at.left is not None else ""
        text = f"{share_text(at.share)} of {at.condition}{left}"
    return [("  ", ""), ("━" * full, "good"), ("━" * (length - full), "dim"), (f" {text}", "")]


_CONDITIONS = {
    "MeanReturnReached": "mean_return",
    "StepsReached": "steps",
    "DurationReached": "duration",
}


def _condition(stop: StopSpec, name: str | None) -> str:
    if name == "mean_return":
        return f"meanReturn {stop.mean_return:g}"
    return f"{count(stop.steps or 0)} steps" if name == "steps" else f"duration {stop.duration}"


def _labelled(label: str, cell: Iterable[Span], width: int = LABEL) -> Line:
    return [("  " + label.ljust(width), "label"), *cell]


def _row(left: str, first: Line, right: str, second: Line) -> Line:
    gap = " " * max(2, LEFT - sum(len(text) for text, _ in first))
    return [*_labelled(left, first), (gap + right.ljust(RIGHT_LABEL), "label"), *second]


# ---- without a terminal


def plain_line(state: State) -> str:
    """One moment as `key value` pairs, always the same keys; `-` for what is not known yet."""
    record = state.record
    at = reached(state.job.spec.stop, record, state.history.first)
    values: dict[str, object] = {
        "seconds": f"{record.get('seconds', 0.0):.1f}",
        "steps": record.get("steps", 0),
        "episodes": record.get("episodes", 0),
        "meanReturn": _short(record.get("meanReturn")),
        "bestReturn": _short(record.get("bestReturn")),
        "evalReturn": _short(state.evaluation.get("mean")),
        "stepsPerSecond": round(record.get("stepsPerSecond", 0.0)),
        "updatesPerSecond": round(record.get("updatesPerSecond", 0.0)),
        "policyVersion": record.get("policyVersion", "-"),
        "lagP95": record.get("lagP95", "-"),
        "bufferFill": f"{record.get('bufferFill', 0.0):.2f}",
        "rolloutsReady": f"{record.get('rolloutsReady', 0)}/{state.job.spec.rollout.replicas}",
        "restarts": state.restarts,
        "reached": f"{at.share:.2f}",
        "secondsLeft": round(at.left) if at.left is not None else "-",
    }
    return " ".join(f"{name} {value}" for name, value in values.items())


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


# ---- the end


def summary(result: Mapping[str, Any], folder: str, has_policy: bool) -> list[Line]:
    """How the run ended, where its policy is, and what can be done next."""
    outcome, reason = result.get("outcome", "Failed"), result.get("reason", "")
    steps, spent = some(result.get("steps", 0), "step"), span_text(result.get("seconds", 0.0))
    mean = result.get("meanReturn")
    so_far = f", mean return {score(mean)}" if mean is not None else ""
    if reason == "MeanReturnReached":
        line: Line = [("Solved", "good"), (f" in {spent} ({steps}).", "")]
    elif outcome == "Complete":
        line = [("Ended", "good"), (f" after {steps} ({reason}), {spent}{so_far}.", "")]
    elif outcome == "Stopped":
        line = [("Stopped", "warning"), (f" after {steps}, {spent}{so_far}.", "")]
    else:
        what = result.get("message") or reason
        line = [(str(outcome), "bad"), (f" after {steps}, {spent}: {what}", "")]
    lines = [line]
    if has_policy:
        path: Line = [("Policy: ", ""), (f"{folder}/checkpoints/latest", "name")]
        lines = [[*line, (" ", ""), *path]] if outcome in ("Complete", "Stopped") else [line, path]
    commands = [(f"rljob eval {folder} --episodes 20", "play it")] if has_policy else []
    if outcome != "Complete" and has_policy:
        commands.append((f"rljob run --resume --dir {folder}", "go on training"))
    column = max((len(command) for command, _ in commands), default=0)
    for command, text in commands:
        lines.append([("  " + command.ljust(column), "name"), ("   " + text, "dim")])
    return lines


def text(line: Sequence[Span]) -> str:
    """A line without its styles."""
    return "".join(part for part, _ in line).rstrip()


def to_ascii(line: str) -> str:
    """The same for an output that knows no more than ASCII."""
    for symbol, plain in (("·", "-"), ("×", "x"), ("±", "+-"), ("–", "-"), ("…", "...")):
        line = line.replace(symbol, plain)
    return line.encode("ascii", "replace").decode()
