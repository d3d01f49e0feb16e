"""From measurements to a table: every aim beside its figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.bench.machine import NOISY

Results = Mapping[str, list[dict[str, Any]]]
"""For each measurement, what each seed gave: `seed`, `others` (see `Load`) and `values`."""


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        about: measurements that it is made from, by name.
        figure: the figure, from medians over seeds.
        text: how it is written, with what it is made from.
        aim: bound of the figure; None where there is only something to know.
        least: whether the figure is to be at least that, else at most.
    """

    name: str
    about: tuple[str, ...]
    figure: Callable[[Median], float]
    text: Callable[[Median, float], str]
    aim: float | None = None
    least: bool = True
    unit: str = ""

    def aim_text(self) -> str:
        if self.aim is None:
            return ""
        return f"{'≥' if self.least else '≤'} {self.aim:,g}{self.unit}"

    def met(self, figure: float) -> str:
        if self.aim is None:
            return ""
        return "yes" if (figure >= self.aim if self.least else figure <= self.aim) else "no"


class Median:
    """Medians over seeds: `median("ours", "seconds")`."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def __call__(self, measurement: str, value: str) -> float:
        return float(statistics.median(self.all(measurement, value)))

    def all(self, measurement: str, value: str) -> list[float]:
        """What each seed gave."""
        return [float(one["values"][value]) for one in self._results[measurement]]

    def others(self, measurements: tuple[str, ...]) -> float:
        """Cores that others used, the most of these measurements."""
        each = [[float(one["others"]) for one in self._results[name]] for name in measurements]
        return max(statistics.median(cores) for cores in each)


def _ratio(
    name: str,
    over: tuple[str, str],
    under: tuple[str, str],
    aim: float | None,
    unit: str = "",
    note: str = "",
) -> Row:
    """How many times `over` is `under`, each a measurement and its value."""

    def text(median: Median, figure: float) -> str:
        return f"{figure:.2f} ({_number(median(*over))} / {_number(median(*under))}{unit}{note})"

    about = tuple(dict.fromkeys((over[0], under[0])))
    return Row(name, about, lambda median: median(*over) / median(*under), text, aim)


def _plain(name: str, about: tuple[str, str], aim: float, unit: str, least: bool = True) -> Row:
    """One value as it is."""
    return Row(
        name,
        about[:1],
        lambda median: median(*about),
        lambda _, figure: f"{_number(figure)}{unit}",
        aim,
        least,
        unit,
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _solved(name: str) -> Row:
    return Row(
        f"CartPole to 475, share of seeds, {'environment in turn' if name == 'single' else 'ours'}",
        (name,),
        lambda median: statistics.fmean(median.all(name, "solved")),
        lambda median, figure: f"{figure:.2f} (steps: {_number(median(name, 'steps'))})",
        1.0,
    )


def _cartpole(name: str, how: str, aims: bool) -> list[Row]:
    against = f"CartPole to 475, times faster than Stable-Baselines3{how}"
    return [
        _ratio(
            f"{against}: from the first step",
            ("peer", "seconds"),
            (name, "seconds"),
            5.0 if aims else None,
            " s",
        ),
        _ratio(
            f"{against}: from the command's start",
            ("peer", "reached"),
            (name, "reached"),
            3.0 if aims else None,
            " s",
        ),
        _ratio(
            f"{against}: until the command has ended",
            ("peer", "ended"),
            (name, "ended"),
            None,
            " s",
            ", ours with a final evaluation",
        ),
        _solved(name),
    ]


def _throughput(transport: str, envs: int) -> Row:
    about = (f"path {transport} {envs}", "steps/s")
    name = f"Experience path to a counting learner, {transport}, N={envs} T=32"
    return _plain(name, about, 800_000, " steps/s")


def _curve(envs: int) -> Row:
    plain, curve = (f"path {name} {envs}" for name in ("tcp", "tcp+curve"))
    return _ratio(
        f"CURVE over tcp, N={envs}: rate with keys / without",
        (curve, "steps/s"),
        (plain, "steps/s"),
        0.85,
    )


def _buffer() -> Row:
    def bound(median: Median) -> float:
        return 1.1 * median("buffer", "capacity") + 64

    return Row(
        "Full buffer, resident / (capacity + 10 % + 64 MiB)",
        ("buffer",),
        lambda median: median("buffer", "resident") / bound(median),
        lambda median, figure: (
            f"{figure:.2f} ({_number(median('buffer', 'resident'))} / {_number(bound(median))} MiB; "
            f"capacity {_number(median('buffer', 'capacity'))} MiB)"
        ),
        1.0,
        least=False,
    )


ROWS: tuple[Row, ...] = (
    *_cartpole("ours", "", aims=True),
    *_cartpole("single", ", both stepping the environment in Python", aims=False),
    *(
        _ratio(
            f"Rollout and shipping / the same loop without sending, ipc, N={envs} T=32",
            (f"path ipc {envs}", "steps/s"),
            (f"rollout alone {envs}", "steps/s"),
            0.9,
            " steps/s",
        )
        for envs in (64, 256)
    ),
    *(_throughput(transport, envs) for transport in ("ipc", "tcp") for envs in (64, 256)),
    _plain("Replay, batches of 256 at the learner, ipc", ("replay ipc", "updates/s"), 5000, " /s"),
    _plain("Replay, batches of 256 at the learner, tcp", ("replay tcp", "updates/s"), 5000, " /s"),
    _plain(
        "DQN, updates of 64 while ingesting 1 step per 8 samples",
        ("dqn 8", "updates/s"),
        800,
        " /s",
    ),
    _plain(
        "DQN, updates of 64 while ingesting 1 step per sample", ("dqn 1", "updates/s"), 800, " /s"
    ),
    *(_curve(envs) for envs in (64, 256)),
    _plain("Rollout ready, started by hand", ("start", "by hand"), 1.2, " s", least=False),
    _plain("Rollout ready, new fork server", ("start", "forked first"), 1.2, " s", least=False),
    _plain("Rollout ready, fork server there", ("start", "forked"), 1.2, " s", least=False),
    _plain("Rollout at work, resident", ("path ipc 64", "rollout MiB"), 150, " MiB", least=False),
    _buffer(),
    _plain("rljob --help", ("help", "seconds"), 0.3, " s", least=False),
)


def lines(results: Results) -> list[tuple[str, str, str, str, str]]:
    """Figure, measured, aim, met, noise: the rows for which there are measurements."""
    median = Median(results)
    made = []
    for row in ROWS:
        if not all(name in results for name in row.about):
            continue
        figure, others = row.figure(median), median.others(row.about)
        noise = f"{others:.2f}{' noisy' if others > NOISY else ''}"
        made.append((row.name, row.text(median, figure), row.aim_text(), row.met(figure), noise))
    return made


HEAD = ("Figure", "Measured", "Aim", "Met", "Others")


def text(results: Results) -> str:
    """The table for a terminal."""
    table = [HEAD, *lines(results)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def markdown(record: Mapping[str, Any]) -> str:
    """docs/performance.md."""
    results: Results = record["results"]
    machine = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    seeds = max(len(runs) for runs in results.values())
    rows = [HEAD, ("---",) * len(HEAD), *lines(results)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    measured = (
        f"Measured on {record['date']} with `make bench`: medians of {seeds} seeds, all measurements of "
        "one seed in turn before the next seed. `Others` is the CPU time that processes outside the "
        f"measurement used, in cores; above {NOISY} a measurement is taken a second time, the quieter one "
        "counts, and a row whose median stays above is marked as noisy. One thread per process."
    )
    notes = (
        "The peer is Stable-Baselines3's PPO with the settings that RL Baselines3 Zoo publishes as tuned "
        "for CartPole-v1 ([ppo.yml](https://github.com/DLR-RM/rl-baselines3-zoo/blob/master/hyperparams/"
        "ppo.yml)); ours is `examples/cartpole-ppo.yaml`. Networks have two hidden layers of 64; epochs "
        "and batches are each one's own. Both stop when the mean return of the last 100 training "
        "episodes is 475; a seed that does not get there in 60 s counts as 60 s. Ours steps Gymnasium's "
        "vector form of CartPole; in the rows *both stepping the environment in Python* it does not. "
        "Rows of the experience path have one rollout, one buffer and one learner that counts what it "
        "gets and publishes a policy version for each segment."
    )
    made = "<!-- Made by `make bench`; change tests/bench. -->"
    stages = _stages(results)
    parts = ["# Performance", made, measured, f"Machine: {machine}.", table, stages, notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def _stages(results: Results) -> str:
    if "stages" not in results:
        return ""
    median = Median(results)
    names = list(results["stages"][0]["values"])
    shares = ", ".join(f"{name} {median('stages', name):.0%}" for name in names)
    return (
        "Shares of time while `examples/cartpole-ppo.yaml` trains, of the learner and of one of its two "
        f"rollouts: {shares}."
    )
