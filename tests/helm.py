"""The real helm, as a user runs it; `tests/cluster/programs.sh helm` builds it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CHART = Path(__file__).parents[1] / "charts" / "rljob-operator"
_CACHE = Path(os.environ.get("RLJOB_CACHE") or Path.home() / ".cache" / "rljob-cluster")
PATIENCE = 300.0
"""Seconds after which helm counts as hung."""


def helm(
    *arguments: str, kubeconfig: Path | None = None, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run helm to its end; its exit code is the caller's to judge.

    Raises:
        RuntimeError: there is no helm.
    """
    found = shutil.which("helm", path=f"{_CACHE / 'bin'}:{os.environ['PATH']}")
    if found is None:
        raise RuntimeError("there is no helm; `tests/cluster/programs.sh helm` builds it")
    # Without a kubeconfig no cluster is meant, not the one of who runs the tests.
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or os.devnull)}
    return subprocess.run(
        [found, *arguments],
        input=given,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def succeed(*arguments: str, kubeconfig: Path | None = None) -> str:
    """What helm prints; fails with what it said when it does."""
    done = helm(*arguments, kubeconfig=kubeconfig)
    assert done.returncode == 0, f"helm {' '.join(arguments)}: {done.stderr}"
    return done.stdout
