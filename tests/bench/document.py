"""docs/benchmarks.md and docs/performance.md from results, and the table for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import plots
from tests.bench.group import SEEDS, Group, Line, Number, Results, line, median, ratio
from tests.bench.machine import NOISY
from tests.bench.record import Record
from tests.bench.roles import ROOT

DOCS = ROOT / "docs"
MADE = "<!-- Made by `python -m tests.bench document`; change tests/bench. -->"
BEGIN, END = (
    "<!-- figure: made by `python -m tests.bench document` -->",
    "<!-- end of the figure -->",
)
COMPARED = (
    "The comparison is between whole training programs that step the same unchanged Gymnasium environment; libraries "
    "that need the environment rewritten in JAX or C++ are not compared."
)
"""What is compared with what."""
HEAD = ("Figure", "Measured", "Spread", "Aim", "Met", "From", "Others", "Stolen")

INTRODUCTION = f"""\
How fast rljob is, against its peers on the same machine and against what the machine allows.
{COMPARED}

```bash
make bench        # what needs no cluster, one seed: 20 minutes on two cores
make bench-full   # all seeds and all peers, hours
make bench-check  # what moved since the figures on this page
```

Every peer is installed from PyPI in an environment of its own, `.venv-bench/PEER`, at the versions of
`tests/bench/peers/PEER.lock`. What a group compares is measured in one run: all measurements of one seed
in turn, then the next seed. A figure is made from medians over seeds; its spread is the least and the most
that one seed gave. `From` has the values that a figure is made from, and environment steps beside each time.

A run that does not solve is stopped at its cap. Its time and steps are then lower bounds, and a figure made
from them is written as a bound: `≥` or `≤`. `Met` says whether the aim holds, `unknown` where a bound cannot
tell; [performance.md](performance.md) says why one does not.

`Others` is the CPU time that processes outside the measurement used, in cores; above 0.15 a measurement is
taken a second time and the quieter one counts. `Stolen` is what the host of a virtual machine gave to others
meanwhile, in cores, where it was recorded: it makes figures of several processes worse, as what keeps both
cores busy loses more to it than what keeps one."""

PEERS = """\
## The peers and their settings

Each peer runs with settings that its own authors published, and Stable-Baselines3 also with ours. Each has as
many processes as it wants. PyTorch has one thread in Stable-Baselines3, Tianshou, CleanRL and RLlib's learner,
because their networks are small; `make bench ARGS="--only threads --seeds 3"` measures two against one. Sample
Factory gives each of its processes one thread, and Ray its runners. TensorFlow in Reverb has as many as it wants.

