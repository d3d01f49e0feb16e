"""Folders of code: which files go with a job, and the archive that they travel in."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rljob.code_folder import archive, files, pack
from rljob.errors import InputError
from rljob.spec.code import PART_BYTES, CodeArchiveSpec


def put(root: Path, name: str, text: str = "") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def known(packed: pack.CodeArchive) -> CodeArchiveSpec:
    return CodeArchiveSpec(sha256=packed.sha256, size=len(packed.data))


# ---- which files


def test_what_git_ignores_stays(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    for name in ("work/main.py", "work/pkg/__init__.py", "work/pkg/data.bin", "work/pkg/keep.bin", "work/out/a.txt",
                 "work/docs/out/b.txt", "work/deep/er/c.log", "work/deep/er/kept.log", "other.py"):  # fmt: skip
        put(root, name)
    put(root, ".gitignore", "*.log\n")
    put(root, "work/.gitignore", "# a comment\n/out/\n*.bin\n!keep.bin\n")
    put(root, "work/deep/.gitignore", "!kept.log\n")
    (root / ".git").mkdir()
    assert files.files(root / "work") == [
        "deep/er/kept.log",
        "docs/out/b.txt",
        "main.py",
        "pkg/__init__.py",
        "pkg/keep.bin",
    ]
    # Without a repository, the rules of folders above do not count.
    (root / ".git").rmdir()
    assert "deep/er/c.log" in files.files(root / "work")


def test_what_is_never_code_stays(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    for name in (".env", ".git/config", "__pycache__/a.pyc", "venv/pyvenv.cfg", "venv/lib/x.py"):
        put(tmp_path, name)
    for name in ("job.yaml", "modules.json", "checkpoints/1/weights"):
        put(tmp_path, f"runs/a-1/{name}")
    put(tmp_path, "jobs/job.yaml")
    assert files.files(tmp_path) == ["a.py", "jobs/job.yaml"]


def test_a_link_is_told_unless_it_is_ignored(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    (tmp_path / "data").symlink_to("/etc")
    with pytest.raises(InputError, match=r"'data' is a link; .*\.gitignore"):
        files.files(tmp_path)
    put(tmp_path, ".gitignore", "data/\n")
    assert files.files(tmp_path) == ["a.py"]


def test_folders_that_cannot_be_sent_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "file")
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("nope", "no such folder"),
        ("file", "is a file"),
        ("empty", "has no files"),
    ):
        with pytest.raises(InputError, match=f"^--code .*{name}: {message}"):
            files.files(tmp_path / name)
    put(tmp_path, "many/a.py", "a" * 10)
    put(tmp_path, "many/b.py", "a" * 10)
    monkeypatch.setattr(files, "MOST_FILES", 1)
    with pytest.raises(InputError, match=r"has more than 1 files or 64 MiB .*Give the folder of"):
        files.files(tmp_path / "many")
    monkeypatch.undo()
    monkeypatch.setattr(files, "LARGEST_TOTAL", 19)
    with pytest.raises(InputError, match="has more than 10,000 files"):
        files.files(tmp_path / "many")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "talk"))
        with pytest.raises(InputError, match=r"'talk' is no file; .*\.gitignore"):
            files.files(tmp_path)
    (tmp_path / "talk").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"'pipe' is no file"):
        files.files(tmp_path)
    (tmp_path / "pipe").unlink()
    put(tmp_path, "line\nbreak.py")
    with pytest.raises(InputError, match=r"'line\\nbreak.py' has a name that cannot be printed"):
        files.files(tmp_path)


def test_a_file_of_holes_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    with (tmp_path / "holes.bin").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"or 64 MiB \(largest: holes\.bin\)\."):
        files.files(tmp_path)


def test_what_changes_while_it_is_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.py", "a" * 10)
    names = files.files(tmp_path)
    monkeypatch.setattr(pack, "files", lambda _: names)
    monkeypatch.setattr(pack, "LARGEST_TOTAL", 9)
    with pytest.raises(InputError, match=r"a\.py grew while it was read"):
        pack.pack(tmp_path)
    (tmp_path / "a.py").unlink()
    os.mkfifo(tmp_path / "a.py")
    with pytest.raises(InputError, match=r"cannot read a\.py: it is no file"):
        pack.pack(tmp_path)
    (tmp_path / "a.py").unlink()
    (tmp_path / "a.py").symlink_to("/etc/passwd")
    with pytest.raises(InputError, match=r"cannot read a\.py: Too many levels of symbolic links"):
        pack.pack(tmp_path)


def test_a_wrong_line_of_git_is_told(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    put(tmp_path, ".gitignore", "!\n")
    with pytest.raises(InputError, match=r"\.gitignore has a wrong line: "):
        files.files(tmp_path)


# ---- the archive


def test_a_folder_comes_back_as_it_was(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    put(source, "pkg/sub/ü.py", "a = 1\n")
    put(source, "run.sh", "#!/bin/sh\n")
    (source / "run.sh").chmod(0o700)
    packed = pack.pack(source)
    put(target, "left/over")
    archive.unpack(packed.data, known(packed), target)
    assert files.files(target) == ["pkg/sub/ü.py", "run.sh"]
    assert (target / "pkg/sub/ü.py").read_text() == "a = 1\n"
    assert os.access(target / "run.sh", os.X_OK)
    assert not os.access(target / "pkg/sub/ü.py", os.X_OK)
    assert set(tmp_path.iterdir()) == {source, target}


def test_the_digest_is_that_of_the_contents(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for root in (one, other):
        put(root, "a.py", "a")
        put(root, "b/c.py", "c")
    os.utime(other / "a.py", (1, 1))
    digest = pack.pack(one).sha256
    assert pack.pack(other).sha256 == digest
    put(other, "a.py", "b")
    assert pack.pack(other).sha256 != digest


def test_an_archive_travels_in_parts(tmp_path: Path) -> None:
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise/data").write_bytes(os.urandom(2 * PART_BYTES))
    packed = pack.pack(tmp_path / "noise")
    parts = packed.parts()
    assert [len(part) <= PART_BYTES for part in parts] == [True] * 3
    assert known(packed).parts == 3
    folder = tmp_path / "parts"
    folder.mkdir()
    for index, part in enumerate(parts):
        (folder / str(index)).write_bytes(part)
    assert archive.join(folder, known(packed)) == packed.data
    (folder / "1").write_bytes(parts[1] + parts[0])
    with pytest.raises(InputError, match=r"codeArchive: .* is larger than the job says"):
        archive.join(folder, known(packed))
    (folder / "1").unlink()
    with pytest.raises(InputError, match="No such file"):
        archive.join(folder, known(packed))


def test_an_archive_that_is_too_large_names_the_largest_files(tmp_path: Path) -> None:
    put(tmp_path, "small.py")
    (tmp_path / "weights.bin").write_bytes(os.urandom(9 << 20))
    with pytest.raises(
        InputError,
        match=r"is 9\.0 MiB packed, and at most 8 MiB .*largest: weights\.bin, small\.py",
    ):
        pack.pack(tmp_path)


def test_a_module_that_would_hide_another_is_told(tmp_path: Path) -> None:
    for name in ("torch.py", "rljob/__init__.py", "json.py"):
        root = tmp_path / name.replace("/", "-")
        put(root, name)
        module = name.split("/")[0].removesuffix(".py")
        with pytest.raises(InputError, match=f"{name} would hide the module {module}"):
            pack.pack(root)
    put(tmp_path / "fine", "json/data.txt")
    put(tmp_path / "fine", "pkg/json.py")
    put(tmp_path / "fine", "test/__init__.py")
    pack.pack(tmp_path / "fine")


def tarred(change: Callable[[tarfile.TarInfo], None], content: bytes = b"x") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        entry = tarfile.TarInfo("a.py")
        entry.size = len(content)
        change(entry)
        made.addfile(entry, io.BytesIO(content) if entry.isreg() else None)
    return data.getvalue()


def named(name: str) -> Callable[[tarfile.TarInfo], None]:
    return lambda entry: setattr(entry, "name", name)


def link(entry: tarfile.TarInfo) -> None:
    entry.type, entry.linkname, entry.size = tarfile.SYMTYPE, "/etc/passwd", 0


def device(entry: tarfile.TarInfo) -> None:
    entry.type, entry.size = tarfile.CHRTYPE, 0


@pytest.mark.parametrize(
    "change", [named("../a.py"), named("/tmp/a.py"), named("b/../../a.py"), link, device]
)
def test_nothing_is_written_outside_the_folder(
    change: Callable[[tarfile.TarInfo], None], tmp_path: Path
) -> None:
    whole = tarred(change)
    data = gzip.compress(whole)
    spec = CodeArchiveSpec(sha256=hashlib.sha256(whole).hexdigest(), size=len(data))
    with pytest.raises(InputError, match="which is no file below it"):
        archive.unpack(data, spec, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_an_archive_that_is_not_the_jobs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "source", "a.py", "a = 1")
    packed = pack.pack(tmp_path / "source")
    other = gzip.compress(b"0" * 1024)
    bomb = gzip.compress(b"0" * (1 << 20))
    monkeypatch.setattr(archive, "_LARGEST_TAR", 1 << 19)
    for data, message in (
        (packed.data + b"0", "bytes, and the job says"),
        (packed.data[:-1], "bytes, and the job says"),
        (other, "does not have the digest"),
        (bomb, "is cut off or larger than"),
        (b"no archive", "is no archive"),
    ):
        size = len(packed.data) if message.startswith("bytes") else len(data)
        spec = CodeArchiveSpec(sha256=packed.sha256, size=size)
        with pytest.raises(InputError, match=f"^codeArchive: .*{message}"):
            archive.unpack(data, spec, tmp_path / "target")
    assert not (tmp_path / "target").exists()
