"""`rljob eval RUN --against RUN|random`: which of two policies plays better, and by how much."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

from rljob.run_folder import json_files

if TYPE_CHECKING:
    from rljob.roles.evaluator.compare import Comparison


def play(arguments: argparse.Namespace, output: TextIO) -> int:
    """Play both and print."""
    from rljob.roles.evaluator.compare import compare

    against = arguments.against
    found = compare(arguments.run, against, episodes=arguments.episodes, seed=arguments.seed)
    numbers = _numbers(found)
    if arguments.result_file is not None:
        json_files.write(arguments.result_file, numbers)
    if arguments.json:
        print(json.dumps(numbers), file=output)
    else:
        output.writelines(f"{line}\n" for line in _lines(found, str(arguments.run), against))
    return 0


def _numbers(found: Comparison) -> dict[str, Any]:
    each = {
        name: {
            "mean": played.mean,
            "std": played.std,
            "returns": played.returns.tolist(),
            **({"cutOff": played.cut} if played.cut else {}),
        }
        for name, played in (("first", found.first), ("second", found.second))
    }
    return {
        **each,
        "difference": found.difference,
        "standardError": found.standard_error,
        "episodes": found.episodes,
        "seed": found.seed,
    }


def _lines(found: Comparison, first: str, second: str) -> Iterator[str]:
    from rljob.show.view.figures import score, some

    size = max(abs(found.first.mean), abs(found.second.mean))
    width = max(len(first), len(second), len("difference"))
    yield f"{some(found.episodes, 'pair')} of greedy episodes, seed {found.seed}"
    for name, played in ((first, found.first), (second, found.second)):
        yield f"  {name:<{width}}  mean return {score(played.mean, size):>10}"
    error = found.standard_error
    told = f"{score(found.difference, error)} ± {score(error, error)}"
    yield f"  {'difference':<{width}}  {told} (standard error)"
    for played in (found.first, found.second):
        if played.cut:
            yield f"  {played.cut_text}"
