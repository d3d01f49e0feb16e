"""What the benchmarks make of what they measured."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rljob.algorithms import load_config
from rljob.spec import parse
from tests.bench import algorithms, check, document, matched, ours
from tests.bench.group import Group, Number, line, plain, ratio
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
    assert (found.low, found.high) == (Number(1.0), Number(10.0))
    assert [part.number for part in found.parts] == [Number(20), Number(9)]
    assert found.met
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


def times(*seconds: float, cap: float = math.inf, steps: float = 10) -> list[dict[str, Any]]:
    """Runs until solved; those that reached the cap did not solve."""
    return [
        {
            "seed": seed,
            "others": 0.0,
            "values": {"seconds": value, "steps": steps, "solved": float(value < cap)},
        }
        for seed, value in enumerate(seconds)
    ]


SLOWER = ratio("slower", ("theirs", "seconds"), ("ours", "seconds"), 3.0, " s")


@pytest.mark.parametrize(
    ("theirs", "ours", "value", "low", "high", "met"),
    [
        ((10, 20, 30), (2, 2, 2), Number(10), Number(5), Number(15), True),
        # The median is known though one run was stopped; the most is not.
        ((10, 20, 60), (2, 2, 2), Number(10), Number(5), Number(30, "≥"), True),
        ((10, 60, 60), (2, 2, 2), Number(30, "≥"), Number(5), Number(30, "≥"), True),
        ((60, 60, 60), (30, 30, 30), Number(2, "≥"), Number(2, "≥"), Number(2, "≥"), None),
        # Ours was stopped: at most so many times faster.
        ((30, 30, 30), (60, 60, 60), *[Number(0.5, "≤")] * 3, False),
        ((60, 60, 60), (60, 60, 60), *[Number(1, "?")] * 3, None),
    ],
)
def test_a_figure_from_runs_that_were_stopped_is_a_bound(
    theirs: tuple[float, ...],
    ours: tuple[float, ...],
    value: Number,
    low: Number,
    high: Number,
    met: bool | None,
) -> None:
    found = line(SLOWER, {"theirs": times(*theirs, cap=60), "ours": times(*ours, cap=60)})
    assert found is not None
    assert (found.number, found.low, found.high) == (value, low, high)
    assert found.met is met


def test_at_most_so_many_times_may_be_within_an_aim_or_not() -> None:
    results = {"theirs": times(30), "ours": times(60, cap=60)}
    found = line(dataclasses.replace(SLOWER, aim=0.4), results)
    assert found is not None
    assert (found.number, found.met) == (Number(0.5, "≤"), None)


def test_a_value_that_a_cap_does_not_stop_is_no_bound() -> None:
    found = line(plain("solved", ("ours", "solved")), {"ours": times(60, cap=60)})
    assert found is not None
    assert found.number == Number(0.0)


def test_bounds_are_written_as_bounds_with_steps_beside_times() -> None:
    figure = ratio(
        "slower",
        ("theirs", "seconds"),
        ("ours", "seconds"),
        50.0,
        " s",
        beside=(
            ("ours", "steps", " steps"),
            ("ours", "collected", " collected"),
            ("theirs", "steps", " steps"),
        ),
    )
    record = {
        "g": {"results": {"theirs": times(60, 60, cap=60), "ours": times(2, 3, steps=7, cap=60)}}
    }
    *_, row = document.table([Group("g", "A group", {}, [figure])], record).splitlines()
    cells = ("≥ 24", "≥ 20 to ≥ 30", "unknown", "≥ 60 s, ≥ 10 steps / 2.5 s, 7 steps")
    assert [cell for cell in cells if cell not in row] == []
    assert "collected" not in row


def test_a_bound_is_not_said_to_have_moved() -> None:
    ours = times(2)
    before, after = (
        line(SLOWER, {"theirs": times(seconds, cap=60), "ours": ours}) for seconds in (20, 60)
    )
    assert before is not None
    assert after is not None
    assert check.verdict(before, after) == ""
    longer = line(SLOWER, {"theirs": times(50), "ours": ours})
    assert longer is not None
    assert check.verdict(before, longer) == "better"


def solved(first: float, command: float, **more: float) -> list[dict[str, Any]]:
    values = {"solved": 1.0, "seconds": first, "reached": command, **more}
    return [{"seed": 0, "others": 0.0, "values": values}]


def test_the_readme_compares_each_peer_with_ours_in_the_same_environment() -> None:
    results = {
        "rljob vector": solved(1.0, 4.0, steps=100, collected=110),
        "rljob scalar": solved(2.0, 5.0, steps=200, collected=220),
        "sb3": solved(20.0, 25.0, steps=50),
    }
    text = f"before\n{document.BEGIN}\nold\n{document.END}\nafter"
    tuned = " ".join(document.with_figure(text, {"cartpole": {"results": results}}).split())
    assert "**1 s from the first step, 4 s with start-up**" in tuned
    assert "its own tuned settings takes **10 and 5 times as long**" in tuned
    assert "step the environment in Python (50 steps, rljob 220 steps)" in tuned
    assert "same settings" not in tuned
    results["sb3 matched"] = solved(3.0, 8.0, steps=300)
    both = " ".join(document.with_figure(text, {"cartpole": {"results": results}}).split())
    assert "the same settings takes **3 and 2 times as long**" in both
    assert "vectorised environment (300 steps, rljob 110 steps)" in both
    assert both.index("same settings") < both.index("tuned settings")
    assert document.COMPARED in both


@pytest.mark.parametrize("name", ["cartpole-ppo.yaml", "lunarlander-ppo.yaml", "pendulum-ppo.yaml"])
def test_matched_settings_are_those_of_the_example(name: str) -> None:
    content = ours.example(name)
    spec = content["spec"]
    config, rollout = spec["algorithm"]["config"], spec["rollout"]
    made = matched.settings(content)
    environments = rollout["replicas"] * rollout["envsPerReplica"]
    assert made["environments"] == environments
    assert made["normalise_rewards"] == config["normaliseRewards"]
    assert made["ppo"]["learning_rate"] == config["learningRate"]
    assert made["ppo"]["n_epochs"] == config["epochs"]
    assert made["ppo"]["n_steps"] == config["rolloutLength"]
    rows = environments * config["rolloutLength"]
    assert made["ppo"]["batch_size"] * config["minibatches"] == rows


@pytest.mark.parametrize("name", algorithms.TASKS)
def test_each_update_of_a_peer_has_as_many_rows_and_steps_as_ours(name: str) -> None:
    content = algorithms.content(name)
    spec = content["spec"]
    config = load_config(parse(content).spec.algorithm)
    made = matched.rated(content, algorithms.TASKS[name][1])
    keywords, environments = made["keywords"], made["environments"]
    assert made["algorithm"] == name
    if not hasattr(config, "samples_per_insert"):
        segments = getattr(config, "segments_per_batch", None) or spec["rollout"]["replicas"]
        rows = segments * spec["rollout"]["envsPerReplica"] * config.rollout_length  # type: ignore[attr-defined]
        assert environments * keywords["n_steps"] == rows
        return
    trained = keywords["gradient_steps"] * keywords["batch_size"]
    assert trained == environments * config.samples_per_insert
    assert keywords["learning_starts"] == config.min_size  # type: ignore[attr-defined]
    assert keywords["buffer_size"] == spec["buffer"]["capacity"]


def test_what_a_peer_lacks_is_refused() -> None:
    content = algorithms.content("DQN")
    content["spec"]["algorithm"]["config"]["double"] = True
    with pytest.raises(AssertionError):
        matched.rated(content, "CartPole-v1")


def test_scripts_of_peers_need_nothing_of_rljob() -> None:
    code = "import sys; sys.modules['rljob'] = None; import tests.bench.peers.watch"
    done = subprocess.run([sys.executable, "-c", code], cwd=PEERS.parents[2], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_what_cannot_be_matched_is_refused() -> None:
    content = ours.example("cartpole-ppo.yaml")
    content["spec"]["algorithm"]["config"]["targetKl"] = 0.01
    with pytest.raises(AssertionError):
        matched.settings(content)


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
