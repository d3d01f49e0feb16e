"""Keys of applications: each has a pair of its own, made and revoked by itself (docs/design/protocol.md, Security).

applications.json   in the folder of a role's keys: public keys by the name of the application, all that may connect
NAME.json           the application's own file: its pair, and the public keys that buffer and learner may have
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rljob.errors import InputError, RLJobError
from rljob.run_folder.write_whole import replacing
from rljob.wire.application import is_application
from rljob.wire.keys import (
    APPLICATIONS,
    KeyRing,
    Keys,
    is_key,
    read_admitted,
)
from rljob.wire.rotation import KeyOrder

IN_FOLDER = "application.json"
"""Name of an application's file where only its folder is named."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the file."""
MOST_SERVER_KEYS = 64
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class ApplicationKey:
    """What an application needs to connect.

    Attributes:
        name: of the application.
        public, secret: its pair, as Z85.
        servers: public keys that `buffer` and `learner` may have, the one in use first.
    """

    name: str
    public: bytes
    secret: bytes
    servers: Mapping[str, tuple[bytes, ...]]

    @property
    def ring(self) -> KeyRing:
        """For `rljob.wire.sockets`: one set of keys for each generation of the servers."""
        buffer, learner = self.servers["buffer"], self.servers["learner"]
        count = max(len(buffer), len(learner))
        sets = {
            count - at: Keys(
                self.public,
                self.secret,
                {
                    "buffer": buffer[min(at, len(buffer) - 1)],
                    "learner": learner[min(at, len(learner) - 1)],
                },
            )
            for at in range(count)
        }
        return KeyRing(KeyOrder(1, count), sets)

    def to_json(self) -> dict[str, Any]:
        return {
            "application": self.name,
            "public": self.public.decode(),
            "secret": self.secret.decode(),
            **{role: [key.decode() for key in keys] for role, keys in self.servers.items()},
        }

    @classmethod
    def from_json(cls, value: Any) -> ApplicationKey:
        """Raises InputError for anything that `to_json` would not have made."""
        if not isinstance(value, dict) or not is_application(value.get("application")):
            raise InputError("is not the key of an application: rljob applications add makes one")
        pair = [_key(value.get(name), name) for name in ("public", "secret")]
        servers = {}
        for role in ("buffer", "learner"):
            keys = value.get(role)
            if not isinstance(keys, list) or not 1 <= len(keys) <= MOST_SERVER_KEYS:
                raise InputError(f"{role} is no list of 1 to {MOST_SERVER_KEYS} keys")
            servers[role] = tuple(_key(each, role) for each in keys)
        return cls(value["application"], pair[0], pair[1], servers)

    def write(self, path: Path) -> None:
        """Write a file that only its owner can read; raises OSError."""
        with replacing(path) as temporary:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(handle, "w") as file:
                json.dump(self.to_json(), file)


def read_application_key(path: Path) -> ApplicationKey:
    """The key in a file, or in `application.json` of a folder.

    Raises:
        InputError: naming the file, and what is wrong with it.
    """
    if path.is_dir():
        path = path / IN_FOLDER
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read the key {path}: {error.strerror}") from error
    try:
        if len(text) > _MOST_BYTES:
            raise InputError(f"has more than {_MOST_BYTES} bytes")
        return ApplicationKey.from_json(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise InputError(f"the key {path} is no JSON: {error}") from None
    except InputError as error:
        raise InputError(f"the key {path}: {error}") from None


class ApplicationKeyWatch:
    """Notices that an application's file has changed; used by one thread.

    Attributes:
        ring: the keys when they were last read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path / IN_FOLDER if path.is_dir() else path
        self._seen = self._look()
        self.ring = read_application_key(path).ring
        self._looked = time.monotonic()

    def changed(self) -> KeyRing | None:
        """The keys if they have changed, else None. A file that cannot be read leaves the old ones."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY or (seen := self._look()) == self._seen:
            return None
        self._looked, self._seen = now, seen
        try:
            ring = read_application_key(self._path).ring
        except RLJobError as error:
            logging.getLogger("rljob").warning("the keys stay as they are: %s", error)
            return None
        if ring == self.ring:
            return None
        self.ring = ring
        return ring

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def admit(folder: Path, name: str, public: bytes) -> None:
    """Let an application connect to the servers that read this folder of keys.

    Raises:
        InputError: one of this name may connect already, or there are too many.
        OSError: the folder cannot be written.
    """
    known = dict(read_admitted(folder))
    if name in known:
        raise InputError(f"{name} has a key already; revoke it first, or choose another name")
    _write(folder, {**known, name: public})


def revoke(folder: Path, name: str) -> None:
    """Let it connect no more; within a second its connections end.

    Raises:
        InputError: there is none of this name.
        OSError: the folder cannot be written.
    """
    known = dict(read_admitted(folder))
    if known.pop(name, None) is None:
        there = ", ".join(known) or "none"
        raise InputError(f"no application {name} has a key; there are: {there}")
    _write(folder, known)


def _write(folder: Path, known: Mapping[str, bytes]) -> None:
    text = json.dumps({name: key.decode() for name, key in sorted(known.items())}, indent=1)
    with replacing(folder / APPLICATIONS) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def _key(value: Any, what: str) -> bytes:
    key = value.encode() if isinstance(value, str) and value.isascii() else b""
    if not is_key(key):
        raise InputError(f"{what} is not a key: it must be 40 characters of Z85")
    return key
