"""Key files: who may read them, and what is not a key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq

from rljob.errors import InputError
from rljob.spec.roles import ROLES
from rljob.wire.keygen import generate
from rljob.wire.keys import ALLOWED, read


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minted") / "keys"
    generate(folder)
    return folder


def test_secrets_are_for_their_owner_only(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert {name for name in modes if name.endswith(".secret")} == {f"{r}.secret" for r in ROLES}
    assert all(modes[f"{role}.secret"] == 0o400 for role in ROLES)
    assert all(modes[f"{role}.public"] & 0o222 == 0 for role in ROLES)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("role", ROLES)
def test_a_role_reads_its_own_pair_and_everybodys_public_key(folder: Path, role: str) -> None:
    keys = read(folder, role)
    assert zmq.curve_public(keys.secret) == keys.public == keys.others[role]
    assert set(keys.others) == set(ROLES)
    assert len(set(keys.others.values())) == len(ROLES)


def test_who_may_connect_where(folder: Path) -> None:
    keys = read(folder, "buffer")
    assert keys.allowed("experience") == {keys.others["rollout"]}
    assert keys.allowed("samples") == {keys.others["learner"]}
    assert keys.allowed("weights") == {keys.others["rollout"], keys.others["evaluator"]}
    assert set(ALLOWED) == {"experience", "samples", "weights"}


def test_keys_are_never_overwritten_and_never_half_written(tmp_path: Path) -> None:
    (tmp_path / "learner.secret").write_text("precious")
    with pytest.raises(InputError, match="already holds keys"):
        generate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["learner.secret"]
    assert (tmp_path / "learner.secret").read_text() == "precious"


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write keys"):
        generate(tmp_path / "file" / "keys")


def test_only_what_a_role_needs_must_be_there(folder: Path, tmp_path: Path) -> None:
    for role in ROLES:
        (tmp_path / f"{role}.public").write_bytes((folder / f"{role}.public").read_bytes())
    (tmp_path / "rollout.secret").write_bytes((folder / "rollout.secret").read_bytes())
    assert read(tmp_path, "rollout").public == read(folder, "rollout").public
    with pytest.raises(InputError, match=r"learner\.secret"):
        read(tmp_path, "learner")


@pytest.mark.parametrize(
    "content",
    [b"", b"x" * 39, b"x" * 41, b"~" * 40, b" " * 40, b"\xff" * 40, b"#" * 40],
    ids=["empty", "short", "long", "other letters", "blank", "binary", "above 32 bits"],
)
def test_what_is_no_key(folder: Path, tmp_path: Path, content: bytes) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "buffer.public").write_bytes(content)
    with pytest.raises(InputError, match=r"buffer\.public is not a key"):
        read(tmp_path, "rollout")
