"""`make bench`: measure, print the table, save it.

python -m tests.bench [--quick] [--seeds N] [--only WORD]     measure
python -m tests.bench --table FILE                            the table of earlier measurements
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import cartpole, path, process, table
from tests.bench.machine import NOISY, Load, describe
from tests.bench.roles import ROOT

RESULTS = Path(__file__).parent / "results"
DOCUMENT = ROOT / "docs" / "performance.md"
SEEDS, QUICK_SEEDS = 5, 2

Measure = Callable[[int], path.Values]


def _path(envs: int, transport: str, encrypted: bool = False) -> Measure:
    return lambda seed: path.measure(
        path.COUNTING, seed, envs=envs, transport=transport, encrypted=encrypted
    )


def _train(algorithm: dict[str, Any], transport: str = "ipc") -> Measure:
    return lambda seed: path.measure(algorithm, seed, envs=64, transport=transport)


MEASUREMENTS: dict[str, Measure] = {
    "ours": cartpole.ours,
    "peer": cartpole.peer,
    "single": lambda seed: cartpole.ours(seed, scalar=True),
    "rollout alone 64": lambda seed: path.rollout_alone(seed, 64),
    "path ipc 64": _path(64, "ipc"),
    "path tcp 64": _path(64, "tcp"),
    "path tcp+curve 64": _path(64, "tcp", encrypted=True),
    "rollout alone 256": lambda seed: path.rollout_alone(seed, 256),
    "path ipc 256": _path(256, "ipc"),
    "path tcp 256": _path(256, "tcp"),
    "path tcp+curve 256": _path(256, "tcp", encrypted=True),
    "replay ipc": _train(path.counting_replay()),
    "replay tcp": _train(path.counting_replay(), "tcp"),
    "dqn 8": _train(path.dqn(8)),
    "dqn 1": _train(path.dqn(1)),
    "start": process.rollout_start,
    "buffer": process.full_buffer,
    "help": process.command_help,
    "stages": cartpole.stages,
}


def main() -> int:
    """Measure what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_SEEDS} seeds, nothing is saved"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--only", default="", help="measurements whose name has this; nothing is saved"
    )
    parser.add_argument("--table", type=Path, help="of earlier measurements; nothing is measured")
    arguments = parser.parse_args()
    if arguments.table is not None:
        record = json.loads(arguments.table.read_text())
        print(table.text(record["results"]))
        DOCUMENT.write_text(table.markdown(record))
        return 0
    chosen = {name: one for name, one in MEASUREMENTS.items() if arguments.only in name}
    if not chosen:
        parser.error(f"no measurement has {arguments.only!r}; there are {', '.join(MEASUREMENTS)}")
    seeds = QUICK_SEEDS if arguments.quick else arguments.seeds
    results = _measure(chosen, seeds)
    print(table.text(results))
    if not arguments.quick and not arguments.only:
        _save({"date": time.strftime("%Y-%m-%d"), "machine": describe(), "results": results})
    return 0


def _measure(chosen: dict[str, Measure], seeds: int) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    # The first start of everything compiles modules and fills the disk's cache.
    for name in chosen.keys() & {"ours", "peer"}:
        chosen[name](seeds)
    for seed in range(seeds):
        for name, measure in chosen.items():
            taken = _take(measure, seed)
            if taken["others"] > NOISY:
                taken = min(taken, _take(measure, seed), key=lambda one: float(one["others"]))
            results[name].append(taken)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in taken["values"].items())
            print(f"seed {seed}  {name}  (others {taken['others']})  {shown}", file=sys.stderr)
    return results


def _take(measure: Measure, seed: int) -> dict[str, Any]:
    load = Load()
    values = measure(seed)
    return {"seed": seed, "others": round(load.others(), 3), "values": values}


def _save(record: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{record['date']}.json"
    file.write_text(json.dumps(record, indent=1) + "\n")
    DOCUMENT.write_text(table.markdown(record))
    print(f"saved in {file.relative_to(ROOT)} and {DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
