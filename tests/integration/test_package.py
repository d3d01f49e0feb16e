"""The package as it is published: what is in it, how it shows on an index, and that it runs when installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/rljob/rljob/"
UV = (sys.executable, "-m", "uv")
PACKAGES = {
    "rljob": ROOT / "runtime" / "rljob",
    "rljob_operator": ROOT / "operator" / "rljob_operator",
}

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Built:
    """What `python -m build` makes: the sdist, and the wheel that is built from it."""

    sdist: Path
    wheel: Path

    @property
    def about(self) -> EmailMessage:
        """The wheel's metadata; its payload is the long description."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            return Parser(_class=EmailMessage).parsestr(archive.read(name).decode())


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def build(source: Path, out: Path, *options: str) -> None:
    run(
        *UV,
        "build",
        "--quiet",
        "--offline",
        "--no-build-isolation",
        *options,
        "--out-dir",
        out,
        source,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("dist")
    build(ROOT, out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Built(sdist, wheel)


def needed(requirements: Iterable[str], extras: Iterable[str], seen: set[str]) -> Iterator[str]:
    """The names of all distributions that a package brings, with what those that are installed here need.

    Args:
        requirements: what the package declares, `Requires-Dist`.
        extras: those of its extras that are wanted.
    """
    for text in requirements:
        each = Requirement(text)
        wanted = each.marker is None or any(
            each.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if wanted and str(each) not in seen:
            seen.add(str(each))
            yield canonicalize_name(each.name)
            yield from needed(metadata.requires(each.name) or (), each.extras, seen)


def environment(folder: Path, built: Built, *extras: str) -> Path:
    """The `bin` of a new environment with the wheel, and with what it declares to need and nothing else.

    The releases are those of requirements.lock. They come from uv's cache, where `make install` has left
    them, as links.
    """
    wanted = set(needed(built.about.get_all("Requires-Dist"), extras, set()))
    entries = re.split(r"^(?=\w)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE)
    pinned = [entry for entry in entries if entry.partition("==")[0] in wanted]
    lock = folder / "lock.txt"
    lock.write_text("".join(pinned))
    python = folder / "venv" / "bin" / "python"
    run(*UV, "venv", "--quiet", "--python", sys.executable, python.parents[1])
    install = (*UV, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python)
    run(*install, "--link-mode", "symlink", "--require-hashes", "--requirement", lock)
    run(*install, built.wheel)
    run(*UV, "pip", "check", "--python", python)
    return python.parent


def test_every_module_and_data_file_is_in_the_wheel(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {
        f"{package}/{file.relative_to(folder)}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {"rljob/py.typed", "rljob/show/report/page.css", "rljob/show/report/page.js"} <= found
    assert found == expected


def test_the_sdist_builds_the_same_wheel_as_the_repository(built: Built, tmp_path: Path) -> None:
    build(ROOT, tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(direct) as one, zipfile.ZipFile(built.wheel) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        for name in one.namelist():
            assert one.read(name) == other.read(name), name


def test_the_sdist_has_licence_changes_and_examples(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "examples/cartpole-ppo.yaml"} <= names


def test_an_index_has_a_page_to_show(built: Built) -> None:
    about = built.about
    assert about["License-Expression"] == "Apache-2.0"
    assert about["License-File"] == "LICENSE"
    assert about["Description-Content-Type"] == "text/markdown"
    urls = dict(each.split(", ") for each in about.get_all("Project-URL"))
    assert set(urls) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(url.startswith(REPOSITORY.rstrip("/")) for url in urls.values())
    assert "Programming Language :: Python :: 3.11" in about.get_all("Classifier")


def test_links_of_the_page_lead_into_the_repository(built: Built) -> None:
    page = built.about.get_payload()
    links = re.findall(r"\]\(([^)\s]+)", page) + re.findall(
        r"(?:src|srcset|href)=\"([^\"]+)\"", page
    )
    assert len(links) > 10
    relative = [link for link in links if not re.match(r"https?://|#|mailto:", link)]
    assert relative == []
    for link in links:
        if link.startswith(REPOSITORY):
            inside = re.match(r"(?:blob|tree|raw)/main/([^#?]+)", link.removeprefix(REPOSITORY))
            assert inside is None or (ROOT / inside[1]).exists(), link


def test_it_trains_where_it_is_installed(built: Built, tmp_path: Path) -> None:
    program = environment(tmp_path, built, "learner") / "rljob"
    empty = tmp_path / "empty"
    empty.mkdir()
    command = (program, "run", "--env", "CartPole-v1", "--algorithm", "PPO", "--seed", "1")
    run(*command, "--set", "stop.steps=10000", cwd=empty)
    (folder,) = (empty / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["outcome"] == "Complete"
    assert result["steps"] >= 10_000
    where = run(program.parent / "python", "-c", "import rljob; print(rljob.__file__)", cwd=empty)
    assert Path(where).is_relative_to(tmp_path)
    assert "mean return" in run(program, "eval", folder, "--episodes", "1", cwd=empty)


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("run --env CartPole-v1", "learner"),
        ("plan --env CartPole-v1", "learner"),
        ("algorithms", "runtime"),
        ("environments", "runtime"),
        ("status", "client"),
    ],
)
def test_without_extras_a_command_says_what_to_install(
    command: str, extra: str, bare: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [bare / "rljob", *command.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.endswith(f"part of: pip install 'rljob[{extra}]'\n")
    assert done.stderr.startswith(f"rljob {command.split()[0]} needs ")


@pytest.mark.parametrize("command", ["--help", "render {job}", "completion bash"])
def test_without_extras_it_reads_and_renders_jobs(command: str, bare: Path, tmp_path: Path) -> None:
    job = ROOT / "examples" / "cartpole-ppo.yaml"
    assert run(bare / "rljob", *command.format(job=job).split(), cwd=tmp_path)


@pytest.fixture(scope="module")
def bare(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment in which rljob was installed without extras."""
    return environment(tmp_path_factory.mktemp("bare"), built)
