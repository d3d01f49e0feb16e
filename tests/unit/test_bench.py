"""What the benchmarks make of what they measured."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.bench import check, document
from tests.bench.group import Group, line, plain, ratio
from tests.bench.groups import GROUPS
from tests.bench.peers.watch import WINDOW, Watch

PEERS = Path(__file__).parents[1] / "bench" / "peers"


def runs(
    *values: float, name: str = "rate", others: float = 0.0, stolen: float = 0.0
) -> list[dict[str, Any]]:
    return [
        {"seed": seed, "others": others, "stolen": stolen, "values": {name: value}}
        for seed, value in enumerate(values)
    ]


def test_a_figure_is_of_medians_and_its_spread_of_single_seeds() -> None:
    figure = ratio("faster", ("ours", "rate"), ("theirs", "rate"), 2.0)
    found = line(figure, {"ours": runs(10, 20, 90), "theirs": runs(10, 5, 9)})
    assert found is not None
    assert found.value == pytest.approx(20 / 9)
    assert (found.low, found.high) == (1.0, 10.0)
    assert found.parts == (20, 9)
    assert figure.met(found.value)
    assert not figure.met(1.9)


def test_a_figure_of_every_seed_is_its_worst() -> None:
    results = {"ours": runs(1, 1, 0, name="solved")}
    every = line(plain("solves", ("ours", "solved"), 1.0, every=True), results)
    median = line(plain("solves", ("ours", "solved"), 1.0), results)
    assert every is not None
    assert median is not None
    assert (every.value, median.value) == (0.0, 1.0)
    longest = line(plain("p95", ("ours", "solved"), 1.0, least=False, every=True), results)
    assert longest is not None
    assert longest.value == 1.0


def test_a_figure_needs_all_its_measurements() -> None:
    figure = ratio("faster", ("ours", "rate"), ("theirs", "rate"))
    assert line(figure, {"ours": runs(1)}) is None
    assert line(figure, {"ours": runs(1), "theirs": runs(1, name="other")}) is None


@pytest.mark.parametrize(
    ("before", "after", "least", "word"),
    [
        ((10, 11), (13, 14), True, "better"),
        ((10, 11), (13, 14), False, "worse"),
        ((10, 11), (7, 8), True, "worse"),
        ((10, 14), (13, 16), True, ""),  # the spreads overlap
        ((10, 10), (10.5, 10.5), True, ""),  # too little
        ((21, 22), (19, 19), True, "misses its aim"),
    ],
)
def test_what_moved(
    before: tuple[float, ...], after: tuple[float, ...], least: bool, word: str
) -> None:
    aim = 20.0 if word == "misses its aim" else None
    figure = plain("rate", ("ours", "rate"), aim, least=least)
    old, new = (line(figure, {"ours": runs(*values)}) for values in (before, after))
    assert old is not None
    assert new is not None
    assert check.verdict(old, new) == word


def test_the_table_has_every_aim_beside_its_figure() -> None:
    group = Group("g", "A group", {}, [plain("rate", ("ours", "rate"), 5.0, " /s")])
    record = {"g": {"results": {"ours": runs(4, 6, 3, others=0.5, stolen=0.25)}}}
    *_, row = document.table([group], record).splitlines()
    assert row.split("  ")[0] == "rate"
    for cell in ("4 /s", "3 to 6", "≥ 5 /s", "**no**", "0.50 noisy", "0.25"):
        assert cell in row


def test_what_was_kept_before_stealing_was_recorded_does_not_say_there_was_none() -> None:
    old = [{"seed": 0, "others": 0.0, "values": {"rate": 4}}]
    figure = plain("rate", ("ours", "rate"))
    before, after = line(figure, {"ours": old}), line(figure, {"ours": runs(4)})
    assert before is not None
    assert after is not None
    assert (before.stolen, after.stolen) == (None, 0.0)


def test_figures_are_made_from_what_their_group_measures() -> None:
    for group in GROUPS.values():
        for figure in group.figures:
            assert set(figure.about) <= group.measurements.keys(), (group.name, figure.name)
        assert group.slow | set(group.warm) <= group.measurements.keys()


def test_names_of_figures_are_told_apart() -> None:
    for group in GROUPS.values():
        names = [figure.name for figure in group.figures]
        assert len(set(names)) == len(names), group.name


def test_every_peer_is_pinned() -> None:
    scripts = {path.stem for path in PEERS.glob("*.in")}
    assert scripts == {path.stem for path in PEERS.glob("*.lock")}
    for path in PEERS.glob("*.lock"):
        pins = [one for one in path.read_text().splitlines() if "==" in one and one[0].isalnum()]
        assert pins
        assert path.read_text().count("--hash=sha256:") >= len(pins)


def test_a_run_is_solved_by_the_mean_of_a_full_window() -> None:
    watch = Watch(475.0, math.inf)
    watch.began()
    for _ in range(WINDOW - 1):
        watch.episode(500.0)
    assert not watch.over(1)
    watch.episode(500.0)
    assert watch.over(2)


def test_a_run_ends_at_its_cap() -> None:
    watch = Watch(475.0, 0.0)
    watch.began()
    assert watch.over(1)
    assert not watch.solved
