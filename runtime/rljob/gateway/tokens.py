"""Who may use a gateway: one token for each caller."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path

from rljob.errors import InputError
from rljob.wire.application import is_application

LEAST_CHARACTERS = 16
_BEARER = "Bearer "


class Tokens:
    """Tokens by the names of those who hold them; kept as digests.

    Args:
        known: token by name. None lets everybody in, under the name `anybody`.
    """

    def __init__(self, known: Mapping[str, str] | None) -> None:
        self._digests = (
            None if known is None else {name: _digest(text) for name, text in known.items()}
        )

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """From a JSON object, `{"shop": "…"}`.

        Raises:
            InputError: it is no such file; the message has no token.
        """
        try:
            known = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"tokens: {path} cannot be read as JSON: {error}") from None
        if not isinstance(known, dict) or not known:
            raise InputError(f'tokens: {path} is not an object as in {{"shop": "TOKEN"}}')
        for name, token in known.items():
            if not is_application(name):
                raise InputError(
                    f"tokens: {name!r:.80} is no name; allowed are up to 63 lower-case letters, digits and '-'"
                )
            if not isinstance(token, str) or len(token) < LEAST_CHARACTERS or not token.isascii():
                raise InputError(
                    f"tokens: that of {name} is not a text of at least {LEAST_CHARACTERS} ASCII characters"
                )
        if len(set(known.values())) < len(known):
            raise InputError(f"tokens: two names in {path} have the same token")
        return cls(known)

    def who(self, authorization: str) -> str | None:
        """Name of the one who sent this header; None for a stranger."""
        if self._digests is None:
            return "anybody"
        given = _digest(authorization.removeprefix(_BEARER))
        found = None
        # All are compared: the time tells nothing.
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest) and authorization.startswith(_BEARER):
                found = name
        return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