| Peer | Settings | Published in |
| --- | --- | --- |
| Stable-Baselines3 | tuned for each environment | [RL Baselines3 Zoo, ppo.yml and dqn.yml](https://github.com/DLR-RM/rl-baselines3-zoo/tree/master/hyperparams) |
| Stable-Baselines3, sb3-contrib with our settings | those of our example; `VecNormalize` scales the rewards; CartPole in Gymnasium's vector form where it is to be solved | [examples](../examples) |
| RLlib PPO, IMPALA, APPO | its tuned examples; runners with 8 or 16 environments where they have 1, which is faster | [rllib/tuned_examples](https://github.com/ray-project/ray/tree/master/rllib/tuned_examples) |
| Sample Factory | its example; for throughput the compared network, batch and epochs | [sf_examples/train_gym_env.py](https://github.com/alex-petrenko/sample-factory/blob/master/sf_examples/train_gym_env.py) |
| Tianshou | its own test of PPO | [test/discrete/test_ppo_discrete.py](https://github.com/thu-ml/tianshou/blob/master/test/discrete/test_ppo_discrete.py) |
| CleanRL | the script of its package, unchanged, with its defaults | [ppo.py](https://docs.cleanrl.dev/rl-algorithms/ppo/#ppopy) |
| Reverb | its Python client; the chunk length that was fastest | [google-deepmind/reverb](https://github.com/google-deepmind/reverb) |

The scripts are in [tests/bench/peers](../tests/bench/peers)."""

PERFORMANCE = """\
Where the time goes, what bounds each figure, and how much each part takes. The figures are from the same runs as
[benchmarks.md](benchmarks.md), which says how they are measured. *Inferred* marks a conclusion that was not measured by
itself."""


def write(record: Record) -> None:
    """Both pages and their plots."""
    groups = _groups(record)
    pictures = plots.write(record, DOCS / "plots")
    (DOCS / "benchmarks.md").write_text(_benchmarks(groups, record, pictures))
    (DOCS / "performance.md").write_text(_performance(groups, record))
    readme = ROOT / "README.md"
    readme.write_text(with_figure(readme.read_text(), record))
    print("wrote docs/benchmarks.md, docs/performance.md and the figure of README.md")


def with_figure(text: str, record: Record) -> str:
    """The README with its one figure, between its two marks.

    Raises:
        ValueError: the marks are not there.
    """
    before, start, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"README.md has no {BEGIN} … {END}")
    if "cartpole" not in record:
        return text
    return f"{before}{start}\n{_figure(record['cartpole']['results'])}\n{end}{after}"


def _figure(results: Results) -> str:
    ours = results["rljob vector"]
    first, command = (bounded(median(ours, value)) for value in ("seconds", "reached"))
    text = (
        "CartPole-v1 to a mean return of 475 over 100 training episodes, all processes on two cores: "
        f"**{first} s from the first step, {command} s with start-up**."
    )
    for against, form, how, both in (
        ("sb3 matched", "vector", "the same settings", "step the same vectorised environment"),
        ("sb3", "scalar", "its own tuned settings", "step the environment in Python"),
    ):
        its, own = results.get(against, ()), results[f"rljob {form}"]
        times = [
            line(ratio("", (against, value), (f"rljob {form}", value)), results)
            for value in ("seconds", "reached")
        ]
        shown = [bounded(one.number) for one in times if one is not None]
        if shown:
            text += (
                f" Stable-Baselines3 PPO with {how} takes **{' and '.join(shown)} times as long** as rljob where both "
                f"{both} ({_steps(its)}, {_steps(own, own=True)})."
            )
    text += f" {COMPARED} All figures are in [the benchmarks](docs/benchmarks.md)."
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _steps(runs: Sequence[Mapping[str, Any]], own: bool = False) -> str:
    """Steps that were collected; of ours those trained on where no others were recorded."""
    if not own:
        return f"{bounded(median(runs, 'steps'))} steps"
    if all("collected" in run["values"] for run in runs):
        return f"rljob {bounded(median(runs, 'collected'))} steps"
    return f"rljob {bounded(median(runs, 'steps'))} steps trained on"


def _groups(record: Record) -> list[Group]:
    from tests.bench.groups import GROUPS

    return [group for group in GROUPS.values() if group.name in record]


def table(groups: Iterable[Group], record: Record) -> str:
    """For a terminal."""
    rows = [HEAD]
    for group in groups:
        if group.name in record:
            rows += [(group.title, *[""] * (len(HEAD) - 1)), *_rows(group, record)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def listing(groups: Iterable[Group]) -> str:
    """What is measured, a line each."""
    return "\n".join(
        f"{group.name:14} {group.title} (seeds: {group.quick} / {SEEDS}): "
        + ", ".join(f"{name}{'*' if name in group.slow else ''}" for name in group.measurements)
        for group in groups
    )


def _rows(group: Group, record: Record) -> list[tuple[str, ...]]:
    made = (line(figure, record[group.name]["results"]) for figure in group.figures)
    return [_row(one) for one in made if one is not None]


def _row(one: Line) -> tuple[str, ...]:
    figure, unit = one.figure, one.figure.unit
    met = {True: "yes", False: "**no**", None: "unknown"}[one.met] if figure.aim is not None else ""
    aim = "" if figure.aim is None else f"{'≥' if figure.least else '≤'} {figure.aim:,g}{unit}"
    parts = " / ".join(
        ", ".join(f"{bounded(each.number)}{each.unit}" for each in (part, *part.beside))
        for part in one.parts
    )
    others = f"{one.others:.2f}{' noisy' if one.others > NOISY else ''}"
    spread = f"{bounded(one.low)} to {bounded(one.high)}"
    stolen = "" if one.stolen is None else f"{one.stolen:.2f}"
    return (figure.name, f"{bounded(one.number)}{unit}", spread, aim, met, parts, others, stolen)


def bounded(one: Number) -> str:
    """A number behind `≥`, `≤` or `?` where it is only a bound."""
    return f"{one.sign} {number(one.value)}".lstrip()


def number(value: float) -> str:
    """Three digits that matter."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _benchmarks(groups: list[Group], record: Record, pictures: dict[str, Path]) -> str:
    parts = ["# Benchmarks", MADE, INTRODUCTION]
    for group in groups:
        parts += [f"## {group.title}", _measured(group, record)]
        parts += [markdown_table(HEAD, _rows(group, record))]
        if group.name in pictures:
            parts.append(f"![{group.title}](plots/{pictures[group.name].name})")
        parts += [group.note]
    return "\n\n".join(part for part in [*parts, PEERS] if part) + "\n"


def _measured(group: Group, record: Record) -> str:
    entry = record[group.name]
    machine = ", ".join(f"{name} {value}" for name, value in entry["machine"].items())
    seeds = entry["seeds"]
    return (
        f'`make bench ARGS="--only {group.name}"`, {entry["date"]}, {seeds} '
        f"seed{'s' * (seeds != 1)}. {machine}."
    )


def _performance(groups: list[Group], record: Record) -> str:
    parts = ["# Performance", MADE, PERFORMANCE]
    for group in groups:
        made = [line(figure, record[group.name]["results"]) for figure in group.figures]
        missed = [one for one in made if one and one.met is False]
        stages = group.stages(record[group.name]["results"]) if group.stages else ""
        if group.limit or stages or missed:
            parts += [f"## {group.title}", stages, group.limit]
        if missed:
            shown = ", ".join(f"*{one.figure.name}* ({bounded(one.number)})" for one in missed)
            parts.append(f"Missed: {shown}.")
    return "\n\n".join(part for part in parts if part) + "\n"
