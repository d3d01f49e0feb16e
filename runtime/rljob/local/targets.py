"""`targets.json`: addresses of a run's roles for Prometheus, in the format of `file_sd_configs`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rljob.local.roles import Role
from rljob.run_folder.write_whole import write_whole

NAMESPACE = "local"


class Targets:
    """Keeps the file up to date.

    Args:
        path: path of the file; the name of its folder identifies the run among those of the job.
        job: the job's name.
    """

    def __init__(self, path: Path, job: str) -> None:
        self._path, self._job = path, job
        self._shown: list[tuple[str, int]] = []

    def show(self, roles: Iterable[Role]) -> None:
        """Write the roles that serve metrics now; does nothing if they have not changed."""
        serving = [(role, role.port) for role in roles if role.port is not None]
        shown = [(role.name, port) for role, port in serving]
        if shown == self._shown:
            return
        entries = [self._entry(role, port) for role, port in serving]
        # On a full disk it is tried again at the next look.
        with suppress(OSError):
            write_whole(self._path, json.dumps(entries, indent=2) + "\n")
            self._shown = shown

    def remove(self) -> None:
        """Remove the file at the end of the run."""
        self._shown = []
        self._path.unlink(missing_ok=True)

    def _entry(self, role: Role, port: int) -> dict[str, object]:
        labels = {
            "namespace": NAMESPACE,
            "rljob": self._job,
            "role": role.kind,
            "pod": role.name,
            # Not the port: a restarted role has a new port but stays the same instance.
            "instance": f"{self._path.parent.name}/{role.name}",
        }
        return {"targets": [f"127.0.0.1:{port}"], "labels": labels}
