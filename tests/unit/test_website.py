"""The pages that are made from the code, and the links between all documents."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rljob.cli.main import COMMANDS
from rljob.kube.crd import definition
from website import cli_page, settings, spec_page
from website.pages import GENERATED, OUTSIDE

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


def documents() -> list[Path]:
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in found.stdout.splitlines() if (ROOT / line).exists()]


def links(document: Path) -> Iterator[str]:
    """Targets in this repository that a document links to."""
    for target in _LINK.findall(document.read_text()):
        if not re.match(r"[a-z]+:", target):
            yield target


def test_every_link_leads_to_a_file() -> None:
    made = {ROOT / "docs" / page for page in GENERATED}
    dead = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents()
        for target in links(document)
        if not (document.parent / target).exists()
        and (document.parent / target).resolve() not in made
    ]
    assert dead == []


def test_files_outside_docs_that_the_site_shows_are_there() -> None:
    assert [source for source in OUTSIDE.values() if not (ROOT / source).is_file()] == []


def test_the_spec_page_has_every_field() -> None:
    page = spec_page.page()
    root = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    paths = [path for part in ("spec", "status") for path, _ in spec_page.fields(root[part], part)]
    assert len(paths) > 100
    for path in paths:
        assert f"{{ #{path} }}" in page, path


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("spec.seed", "integer, at least 0, fixed"),
        ("spec.rollout.replicas", "integer, default `2`, 1 to 10,000"),
        ("spec.rollout.precision", "string, default `float32`, `float32` or `bfloat16`"),
        ("spec.buffer.replicas", "integer, default `1`, only 1"),
        ("spec.checkpoint.interval", "duration, default `60s`, up to 8760h"),
        ("spec.code", "map of name to string, at most 64, fixed"),
        ("spec.requirements", "list of strings, at most 64"),
        (
            "spec.environment.entryPoint",
            "string, `package.module:attribute`",
        ),
    ],
)
def test_the_spec_page_says_type_default_and_what_is_allowed(field: str, line: str) -> None:
    _, found, rest = spec_page.page().partition(f"{{ #{field} }}\n")
    assert found
    assert rest.startswith(f":   *{line}*{{ .facts }}"), rest[:100]


def test_the_command_page_has_every_option_of_every_command() -> None:
    page = cli_page.page()
    for name in COMMANDS:
        _, found, rest = page.partition(f"{{ #rljob-{name} }}")
        assert found, name
        part = rest.partition("\n## ")[0]
        for action in cli_page.command_parser(name)._actions:
            for option in action.option_strings:
                assert option in part or option in ("-h", "--help"), (name, option)


@pytest.mark.parametrize("name", settings.MODELS)
def test_a_page_has_the_settings_of_its_models(name: str) -> None:
    text = (settings.PAGES / name).read_text()
    assert settings.with_tables(text, settings.MODELS[name]) == text


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no <!-- Settings of PPO"):
        settings.with_tables("# PPO\n", settings.MODELS["algorithms/ppo.md"])
