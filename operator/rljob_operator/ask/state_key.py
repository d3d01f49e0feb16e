"""The key from which each job's token is derived, which the job's pods ask for before they tell their state.

The operator makes the key once, as a Secret that its own pods mount. It reads the mounted file; it has no
right to read a Secret. A pod has the token of its own job alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
from pathlib import Path

from rljob.kube.kinds import Manifest
from rljob_operator.api.client import OperatorApi
from rljob_operator.api.errors import ApiError, NotLeading
from rljob_operator.config import Config

KEY_BYTES = 32
LOOK_SECONDS, RETRY_SECONDS = 1.0, 5.0
_log = logging.getLogger(__name__)


class StateKey:
    """Known after `load`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._key = b""

    def token(self, uid: str) -> str:
        """The token of the job with this uid."""
        assert self._key, "tokens are derived after the key is loaded"
        return hmac.new(self._key, uid.encode(), hashlib.sha256).hexdigest()

    async def load(self, api: OperatorApi) -> None:
        """Read the key, or make it. Waits while another operator's Secret is not mounted here yet.

        Without a file the key is this process's own: pods that another process made do not answer.
        """
        path = self._config.state_key_file
        if path is None:
            self._key = secrets.token_bytes(KEY_BYTES)
            _log.warning("no --state-key-file: jobs of an earlier operator tell it no state")
            return
        asked = False
        while not (found := _read(Path(path))):
            pause = LOOK_SECONDS
            try:
                made = secrets.token_bytes(KEY_BYTES)
                if not asked and await api.create(self._secret(path, made), self._namespace):
                    found = made
                    break
                asked = True
            except (ApiError, NotLeading) as error:
                _log.warning("cannot make the state key", extra={"reason": str(error)})
                pause = RETRY_SECONDS
            await asyncio.sleep(pause)
        self._key = found

    @property
    def _namespace(self) -> str:
        return self._config.lease_namespace

    def _secret(self, path: str, key: bytes) -> Manifest:
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self._config.state_key_secret,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "rljob"},
            },
            "type": "Opaque",
            "immutable": True,
            "data": {Path(path).name: base64.b64encode(key).decode()},
        }


def _read(path: Path) -> bytes:
    """Empty while there is no key."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
