"""Summary of an ended run as lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljob.show.view.figures import score, some
from rljob.show.view.lines import ending, hints
from rljob.show.view.panel import TextLine, text


def summary(
    result: Mapping[str, Any], folder: str, has_policy: bool, width: int = 10_000
) -> list[TextLine]:
    """Lines with the result, the path of the policy, and commands to run next."""
    outcome = result.get("outcome", "Failed")
    line = ending(
        outcome,
        result.get("reason", ""),
        result.get("steps", 0),
        result.get("seconds", 0.0),
        result.get("meanReturn"),
        result.get("message", ""),
    )
    output = str(result.get("lastLines", "")).splitlines()
    lines = [line]
    if has_policy:
        path: TextLine = [("Policy: ", ""), (f"{folder}/checkpoints/latest", "name")]
        joined = [*line, (" ", ""), *path]
        fits = outcome in ("Complete", "Stopped") and len(text(joined)) <= width
        lines = [joined] if fits else [line, path]
    lines[1:1] = [[("  " + each, "dim")] for each in output]
    if output and "log" in result:
        lines.insert(1, [(f"Last lines of {result['log']}:", "")])
    if played := result.get("evaluation"):
        episodes = some(played["episodes"], "greedy episode")
        lines.append([(f"{episodes}: {score(played['mean'])} ± {score(played['std'])}", "")])
    commands = [(f"rljob eval {folder} --episodes 20", "play the policy")] if has_policy else []
    if has_policy:
        commands.append((f"rljob report {folder}", "write a report"))
    if outcome != "Complete" and has_policy:
        commands.append((f"rljob run --resume --dir {folder}", "resume training"))
    return lines + hints(commands)
