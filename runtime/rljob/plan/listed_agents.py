"""Whether parallel environments list in `agents` those that act; rljob itself reads what `step` returns for each."""

from __future__ import annotations

from rljob.envs.vector import Environments


class ListedAgents:
    """Looks at them after each step.

    Attributes:
        found: a sentence for each kind of difference, the first of its kind.
    """

    def __init__(self, environments: Environments) -> None:
        self._environments = environments
        self._kinds: set[str] = set()
        self.found: list[str] = []

    def look(self) -> None:
        """Compare now."""
        for listed, possible, acting in self._environments.agents_of_each():
            unknown = [name for name in listed if name not in possible]
            if unknown:
                self._tell(
                    "unknown",
                    f"agent {unknown[0]!r} is in agents and not in possible_agents: it is never given an action",
                )
            # After the end of an episode `agents` may be empty, or those of the next.
            gone = [name for name in acting if name not in listed]
            if gone:
                self._tell(
                    "gone",
                    f"agent {gone[0]!r} is no longer in agents, and neither terminations nor truncations said that it "
                    "is over: it is given actions until they do",
                )

    def _tell(self, kind: str, sentence: str) -> None:
        if kind not in self._kinds:
            self._kinds.add(kind)
            self.found.append(sentence)
