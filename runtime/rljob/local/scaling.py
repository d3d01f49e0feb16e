"""Which rollouts start and end when another number of them is asked for; see `rljob.run_folder.rollouts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rljob.local.roles import Role, make_role
from rljob.spec import RLJobSpec


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
