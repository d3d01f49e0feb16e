"""A job as single lines of text: during training without a terminal, and at its end."""

from __future__ import annotations

from collections.abc import Sequence

from rljob.hooks import STOPPED_BY_HOOK
from rljob.run_folder.record import Record
from rljob.show.view.figures import reached, score, some, span_text
from rljob.show.view.panel import State, TextLine


def plain_line(state: State) -> str:
    """The state as `key value` pairs with fixed keys; unknown values are `-`."""
    record = state.record or Record()
    at = reached(state.job.spec.stop, record, state.history.first)
    values: dict[str, object] = {
        "seconds": f"{record.seconds:.1f}",
        "steps": record.steps,
        "episodes": record.episodes,
        "meanReturn": _short(record.mean_return),
        "bestReturn": _short(record.best_return),
        "evalReturn": _short(state.evaluation.get("mean")),
        "stepsPerSecond": round(record.steps_per_second or 0),
        "updatesPerSecond": round(record.updates_per_second or 0),
        "policyVersion": _known(record.policy_version),
        "lagP95": _known(record.lag_p95),
        "bufferFill": f"{record.buffer_fill:.2f}",
        **_feeders(state, record),
        "restarts": state.restarts,
        "reached": f"{at.share:.2f}",
        "secondsLeft": round(at.left) if at.left is not None else "-",
    }
    return " ".join(f"{name} {value}" for name, value in values.items())


def _feeders(state: State, record: Record) -> dict[str, object]:
    spec, found = state.job.spec, dict[str, object]()
    if spec.environment.played:
        found["rolloutsReady"] = f"{record.rollouts_ready}/{spec.rollout.replicas}"
    if spec.rollout.applications is not None:
        found["applications"] = record.applications_connected
    return found


def _known(value: int | None) -> int | str:
    return "-" if value is None else value


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def ending(
    outcome: str, reason: str, steps: int, seconds: float, mean: float | None, message: str = ""
) -> TextLine:
    """The end of a job: `Solved in 2.1 s (106,496 steps).`

    Args:
        outcome: `Complete`, `Stopped`, or another word for a failure; `message` explains it.
        mean: mean return, if known.
    """
    steps_text, spent = some(steps, "step"), span_text(seconds)
    so_far = f", mean return {score(mean)}" if mean is not None else ""
    if reason == "MeanReturnReached":
        return [("Solved", "good"), (f" in {spent} ({steps_text}).", "")]
    if reason == STOPPED_BY_HOOK:
        line = f" after {steps_text}, {spent}{so_far}: {message}."
        return [("Ended", "good"), (line, "")]
    if outcome == "Complete":
        return [("Ended", "good"), (f" after {steps_text} ({reason}), {spent}{so_far}.", "")]
    if outcome == "Stopped":
        return [("Stopped", "warning"), (f" after {steps_text}, {spent}{so_far}.", "")]
    return [(outcome, "bad"), (f" after {steps_text}, {spent}: {message or reason}", "")]


def hints(commands: Sequence[tuple[str, str]]) -> list[TextLine]:
    """Lines of suggested commands, each with its purpose."""
    column = max((len(command) for command, _ in commands), default=0)
    return [
        [("  " + command.ljust(column), "name"), ("   " + use, "dim")] for command, use in commands
    ]


def to_ascii(line: str) -> str:
    """Replace non-ASCII characters for an ASCII output."""
    for symbol, plain in (("·", "-"), ("×", "x"), ("±", "+-"), ("–", "-"), ("…", "...")):
        line = line.replace(symbol, plain)
    return line.encode("ascii", "replace").decode()
