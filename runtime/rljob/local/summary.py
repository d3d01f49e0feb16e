"""How a run ended, in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rljob.show.view.figures import score, some
from rljob.show.view.lines import ending, hints
from rljob.show.view.panel import TextLine, text


def summary(
    result: Mapping[str, Any], folder: str, has_policy: bool, width: int = 10_000
) -> list[TextLine]:
    """How the run ended, where its policy is, and what can be done next."""
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
        lines.insert(1, [(f"The end of {result['log']}:", "")])
    if played := result.get("evaluation"):
        episodes = some(played["episodes"], "greedy episode")
        lines.append([(f"{episodes}: {score(played['mean'])} ± {score(played['std'])}", "")])
    commands = [(f"rljob eval {folder} --episodes 20", "play it")] if has_policy else []
    if has_policy:
        commands.append((f"rljob report {folder}", "see how it went"))
    if outcome != "Complete" and has_policy:
        commands.append((f"rljob run --resume --dir {folder}", "go on training"))
    return lines + hints(commands)
