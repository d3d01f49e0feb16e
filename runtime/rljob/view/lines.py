"""A job in single lines of text, where there is no terminal."""

from __future__ import annotations

from rljob.view.figures import reached
from rljob.view.panel import State


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


def to_ascii(line: str) -> str:
    """The same for an output that knows no more than ASCII."""
    for symbol, plain in (("·", "-"), ("×", "x"), ("±", "+-"), ("–", "-"), ("…", "...")):
        line = line.replace(symbol, plain)
    return line.encode("ascii", "replace").decode()
