"""The report as a reader has it: in a browser, on a phone and on a wide screen, in light and dark."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rljob import spec
from tests.browser.chromium import Page, browser

EVIL = "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
PHONE, WIDE = 390, 1280


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet(page: Page) -> Iterator[None]:
    """No test may make the page complain, or ask for anything but its file."""
    page.complaints.clear()
    page.requests.clear()
    yield
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requests)


def write(folder: Path, seed: int, **more: Any) -> Path:
    """A run of 600 records with a restart, checkpoints and evaluations."""
    folder.mkdir()
    values: dict[str, Any] = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO"},
        "stop": {"meanReturn": 475},
        "evaluation": {},
        "seed": seed,
        **more,
    }
    job = spec.parse({"metadata": {"name": "pole-with-a-rather-long-name"}, "spec": values})
    (folder / "job.yaml").write_text(spec.dump(job))
    lines, played = [], []
    for k in range(600):
        back = 12.0 if k >= 400 else 0.0
        mean = 500 * (1 - math.exp(-k / (120 + 20 * seed))) + 9 * math.sin(k)
        line = {
            "time": 1e9 + k + back,
            "seconds": float(k + 1),
            "steps": 4000 * k,
            "meanReturn": mean,
            "bestReturn": mean,
            "policyVersion": k,
            "stepsPerSecond": 4000 + 300 * math.sin(k / 9),
            "updatesPerSecond": 1.0,
            "lagP50": 1,
            "lagP95": k % 4,
            "lagBound": 4,
            "bufferFill": 0.3,
            "rolloutsWaiting": 0.2,
            "learnerWaiting": 0.1,
            "stages": {"update": 0.7, "publish": 0.05, "checkpoint": 0.01},
            "checkpoint": {"policyVersion": k // 60 * 60},
            "metrics": {"policy_loss": math.cos(k / 30) / (k + 1), EVIL: k},
        }
        lines.append(json.dumps(line))
        if k % 60 == 5:
            line = {"time": 1e9 + k, "policyVersion": k, "mean": mean, "std": 30.0, "episodes": 5}
            played.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "evaluations.jsonl").write_text("\n".join(played) + "\n")
    result = {"outcome": "Complete", "reason": "MeanReturnReached", "meanReturn": 480.0}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def report(out: Path, *runs: Path) -> Path:
    command = [sys.executable, "-m", "rljob", "report", *map(str, runs), "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    return report(folder / "one.html", write(folder / EVIL.replace("/", "-"), 0))


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    fast = {"name": "PPO", "config": {"learningRate": 0.01}}
    runs = [write(folder / f"run-{seed}", seed) for seed in range(3)]
    runs.append(write(folder / "fast", 0, algorithm=fast))
    return report(folder / "several.html", *runs)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [PHONE, WIDE])
@pytest.mark.parametrize("name", ["one", "several"])
def test_the_page_fits_its_window(
    page: Page, request: pytest.FixtureRequest, name: str, width: int, dark: bool
) -> None:
    page.open(request.getfixturevalue(name), width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor does anything lie outside of what it belongs to, where it cannot be scrolled to.
    outside = """[...document.querySelectorAll("main, h1, h2, figure, .card, .legend li, summary, dd")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML)"""
    assert page.evaluate(outside) == []
    # As light or dark as was asked for, and the text can be told from it.
    shades = page.evaluate(
        """["backgroundColor", "color"].map(name =>
            getComputedStyle(document.body)[name].match(/\\d+/g).slice(0, 3).reduce((a, b) => +a + +b))"""
    )
    ground, text = map(int, shades)
    assert (ground < text) is dark
    assert abs(ground - text) > 400


def test_one_run_says_all_that_it_has(page: Page, one: Path) -> None:
    page.open(one, WIDE)
    text = page.evaluate("document.body.innerText")
    for words in (
        "Solved", "CartPole-v1", "Return over environment steps", "goal 475", "bound 4",
        "Learner time, whole run", "updating 70 %", "Learner time by stage", "Policy lag",
        "Buffer fill", "Policy loss", "job.yaml",
    ):  # fmt: skip
        assert words in text
    assert page.evaluate("document.title") != "taken"
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.querySelectorAll('#return .restart').length") == 1
    assert page.evaluate("document.querySelectorAll('#return .checkpoint').length") == 10


def test_seeds_are_one_curve_and_configurations_are_told_apart(page: Page, several: Path) -> None:
    page.open(several, PHONE)
    legend = page.evaluate("document.querySelector('#return .legend').innerText")
    assert "mean of 3 seeds" in legend
    assert "learningRate 0.01" in legend
    assert page.evaluate("document.querySelectorAll('#return .band').length") == 1
    assert page.evaluate("document.querySelectorAll('tbody tr').length") == 4


def test_the_value_under_the_pointer_is_that_of_the_run(page: Page, one: Path) -> None:
    page.open(one, WIDE)
    box = page.evaluate(
        """(() => { const b = document.querySelector("#lag svg"); b.scrollIntoView();
            const r = b.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"""
    )
    left, top, width, height = box
    page.point(left + width / 2, top + height / 2)
    shown = page.evaluate("document.querySelector('#lag .tip').innerText")
    assert "5m 00s" in shown
    assert "median" in shown
    assert "1.00" in shown
    page.point(left, top - 300)
    assert page.evaluate("document.querySelectorAll('.tip').length") == 0


def test_text_is_large_enough_on_a_phone(page: Page, one: Path) -> None:
    page.open(one, PHONE)
    smallest = page.evaluate(
        """Math.min(...[...document.querySelectorAll("body *")]
            .filter(e => e.childNodes.length && e.innerText).map(e => parseFloat(getComputedStyle(e).fontSize)))"""
    )
    assert smallest >= 11


def test_an_empty_run_is_a_page_too(page: Page, tmp_path: Path) -> None:
    folder = write(tmp_path / "empty", 0)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        (folder / name).write_text("")
    page.open(report(tmp_path / "empty.html", folder), PHONE)
    assert "there are no plots" in page.evaluate("document.body.innerText")
