"""The number of rollouts of a run while it works: `rollouts.json` in its folder asks for another one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rljob.errors import RunError
from rljob.local.roles import Role, make_role
from rljob.run_folder import json_files
from rljob.run_folder.names import ROLLOUTS
from rljob.spec import RLJobSpec

_WANTED = "replicas"


def ask(folder: Path, replicas: int) -> None:
    """Ask the run in this folder for a number of rollouts; it also holds when the run is resumed.

    Raises:
        RunError: the folder cannot be written.
    """
    try:
        json_files.write(folder / ROLLOUTS, {_WANTED: replicas})
    except OSError as error:
        raise RunError(f"cannot write to the run's folder {folder}: {error.strerror}") from error


def asked(folder: Path) -> int | None:
    """The number that was asked for; None if none was."""
    found = (json_files.read(folder / ROLLOUTS) or {}).get(_WANTED)
    return found if type(found) is int and found >= 1 else None


@dataclass
class RolloutScaling:
    """Decides which rollouts start and end.

    Attributes:
        removed: rollouts that have ended because they were too many. One that is needed again goes on counting its starts, so
            that it repeats no experience.
    """

    spec: RLJobSpec
    folder: Path
    removed: dict[str, Role] = field(default_factory=dict)

    def missing(self, wanted: int, roles: dict[str, Role]) -> list[Role]:
        """The rollouts to add to `roles`."""
        found = []
        for index in range(wanted):
            role = make_role(self.spec, self.folder, "rollout", index)
            if role.name not in roles:
                found.append(self.removed.pop(role.name, role))
        return found

    @staticmethod
    def surplus(wanted: int, roles: dict[str, Role]) -> list[Role]:
        """The rollouts to end."""
        return [
            role
            for role in roles.values()
            if role.kind == "rollout" and role.index >= wanted and role.state != "ending"
        ]
