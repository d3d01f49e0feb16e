"""CURVE keys of a job: one pair for each role, minted together, kept in one folder.

`ROLE.public` may be read by anybody, `ROLE.secret` (mode 0400) by its role only; a pod gets its own
secret and the public keys of those it talks to. Keys are Z85 text (https://rfc.zeromq.org/spec/32/).
Who may speak to which socket is in `ALLOWED`; the rest is refused by the socket's ZAP handler.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rljob.errors import InputError
from rljob.spec.roles import LINK_PORTS, ROLES, LinkName, RoleName, clients

Z85_KEY_CHARACTERS = 40
_Z85 = b"0123456789" + bytes(range(97, 123)) + bytes(range(65, 91)) + b".-:+=^!/*?&<>()[]{}@%$#"
ALLOWED = {link: clients(link) for link in LINK_PORTS}
"""Roles that may connect to each socket."""


@dataclass(frozen=True)
class Keys:
    """One role's own pair, and every role's public key, as Z85."""

    public: bytes
    secret: bytes
    others: Mapping[RoleName, bytes]

    def allowed(self, socket: LinkName) -> frozenset[bytes]:
        """Public keys that may connect to one of our sockets."""
        return frozenset(self.others[role] for role in ALLOWED[socket])


def read(folder: Path, role: str) -> Keys:
    """Read what one role needs; raises InputError naming the file that is missing or wrong."""
    return Keys(
        _read(folder / f"{role}.public"),
        _read(folder / f"{role}.secret"),
        {other: _read(folder / f"{other}.public") for other in ROLES},
    )


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"cannot read the key {path}: {error.strerror}") from error
    if not _is_z85(key):
        raise InputError(f"{path} is not a key: it must be {Z85_KEY_CHARACTERS} characters of Z85")
    return key


def _is_z85(key: bytes) -> bool:
    if len(key) != Z85_KEY_CHARACTERS or any(byte not in _Z85 for byte in key):
        return False
    digits = [_Z85.index(byte) for byte in key]
    numbers = [digits[at : at + 5] for at in range(0, len(digits), 5)]
    return all(functools.reduce(lambda n, d: n * 85 + d, five) < 2**32 for five in numbers)
