"""Keys of applications: admitted, revoked, and what is no key."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from rljob.errors import InputError
from rljob.wire.application_keys import (
    ApplicationKey,
    admit,
    read_application_key,
    revoke,
)
from rljob.wire.keygen import generate
from rljob.wire.keys import APPLICATIONS, read
from rljob.wire.sockets import new_keypair


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    generate(tmp_path / "keys")
    return tmp_path / "keys"


def test_an_application_may_connect_to_two_links_until_it_is_revoked(keys: Path) -> None:
    before = read(keys, "buffer")
    public, _ = new_keypair()
    admit(keys, "shop", public)
    ring = read(keys, "buffer")
    assert ring.applications == {"shop": public}
    admitted = {link: public in ring.allowed(link) for link in ("experience", "samples", "weights")}
    assert admitted == {"experience": True, "samples": False, "weights": True}
    assert not before.drops(ring), "those that are connected stay so"
    with pytest.raises(InputError, match="shop has a key already"):
        admit(keys, "shop", public)
    revoke(keys, "shop")
    assert ring.drops(read(keys, "buffer"))
    with pytest.raises(InputError, match="no application shop"):
        revoke(keys, "shop")


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"shop": 3}', '{"Shop": "x"}', '{"shop": "short"}', "[" * 100_000]
)
def test_a_damaged_list_is_told(keys: Path, content: str) -> None:
    (keys / APPLICATIONS).write_text(content)
    with pytest.raises(InputError, match=r"applications\.json"):
        read(keys, "buffer")


def made(**changes: Any) -> dict[str, Any]:
    (public, secret), (server, _) = new_keypair(), new_keypair()
    key = ApplicationKey("shop", public, secret, {"buffer": (server,), "learner": (server,)})
    return {**key.to_json(), **changes}


def test_the_file_is_its_owners_alone_and_read_back(tmp_path: Path) -> None:
    (public, secret), (one, _), (two, _) = new_keypair(), new_keypair(), new_keypair()
    key = ApplicationKey("shop", public, secret, {"buffer": (one, two), "learner": (two,)})
    path = tmp_path / "application.json"
    key.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_application_key(path) == read_application_key(tmp_path) == key
    ring = key.ring
    assert (ring.own.public, ring.own.secret) == (public, secret)
    assert ring.servers("buffer") == (one, two)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"application": "Shop"}, "is not the key"),
        ({"public": "x"}, "public is not a key"),
        ({"secret": None}, "secret is not a key"),
        ({"buffer": []}, "buffer is no list"),
        ({"learner": ["x"]}, "learner is not a key"),
    ],
)
def test_what_is_no_key_is_told(tmp_path: Path, content: dict[str, Any], what: str) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(made(**content)))
    with pytest.raises(InputError, match=f"shop.json.*{what}"):
        read_application_key(path)


def test_a_file_that_is_not_there_or_no_json_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the key"):
        read_application_key(tmp_path / "none.json")
    path = tmp_path / "shop.json"
    for content in ("{", "[" * 60_000, " " * 70_000):
        path.write_text(content)
        with pytest.raises(InputError, match=r"shop\.json"):
            read_application_key(path)
