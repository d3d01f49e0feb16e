"""The newest policy versions, and which of them a segment acts with."""

from __future__ import annotations

from collections.abc import Callable

from rljob.application.ring import PolicySlot
from rljob.checkpoints import policy
from rljob.nets.acting import ActingNetworks
from rljob.wire.weights import NOTHING, Stamp


class LoadedPolicy:
    """One of the two versions that can act.

    Attributes:
        networks: with its weights.
        generation: grows when they are replaced; who acts with another one has to change over.
    """

    __slots__ = ("generation", "networks", "stamp")

    def __init__(self, networks: ActingNetworks) -> None:
        self.networks = networks
        self.stamp: Stamp = NOTHING
        self.generation = 0


class Policies:
    """Two versions: the newest, and the one before it, which open segments may go on with.

    A third one takes the place of the older. Its segments then see another generation and close.

    Args:
        slot: where the courier leaves versions.
        make: makes acting networks without weights.
    """

    def __init__(self, slot: PolicySlot, make: Callable[[], ActingNetworks]) -> None:
        self._slot = slot
        self._newest, self._older = LoadedPolicy(make()), LoadedPolicy(make())

    @property
    def core_size(self) -> int:
        return self._newest.networks.core_size

    def newest(self) -> LoadedPolicy:
        """The newest version that has come.

        Raises:
            RunError: it does not fit the networks.
        """
        if self._slot.changed:
            self._load()
        return self._newest

    def _load(self) -> None:
        found = self._slot.read()
        if found is None:
            return
        stamp, payload = found
        target = self._older if self._newest.stamp != NOTHING else self._newest
        target.networks.load(policy.decode(payload))
        target.stamp = stamp
        target.generation += 1
        if target is self._older:
            self._newest, self._older = target, self._newest
