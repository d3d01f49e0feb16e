"""Time from a cold interpreter to the first action of a loaded policy, and of each further one.

`python -m tests.bench.acting [RUN]`; without a run, a policy of PPO with random weights.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COLD = 10
PROGRAM = """
import sys, time, rljob
policy = rljob.load_policy(sys.argv[1])
observation = policy.interface.observation
zeros = [0.0] * observation.shape[0]
policy.act(zeros)
print("acted", flush=True)
if len(sys.argv) > 2:
    import numpy as np
    for rows in (1, 32):
        batch = np.zeros((rows, *observation.shape), np.float32)
        started, calls = time.perf_counter(), 2000
        for _ in range(calls):
            policy.act(batch)
        print(f"{1e6 * (time.perf_counter() - started) / calls:.0f} us for a batch of {rows}")
"""


def main(arguments: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        run = arguments[0] if arguments else _made(Path(scratch) / "run")
        command = [sys.executable, "-c", PROGRAM, run]
        walls, cpus = [], []
        for _ in range(COLD):
            before, started = os.times(), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            walls.append(time.perf_counter() - started)
            after = os.times()
            used = after.children_user + after.children_system
            cpus.append(used - before.children_user - before.children_system)
        cores = os.getloadavg()[0]
        print(
            f"cold to the first action: median {statistics.median(walls):.2f} s, least {min(walls):.2f} s"
        )
        print(
            f"  of it computing: median {statistics.median(cpus):.2f} s; load average {cores:.1f}"
        )
        subprocess.run([*command, "more"], check=True)


def _made(folder: Path) -> str:
    from gymnasium import spaces

    from rljob.envs.spaces import Spaces
    from tests.unit.saved_policies import save_run

    found = Spaces.from_gymnasium(spaces.Box(-1, 1, (4,)), spaces.Discrete(2))
    save_run(folder, found, {"name": "PPO"})
    return str(folder)


if __name__ == "__main__":
    main(sys.argv[1:])
