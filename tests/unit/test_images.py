"""What the images are made of agrees with what is tested here and with the examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "images"
LOCKS = [IMAGES / "build.lock", *sorted(IMAGES.glob("*/*.lock"))]


def releases(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", lock.read_text(), re.MULTILINE))


def test_images_have_one_base_pinned_by_digest() -> None:
    dockerfiles = sorted(IMAGES.glob("*/Dockerfile"))
    bases = {
        re.findall(r"^ARG BASE=(.*)", file.read_text(), re.MULTILINE)[0] for file in dockerfiles
    }
    assert len(dockerfiles) == 2
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", bases.pop())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.relative_to(IMAGES)))
def test_an_image_has_the_releases_that_are_tested(lock: Path) -> None:
    tested = releases(ROOT / "requirements.lock")
    both = releases(lock).keys() & tested.keys()
    assert both
    assert {name: releases(lock)[name] for name in both} == {name: tested[name] for name in both}


def test_a_worker_has_no_torch() -> None:
    assert "torch" not in releases(IMAGES / "runtime" / "worker.lock")
    assert "torch" in releases(IMAGES / "runtime" / "learner.lock")


def test_the_example_is_built_on_and_named_after_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    example = ROOT / "examples" / "image"
    assert f"ARG VERSION={version}\n" in (example / "Dockerfile").read_text()
    assert f"image: ghcr.io/rljob/rljob-example:{version}\n" in (example / "job.yaml").read_text()
