"""A run in single lines of text: while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljob.local.figures import reached, score, some, span_text
from rljob.local.panel import Line, State, text


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


def summary(
    result: Mapping[str, Any], folder: str, has_policy: bool, width: int = 10_000
) -> list[Line]:
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
    output = str(result.get("lastLines", "")).splitlines()
    lines = [line]
    if has_policy:
        path: Line = [("Policy: ", ""), (f"{folder}/checkpoints/latest", "name")]
        joined = [*line, (" ", ""), *path]
        fits = outcome in ("Complete", "Stopped") and len(text(joined)) <= width
        lines = [joined] if fits else [line, path]
    lines[1:1] = [[("  " + each, "dim")] for each in output]
    if output and "log" in result:
        lines.insert(1, [(f"The end of {result['log']}:", "")])
    if played := result.get("evaluation"):
        episodes = some(played["episodes"], "greedy episode")
        lines.append([(f"{episodes}: {score(played['mean'])} ± {score(played['std'])}", "")])
    commands = [(f"rljob eval {folder} --episodes 20", "play it")] if has_policy else []
    if outcome != "Complete" and has_policy:
        commands.append((f"rljob run --resume --dir {folder}", "go on training"))
    column = max((len(command) for command, _ in commands), default=0)
    for command, use in commands:
        lines.append([("  " + command.ljust(column), "name"), ("   " + use, "dim")])
    return lines


def to_ascii(line: str) -> str:
    """The same for an output that knows no more than ASCII."""
    for symbol, plain in (("·", "-"), ("×", "x"), ("±", "+-"), ("–", "-"), ("…", "...")):
        line = line.replace(symbol, plain)
    return line.encode("ascii", "replace").decode()
