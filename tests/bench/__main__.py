"""`make bench`: measure, print every aim beside its figure, keep what was measured.

python -m tests.bench [--full] [--seeds N] [--only GROUP ...]   measure
python -m tests.bench list                                      the groups and what they measure
python -m tests.bench check                                     the newest results against the baseline
python -m tests.bench keep                                      make the newest results the baseline
python -m tests.bench document                                  docs and plots from the baseline
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from tests.bench import check, document, record
from tests.bench.group import SEEDS, Group, Measure
from tests.bench.groups import GROUPS
from tests.bench.machine import NOISY, Load
from tests.bench.peer import Missing


def main() -> int:
    """Do what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument(
        "what", nargs="?", default="run", choices=("run", "list", "check", "keep", "document")
    )
    parser.add_argument("--full", action="store_true", help="all measurements, all seeds")
    parser.add_argument("--seeds", type=int, help="instead of each group's own number")
    parser.add_argument("--only", nargs="+", metavar="GROUP", choices=sorted(GROUPS))
    told = parser.parse_args()
    if told.what == "list":
        print(document.listing(GROUPS.values()))
    elif told.what == "check":
        return check.main()
    elif told.what == "keep":
        record.keep()
        document.write(record.baseline())
    elif told.what == "document":
        document.write(record.baseline())
    else:
        _run([GROUPS[name] for name in told.only or GROUPS], told.full, told.seeds)
    return 0


def _run(groups: list[Group], full: bool, seeds: int | None) -> None:
    for group in groups:
        count = (SEEDS if full else group.quick) if seeds is None else seeds
        if not count:
            continue
        chosen = {
            name: measure
            for name, measure in group.measurements.items()
            if full or seeds is not None or name not in group.slow
        }
        record.add(group.name, _measure(group, chosen, count))
        print(document.table([group], record.newest()), flush=True)
    print(document.table(GROUPS.values(), record.together()))


def _measure(group: Group, chosen: dict[str, Measure], seeds: int) -> dict[str, list[Any]]:
    results: dict[str, list[Any]] = {name: [] for name in chosen}
    for name in group.warm:
        # The first start of everything compiles modules and fills the disk's cache.
        chosen[name](seeds)
    for seed in range(seeds):
        for name, measure in list(chosen.items()):
            try:
                taken = _take(measure, seed)
            except Missing as missing:
                print(f"{group.name}: {name} is left out: {missing}", file=sys.stderr)
                del chosen[name], results[name]
                continue
            if group.elsewhere:
                taken["others"] = 0.0
            elif taken["others"] > NOISY:
                taken = min(taken, _take(measure, seed), key=lambda one: float(one["others"]))
            results[name].append(taken)
            shown = ", ".join(f"{key} {value:.4g}" for key, value in taken["values"].items())
            noise = f"others {taken['others']}, stolen {taken['stolen']}, {taken['took']:.0f} s"
            print(f"{group.name}: seed {seed}  {name}  ({noise})  {shown}", file=sys.stderr)
    return results


def _take(measure: Measure, seed: int) -> dict[str, Any]:
    load, started = Load(), time.monotonic()
    values = measure(seed)
    return {
        "seed": seed,
        "others": round(load.others(values.get("cpu", 0.0)), 3),
        "stolen": round(load.stolen(), 3),
        "took": round(time.monotonic() - started, 1),
        "values": values,
    }


if __name__ == "__main__":
    sys.exit(main())
