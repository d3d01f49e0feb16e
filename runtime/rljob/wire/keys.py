"""CURVE keys of a job: one pair for each role, minted together, kept in one folder.

`ROLE.public` may be read by anybody, `ROLE.secret` (mode 0400) by its role only; a pod gets its own
secret and the public keys of those it talks to. Keys are Z85 text (https://rfc.zeromq.org/spec/32/).
Who may speak to which socket is in `ALLOWED`; the rest is refused by the socket's ZAP handler.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rljob.errors import InputError

ROLES = ("rollout", "buffer", "learner", "evaluator")
Z85_KEY_CHARACTERS = 40
ALLOWED = {
    "experience": ("rollout",),
    "samples": ("learner",),
    "weights": ("rollout", "evaluator"),
}
"""Roles that may connect to each socket."""


@dataclass(frozen=True)
class Keys:
    """One role's own pair, and every role's public key, as Z85."""

    public: bytes
    secret: bytes
    others: dict[str, bytes]

    def allowed(self, socket: str) -> frozenset[bytes]:
        """Public keys that may connect to one of our sockets."""
        return frozenset(self.others[role] for role in ALLOWED[socket])


def mint(folder: Path) -> None:
    """Write a new pair for each role; raises InputError when the folder holds keys already."""
    from rljob.wire.sockets import new_keypair

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for role in ROLES:
        public, secret = new_keypair()
        _write(folder / f"{role}.public", public, 0o444)
        _write(folder / f"{role}.secret", secret, 0o400)


def read(folder: Path, role: str) -> Keys:
    """Read what one role needs; raises InputError naming the file that is missing or wrong."""
    return Keys(
        _read(folder / f"{role}.public"),
        _read(folder / f"{role}.secret"),
        {other: _read(folder / f"{other}.public") for other in ROLES},
    )


def _write(path: Path, key: bytes, mode: int) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise InputError(f"{path} is already there; choose an empty folder") from error
    with os.fdopen(handle, "wb") as file:
        file.write(key + b"\n")


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InputError(f"cannot read the key {path}: {error.strerror}") from error
    if len(key) != Z85_KEY_CHARACTERS:
        raise InputError(f"{path} is no key: {len(key)} characters, not {Z85_KEY_CHARACTERS} of Z85")
    return key
