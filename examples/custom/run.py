"""The same job from Python: typed objects in, a typed result out, progress on the way.

Run it from this folder: `python run.py`.
"""

from __future__ import annotations

import rljob


def main() -> None:
    job = rljob.load("job.yaml")

    def show(progress: rljob.RunProgress) -> None:
        print(f"{progress.steps:>8} steps   mean return {progress.mean_return}")

    result = rljob.run(job, on_progress=show)
    print(f"{result.outcome} ({result.reason}): {result.mean_return} in {result.seconds:.1f} s")


main()
