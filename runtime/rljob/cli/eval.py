"""`rljob eval`: play greedy episodes of a trained policy and print their returns."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rljob.errors import InputError
from rljob.run_folder import json_files
from rljob.user_code.host import hosting
from rljob.user_code.output import own_output

if TYPE_CHECKING:
    from rljob.checkpoints.checkpoint import SavedPolicy
    from rljob.roles.evaluator.play import GreedyEpisodes
    from rljob.roles.evaluator.recording import Recorded
    from rljob.spec import RLJob

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="a run's folder, its checkpoints folder, or one checkpoint",
    )
    parser.add_argument(
        "--episodes", type=_positive, default=20, metavar="N", help="number of episodes; default 20"
    )
    parser.add_argument(
        "--seed", type=_seed, metavar="N", help="seed of the episodes, for repeatable results"
    )
    parser.add_argument(
        "--against",
        metavar="RUN|random",
        help="play another policy, or random actions, in the same episodes, and print the difference",
    )
    parser.add_argument(
        "--video", type=Path, metavar="FILE", help="record one more episode: FILE.mp4 or FILE.gif"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--result-file", type=Path, help=argparse.SUPPRESS)
    parser.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Play and print."""
    # numpy reads this at import. The matrices are too small for several threads.
    for name in ONE_THREAD:
        os.environ.setdefault(name, "1")
    if arguments.against is not None and arguments.video is not None:
        raise InputError("--video cannot be given with --against")
    if arguments.video is not None:
        from rljob.roles.evaluator import check_video, check_video_path

        check_video_path(arguments.video)
        check_video("--video")
    with hosting("rljob eval"), own_output() as output:
        if arguments.against is not None:
            from rljob.cli import comparing

            return comparing.play(arguments, output)
        return _play(arguments, output)


def _play(arguments: argparse.Namespace, output: TextIO) -> int:
    from rljob.roles.evaluator.play import evaluate, find

    job, policy = find(arguments.run)
    recorded = None
    if arguments.video is not None:
        from rljob.roles.evaluator.recording import record_policy

        recorded = record_policy(job, policy, arguments.video, arguments.seed)
    played = evaluate(job, policy, arguments.episodes, arguments.seed)
    numbers = _numbers(played, policy, recorded)
    if arguments.result_file is not None:
        json_files.write(arguments.result_file, numbers)
    if arguments.json:
        print(json.dumps(numbers), file=output)
    else:
        output.writelines(f"{line}\n" for line in _lines(job, played, policy, recorded))
    return 0


def _numbers(
    played: GreedyEpisodes, policy: SavedPolicy, recorded: Recorded | None
) -> dict[str, Any]:
    numbers = {
        "mean": played.mean,
        "std": played.std,
        "min": played.min,
        "max": played.max,
        "episodes": played.episodes,
        "returns": played.returns.tolist(),
        "lengths": played.lengths.tolist(),
        "seconds": round(played.seconds, 3),
        "policyVersion": policy.version,
        "path": str(policy.path),
    }
    if played.cut:
        numbers["cutOff"] = played.cut
    if recorded is not None:
        numbers["video"] = str(recorded.path)
    return numbers


def _lines(
    job: RLJob, played: GreedyEpisodes, policy: SavedPolicy, recorded: Recorded | None
) -> Iterator[str]:
    from rljob.local.view import shown_path
    from rljob.show.view.figures import score, some, span_text

    environment = job.spec.environment.label
    yield f"Policy version {policy.version} of {shown_path(policy.path)}"
    episodes = some(played.episodes, "greedy episode")
    yield f"{episodes} of {environment} in {span_text(played.seconds)}"
    for name, value in (
        ("mean return", played.mean),
        ("standard deviation", played.std),
        ("min", played.min),
        ("max", played.max),
    ):
        yield f"  {name:<18}  {score(value, played.mean):>10}"
    yield f"  {'mean length':<18}  {played.lengths.mean():>10,.1f} steps"
    if played.cut:
        yield f"  {played.cut_text}"
    if recorded is not None:
        cut = "" if recorded.whole else ", cut off"
        steps = some(recorded.steps, "step")
        yield f"{recorded.path}: {steps}, return {score(recorded.returned)}{cut}"


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)
