"""Kept runs, and the pages of algorithms that are made from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rljob import algorithms
from rljob.show.report.picture import write
from website import learned
from website.kept import MOST_POINTS, KeptRuns, KeptSeed, read, thinned
from website.published import RETURNS, ReferenceReturn

EXAMPLE = "examples/cartpole-ppo.yaml"


def seed(number: int, greedy: float) -> KeptSeed:
    curve = [[100 * k, 0.5 * k, greedy * k / 4] for k in range(1, 5)]
    return KeptSeed(
        number, "StepsReached", 400, 40, 2.0 + number, 9.5, 1.26, greedy, 3.0, 50, curve
    )


def kept(algorithm: str = "PPO") -> KeptRuns:
    spec = {"environment": {"id": "CartPole-v1"}, "algorithm": {"name": algorithm}}
    return KeptRuns(
        EXAMPLE,
        {"spec": spec},
        "2030-01-02",
        "0123456789",
        {"cpu": "a processor"},
        (seed(1, 499.6), seed(2, 7.931)),
    )


def test_kept_runs_are_read_as_they_were_written(tmp_path: Path) -> None:
    (tmp_path / "cartpole-ppo.json").write_text(kept().to_json())
    assert read(tmp_path) == {EXAMPLE: kept()}
    assert "    [100, 0.5, 124.9],\n" in kept().to_json()


def test_a_long_curve_keeps_its_ends() -> None:
    curve = [[float(k), 0.0, 1.0] for k in range(1000)]
    short = thinned(curve)
    assert len(short) == MOST_POINTS
    assert (short[0], short[-1]) == (curve[0], curve[-1])
    assert short == sorted(short)
    assert thinned(curve[:5]) == curve[:5]


def test_a_page_has_its_runs_with_what_others_publish() -> None:
    content = learned.section("PPO", {EXAMPLE: kept()}, {})
    row = next(line for line in content.splitlines() if line.startswith("| [examples/"))
    for cell in ("| 500, 7.93 |", "500 ([rl-baselines3-zoo](", "| 400 |", "| 3 to 4 |", "| 1.3 |"):
        assert cell in row
    assert (
        "![Return over steps of examples/cartpole-ppo.yaml](../../runs/cartpole-ppo.svg)" in content
    )
    assert "Seeds 1, 2; 2030-01-02, commit `0123456`." in content
    # The job that was run is not the example of today.
    assert "The example has changed since these runs: " in content


def test_examples_without_kept_runs_are_told() -> None:
    job = {"spec": {"environment": {"id": "Acrobot-v1"}, "algorithm": {"name": "PPO"}}}
    rows = learned.section(
        "PPO", {EXAMPLE: kept()}, {"examples/acrobot-ppo.yaml": job}
    ).splitlines()
    row = next(line for line in rows if "acrobot" in line)
    assert "| no runs kept | -73.5 ([rl-baselines3-zoo](" in row
    assert not any("acrobot-ppo.svg" in line for line in rows)


def test_what_changed_is_named_by_its_path() -> None:
    now = {"spec": {"environment": {"id": "CartPole-v1"}, "algorithm": {"name": "A2C"}}}
    assert learned.changed(kept(), kept().job) == []
    assert learned.changed(kept(), now) == ["spec.algorithm.name"]
    assert learned.changed(kept(), None) == ["spec.environment.id", "spec.algorithm.name"]


def test_the_curve_has_every_seed_and_the_return_to_compare_with() -> None:
    plot = learned.curve(kept())
    assert [line.quiet for line in plot.lines] == [True, True, False]
    assert [(level.y, level.text) for level in plot.levels] == [(500.0, "rl-baselines3-zoo: 500")]
    assert [point[:2] for dots in plot.dots for point in dots.points] == [
        (400, 499.6),
        (400, 7.931),
    ]


def test_the_same_plot_gives_the_same_file(tmp_path: Path) -> None:
    first = write(learned.curve(kept()), tmp_path, "svg").read_bytes()
    assert write(learned.curve(kept()), tmp_path, "svg").read_bytes() == first
    assert b"rl-baselines3-zoo: 500" in first


def test_pages_are_those_of_the_kept_runs() -> None:
    runs, jobs = read(), learned.examples()
    for name, page in learned.PAGES.items():
        text = (learned.FOLDER / page).read_text()
        content = learned.section(name, runs, jobs)
        assert learned.with_section(text, name, content) == text, page
    assert learned.INDEX.read_text() == learned.overview(runs, jobs)
    assert set(learned.PAGES) == set(algorithms.BUILT_IN)


def test_a_page_without_marks_gets_them() -> None:
    page = learned.with_section("# PPO\n", "PPO", "first")
    assert page.startswith("# PPO\n\n## Learning curve\n\n<!-- Kept runs of PPO")
    again = learned.with_section(page, "PPO", "second")
    assert again == page.replace("first", "second")
    with pytest.raises(ValueError, match="no <!-- Kept runs of PPO"):
        learned.with_section(page.rpartition("<!--")[0], "PPO", "")


def test_own_algorithms_have_a_table_of_their_own() -> None:
    spec = {"environment": {"entryPoint": "game:make"}, "algorithm": {"entryPoint": "own:Own"}}
    own = dataclasses.replace(kept(), example="examples/algorithms/own.yaml", job={"spec": spec})
    page = learned.overview({own.example: own}, {})
    assert "## Algorithms outside rljob" in page
    assert "| `game:make` |" in page
    assert "Algorithms outside rljob" not in learned.overview({EXAMPLE: kept()}, {})


def test_a_return_to_compare_with_says_where_it_is_from() -> None:
    examples = {path.stem for path in (learned.ROOT / "examples").glob("*.yaml")}
    assert set(RETURNS) <= examples
    assert all(
        isinstance(each, ReferenceReturn) and (each.url or each.note) for each in RETURNS.values()
    )
