"""CURVE keys of a job: numbered generations of one pair for each role, kept in one folder.

    keys.json        which generations are accepted, and which one is used: `rotation.KeyOrder`
    1/ROLE.public    may be read by anybody
    1/ROLE.secret    (mode 0400) by its role only
    2/...            the next generation, while keys are rotated
    applications.json  public keys of applications, which belong to no generation; see `application_keys`

A role needs its own secrets and all public keys. Keys are Z85 text (https://rfc.zeromq.org/spec/32/).
Who may speak to which socket is in `ALLOWED`; the rest is refused by the socket's ZAP handler.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rljob.errors import InputError, RunError
from rljob.spec.roles import APPLICATION_LINKS, LINK_PORTS, ROLES, LinkName, RoleName, clients
from rljob.wire.application import is_application
from rljob.wire.rotation import KeyOrder, KeyReport

ORDER = "keys.json"
APPLICATIONS = "applications.json"
MOST_APPLICATIONS = 4096
Z85_KEY_CHARACTERS = 40
_Z85 = b"0123456789" + bytes(range(97, 123)) + bytes(range(65, 91)) + b".-:+=^!/*?&<>()[]{}@%$#"
ALLOWED = {link: clients(link) for link in LINK_PORTS}
"""Roles that may connect to each socket."""


@dataclass(frozen=True)
class Keys:
    """One generation: one role's own pair, and every role's public key, as Z85."""

    public: bytes
    secret: bytes
    others: Mapping[RoleName, bytes]


@dataclass(frozen=True)
class KeyRing:
    """The generations that one role accepts.

    Attributes:
        sets: by generation; the current one is among them.
        applications: public keys of the applications that may connect, by name.
    """

    order: KeyOrder
    sets: Mapping[int, Keys]
    applications: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def own(self) -> Keys:
        """Whose pair the role uses."""
        return self.sets[self.order.current]

    @property
    def report(self) -> KeyReport:
        return KeyReport(max(self.sets), self.order.current, self.order.oldest)

    def allowed(self, socket: LinkName) -> frozenset[bytes]:
        """Public keys that may connect to one of our sockets."""
        roles = (keys.others[role] for keys in self.sets.values() for role in ALLOWED[socket])
        others = self.applications.values() if socket in APPLICATION_LINKS else ()
        return frozenset((*roles, *others))

    def drops(self, later: KeyRing) -> bool:
        """Whether keys that were accepted are accepted no longer in `later`."""
        gone = set(self.applications.values()) - set(later.applications.values())
        return bool(gone or self.sets.keys() - later.sets.keys())

    def servers(self, role: RoleName) -> tuple[bytes, ...]:
        """Public keys that a server of this role may have, the likeliest first: roles do not change at once."""
        rest = [keys for keys in self.sets.values() if keys is not self.own]
        return tuple(keys.others[role] for keys in (self.own, *rest))


def read(folder: Path, role: RoleName) -> KeyRing:
    """Read what one role needs.

    Raises:
        InputError: naming the file that is missing or wrong.
        RunError: the current generation is not there yet.
    """
    order = read_order(folder)
    found = [number for number in generations(folder) if number >= order.oldest]
    if order.current not in found:
        raise RunError(f"generation {order.current} of the keys is not in {folder}")
    sets = {number: _read_set(folder / str(number), role) for number in found}
    return KeyRing(order, sets, read_admitted(folder))


def read_admitted(folder: Path) -> Mapping[str, bytes]:
    """Public keys of the applications that may connect, by name; none without the file.

    Raises:
        InputError: the file is not as specified.
    """
    path = folder / APPLICATIONS
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict) or len(found) > MOST_APPLICATIONS:
        raise InputError(f"{path} is no object of at most {MOST_APPLICATIONS} applications")
    keys = {}
    for name, key in found.items():
        if not is_application(name) or not isinstance(key, str) or not is_key(key.encode()):
            raise InputError(f"{path}: {name!r:.80} is no application with a key of Z85")
        keys[name] = key.encode()
    return keys


def read_order(folder: Path) -> KeyOrder:
    """Raises InputError when the folder does not say which generations are accepted."""
    try:
        return KeyOrder.from_json((folder / ORDER).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(
            f"cannot read {folder / ORDER}: {error.strerror}; `rljob keys` makes it with the keys"
        ) from error
    except InputError as error:
        raise InputError(f"{folder / ORDER}: {error}") from None


def generations(folder: Path) -> list[int]:
    """Numbers of the generations that are there, in ascending order."""
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError as error:
        raise InputError(f"cannot read the keys in {folder}: {error.strerror}") from error


def read_public(folder: Path, generation: int, role: RoleName) -> bytes:
    """The public key of a role in one generation; raises InputError when it cannot be read."""
    return _read(folder / str(generation) / f"{role}.public")


def _read_set(folder: Path, role: RoleName) -> Keys:
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
    if not is_key(key):
        raise InputError(f"{path} is not a key: it must be {Z85_KEY_CHARACTERS} characters of Z85")
    return key


def is_key(key: bytes) -> bool:
    """Whether this is Z85 text of a key's length."""
    if len(key) != Z85_KEY_CHARACTERS or any(byte not in _Z85 for byte in key):
        return False
    digits = [_Z85.index(byte) for byte in key]
    numbers = [digits[at : at + 5] for at in range(0, len(digits), 5)]
    return all(functools.reduce(lambda n, d: n * 85 + d, five) < 2**32 for five in numbers)
