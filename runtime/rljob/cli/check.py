"""`rljob check`: try a job's environment, network and algorithm for some seconds, without training."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rljob.cli.eval import ONE_THREAD
from rljob.cli.plan import make_importable
from rljob.user_code.host import hosting
from rljob.user_code.output import own_output

if TYPE_CHECKING:
    from rljob.plan.trial import JobTrial
    from rljob.spec import RLJob, RLJobSpec


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument("file", nargs="?", type=Path, help="the RLJob's YAML file")
    parser.add_argument("--env", metavar="ID", help="Gymnasium id, e.g. CartPole-v1")
    parser.add_argument("--algorithm", metavar="NAME", help="default PPO")
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="PATH=VALUE",
        action="append",
        default=[],
        help="set any field, e.g. environment.kwargs.level=3; may be repeated",
    )
    parser.add_argument("--layers", action="store_true", help="list the layers of each network")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    # Arguments of `rljob run` that name a job.
    parser.set_defaults(handle=handle, seed=None, resume=False)


def handle(arguments: argparse.Namespace) -> int:
    """Try the job and print what was found. Returns 0 if it can train, with or without warnings."""
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    from rljob.cli.run import chosen
    from rljob.local.prepare import checked, read
    from rljob.plan.trial import try_out

    job = checked(read(*chosen(arguments)))
    folder = arguments.file.parent if arguments.file is not None else Path()
    with (
        hosting("rljob check"),
        own_output() as output,
        tempfile.TemporaryDirectory(prefix="rljob-check-") as code,
    ):
        make_importable(job, Path(code), folder)
        trial = try_out(job)
        if arguments.json:
            output.write(json.dumps(trial.to_json()) + "\n")
        else:
            output.writelines(f"{line}\n" for line in lines(job, trial))
            if arguments.layers:
                output.writelines(f"{line}\n" for line in layers(trial))
    return 0


def layers(trial: JobTrial) -> Iterator[str]:
    """The layers of each network, for people."""
    from rljob.plan import networks

    yield from ("", "Networks")
    for each in trial.networks:
        yield from (f"  {line}" for line in networks.lines(each))
    if not trial.networks:
        yield "  The algorithm has none."


def _networks(spec: RLJobSpec) -> Iterator[str]:
    """What the networks are: of all, and of those that the job names."""
    yield str(spec.network.name or spec.network.entry_point)
    for name, own in (spec.networks or {}).items():
        whole = own.of(spec.network)
        yield f"{name}: {whole.name or whole.entry_point} {json.dumps(whole.config)}"


def lines(job: RLJob, trial: JobTrial) -> Iterator[str]:
    """What was found, for people."""
    from rljob.show.view.figures import score, some

    spec = job.spec
    form = "its own vector form" if trial.vectorised else "one by one"
    if trial.agents > 1:
        form += f", {trial.agents} agents each"
    rows: dict[str, str] = {
        "environment": f"{spec.environment.label}, {trial.environments} at once, {form}",
        "observation": f"{trial.observation}; the network gets float32 {list(trial.network_input)}",
        **({"state": f"{trial.state}; for the learner"} if trial.state else {}),
        "action": f"{trial.action}{', with action masks' if trial.masked else ''}",
        "algorithm": str(spec.algorithm.name or spec.algorithm.entry_point),
        "network": f"{', '.join(_networks(spec))}, {trial.parameters:,} parameters",
        "played": f"{trial.steps:,} steps, {trial.steps / max(trial.seconds, 1e-9):,.0f} per second in one process",
        "episodes": some(len(trial.returns), "episode"),
    }
    if trial.returns:
        rows["episodes"] += (
            f", return {score(min(trial.returns))} to {score(max(trial.returns))}, "
            f"{min(trial.lengths):,} to {max(trial.lengths):,} steps long"
        )
    if spec.hooks is not None:
        rows["hooks"] = f"{spec.hooks.entry_point}, {', '.join(trial.hooks)}"
    rows["update"] = ", ".join(f"{name} {value:.4g}" for name, value in trial.metrics.items())
    yield job.metadata.name
    yield from (f"  {name:<12} {text}" for name, text in rows.items())
    yield from (f"  {'warning':<12} {text}" for text in trial.warnings)
    yield "The job can train." if not trial.warnings else "The job can train; look at the warnings."
