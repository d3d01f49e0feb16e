"""Which IP family a connection uses, and when it takes the other."""

from __future__ import annotations

import pytest

from rljob.wire.families import IPV4, IPV6, families, of_machine

BOTH = (IPV4, IPV6)


@pytest.mark.parametrize(
    ("address", "machine", "choices"),
    [
        ("tcp://10.0.0.1:1", BOTH, (IPV4,)),
        ("tcp://10.0.0.1:1", (IPV6,), (IPV4,)),
        ("tcp://[fd00::1]:1", BOTH, (IPV6,)),
        ("tcp://[::1]:1", (IPV4,), (IPV6,)),
        ("tcp://*:1", (IPV4,), (IPV6,)),
        ("tcp://x-buffer:1", (IPV4,), (IPV4,)),
        ("tcp://x-buffer:1", (IPV6,), (IPV6,)),
        ("tcp://x-buffer:1", BOTH, BOTH),
        ("ipc:///run/x", (IPV6,), (IPV4,)),
        ("", BOTH, (IPV4,)),
    ],
)
def test_of_an_address(address: str, machine: tuple[bool, ...], choices: tuple[bool, ...]) -> None:
    assert tuple(families(address, machine).choices) == choices


def test_families_take_turns_until_one_is_heard() -> None:
    name = families("tcp://x-buffer:1", BOTH)
    seen = []
    for _ in range(4):
        seen.append(name.ipv6)
        name.silent()
    assert seen == [IPV4, IPV6, IPV4, IPV6]
    name.silent()
    name.heard()
    for _ in range(3):
        assert name.ipv6 == IPV6
        name.silent()


def test_a_machine_has_at_least_one() -> None:
    assert of_machine() in ((IPV4,), (IPV6,), BOTH)
