"""The gateway's tokens and episodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from rljob.application.episode import Episode
from rljob.errors import InputError, RunError
from rljob.gateway import sessions
from rljob.gateway.openapi import description
from rljob.gateway.sessions import Sessions
from rljob.gateway.tokens import Tokens

SHOP, TILL = "s" * 32, "t" * 32


def test_a_token_is_one_callers(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps({"shop": SHOP, "till": TILL}))
    tokens = Tokens.read(path)
    assert tokens.who(f"Bearer {SHOP}") == "shop"
    assert tokens.who(f"Bearer {TILL}") == "till"
    for wrong in ("", SHOP, "Bearer ", f"Bearer {SHOP}x", f"Basic {SHOP}"):
        assert tokens.who(wrong) is None
    assert Tokens(None).who("") == "anybody"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is not an object as in"),
        ("{}", "is not an object as in"),
        (json.dumps({"Shop": SHOP}), "'Shop' is no name"),
        (json.dumps({"shop": "short"}), "that of shop is not a text of at least 16"),
        (json.dumps({"shop": 1}), "that of shop is not a text"),
        (json.dumps({"shop": "ä" * 32}), "that of shop is not a text"),
        (json.dumps({"shop": SHOP, "till": SHOP}), "two names .* have the same token"),
    ],
)
def test_what_is_no_file_of_tokens_is_told_without_them(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        Tokens.read(path)
    assert SHOP not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        Tokens.read(tmp_path / "none")


class Given:
    """An episode that remembers whether it was given up."""

    given_up = False

    def abandon(self) -> None:
        self.given_up = True


def begin(there: Sessions, owner: str, now: float) -> tuple[str, Given]:
    episode = Given()
    return there.begin(owner, lambda: cast("Episode", episode), now), episode


def test_an_episode_is_found_by_its_owner_until_nobody_uses_it() -> None:
    there = Sessions(idle=10)
    name, episode = begin(there, "shop", 0)
    other, unused = begin(there, "shop", 0)
    assert name != other
    assert there.find("till", name, 1) is None
    assert there.find("shop", "none", 1) is None
    assert there.find("shop", name, 9) is not None
    assert there.expire(11) == 1
    assert unused.given_up
    assert not episode.given_up
    assert there.find("shop", other, 11) is None
    assert len(there) == 1


def test_late_rewards_find_an_episode_that_has_ended() -> None:
    there = Sessions(idle=10)
    name, episode = begin(there, "shop", 0)
    session = there.find("shop", name, 1)
    assert session is not None
    assert session.keep(cast("Any", object())) == 1
    there.end(name)
    assert len(there) == 0
    assert there.find("shop", name, 9) is session
    assert there.expire(18) == 0
    assert there.find("shop", name, 18) is session
    there.expire(29)
    assert there.find("shop", name, 29) is None
    assert not episode.given_up
    # Without late decisions nothing can come any more.
    plain, _ = begin(there, "shop", 30)
    there.end(plain)
    assert there.find("shop", plain, 30) is None


def test_numbers_of_episodes_and_decisions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_EPISODES", 2)
    monkeypatch.setattr(sessions, "MOST_DECISIONS", 3)
    there = Sessions(idle=10)
    name, _ = begin(there, "shop", 0)
    begin(there, "shop", 0)
    with pytest.raises(RunError, match="2 episodes go on"):
        there.begin("shop", lambda: pytest.fail("an episode has begun"), 0)
    session = there.find("shop", name, 0)
    assert session is not None
    numbers = [session.keep(cast("Any", object())) for _ in range(5)]
    assert numbers == [1, 2, 3, 4, 5]
    assert list(session.decisions) == [3, 4, 5]


def test_the_description_is_whole() -> None:
    found = description("shop")
    assert found["info"]["title"] == "rljob gateway of shop"
    assert set(found["paths"]) == {
        "/episodes",
        "/episodes/{episode}",
        *(f"/episodes/{{episode}}/{what}" for what in ("act", "reward", "end")),
    }
    for path in found["paths"].values():
        for method, operation in path.items():
            if method != "parameters":
                assert operation["summary"]
                assert "default" in operation["responses"]
