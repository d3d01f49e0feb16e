"""Writes what the examples learned into the pages of their algorithms, from the kept runs.

`python -m website.learned`. Each page gets a table and a learning curve between two marks; the page `index.md` has all
algorithms in one table; the curves are SVG files beside the kept runs.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rljob import algorithms
from rljob.show.report.files import Run, RunEnd
from rljob.show.report.groups import RunGroup
from rljob.show.report.history import RunHistory, Sample
from rljob.show.report.picture import write
from rljob.show.report.plots import Level, Plot, returns
from website import settings
from website.kept import RUNS, KeptRuns, KeptSeed, read
from website.published import RETURNS, ReferenceReturn

Job = Mapping[str, Any]
"""The content of a job's YAML."""
ROOT = Path(__file__).resolve().parents[1]
FOLDER = settings.PAGES / "algorithms"
INDEX = FOLDER / "index.md"
PAGES = {
    name: Path(page).name
    for page, models in settings.MODELS.items()
    for name in models
    if name in algorithms.BUILT_IN
}
"""The page of each built-in algorithm."""
HEAD = ("return", "to compare with", "steps", "seconds", "CPU seconds", "others")
INTRODUCTION = """\
Each algorithm is trained from an example of the repository, with several seeds. `python -m tests.learning.keep
examples/NAME.yaml` trains one and keeps its records in `docs/runs`; `make generate` makes this table and the
curves on the pages of the algorithms.

| column | meaning |
|---|---|
| return | mean of 50 greedy episodes of the final policy, for each of the seeds |
| to compare with | what others publish, or what the task itself allows |
| steps | environment steps of a run |
| seconds | that the learner trained, without start-up |
| CPU seconds | of all processes of the run, with start-up |
| others | cores that processes outside the run used meanwhile; above 0.15 the seconds are longer than they would be alone |"""


def main() -> None:
    """Write all pages and curves."""
    kept, jobs = read(), examples()
    for name, page in PAGES.items():
        path = FOLDER / page
        path.write_text(with_section(path.read_text(), name, section(name, kept, jobs)))
    INDEX.write_text(overview(kept, jobs))
    for runs in kept.values():
        write(curve(runs), RUNS, "svg")


def with_section(text: str, name: str, content: str) -> str:
    """The page with this content between the marks of an algorithm; a page without them gets them at its end.

    Raises:
        ValueError: one of the marks is not there.
    """
    begin = f"<!-- Kept runs of {name}: made by `make generate` from docs/runs. -->"
    end = f"<!-- End of the kept runs of {name}. -->"
    if begin not in text and end not in text:
        text = f"{text.rstrip()}\n\n## Learning curve\n\n{begin}\n\n{end}\n"
    before, start, rest = text.partition(begin)
    _, stop, after = rest.partition(end)
    if not start or not stop:
        raise ValueError(f"no {begin} … {end}")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def examples() -> dict[str, Job]:
    """The jobs in the folder of examples, by their path in the repository."""
    found = sorted((ROOT / "examples").glob("*.yaml"))
    return {str(path.relative_to(ROOT)): yaml.safe_load(path.read_text()) for path in found}


def section(name: str, kept: Mapping[str, KeptRuns], jobs: Mapping[str, Job]) -> str:
    """The part of an algorithm's page: a table of its examples, and a curve for each that has kept runs."""
    found = of_algorithm(name, kept, jobs)
    rows = [(f"[{example}](../../../{example})", *_cells(example, kept)) for example in found]
    parts = [
        _table(("example", *HEAD), rows),
        "The columns are explained in the [overview](index.md).",
    ]
    for runs in (kept[example] for example in found if example in kept):
        picture = f"![Return over steps of {runs.example}](../../runs/{runs.name}.svg)"
        parts += [picture, *_notes(runs, jobs.get(runs.example))]
    return "\n\n".join(parts)


def overview(kept: Mapping[str, KeptRuns], jobs: Mapping[str, Job]) -> str:
    """The page with all algorithms, and the kept examples of own ones."""
    mark = "<!-- Made by `make generate` from docs/runs; change website/learned.py. -->"
    rows = [
        (f"[{name}]({page})", *_overview_row(example, kept, jobs))
        for name, page in PAGES.items()
        for example in of_algorithm(name, kept, jobs)
    ]
    own = [
        _overview_row(example, kept, jobs)
        for example, runs in kept.items()
        if "name" not in runs.job["spec"]["algorithm"]
    ]
    head = ("example", "environment", *HEAD)
    parts = ["# Algorithms", mark, INTRODUCTION, _table(("algorithm", *head), rows)]
    if own:
        parts += ["## Algorithms outside rljob", _table(head, own)]
    machines = dict.fromkeys(_machine(runs) for runs in kept.values())
    parts += ["## Machine", *machines]
    return "\n\n".join(parts) + "\n"


def of_algorithm(name: str, kept: Mapping[str, KeptRuns], jobs: Mapping[str, Job]) -> list[str]:
    """The examples of a built-in algorithm, those with kept runs first."""
    run = {example: runs.job for example, runs in kept.items()}
    found = {**run, **{example: job for example, job in jobs.items() if example not in run}}
    return [
        example for example, job in found.items() if job["spec"]["algorithm"].get("name") == name
    ]


def curve(runs: KeptRuns) -> Plot:
    """The learning curve, with the return to compare with as a line."""
    group = RunGroup(runs.name, tuple(_run(runs.name, seed) for seed in runs.seeds))
    reference = RETURNS.get(runs.name)
    levels = [] if reference is None else [Level(reference.value, _named(reference))]
    return replace(
        returns([group], "steps"), key=runs.name, title=runs.example, levels=levels, wide=False
    )


def changed(runs: KeptRuns, present: Job | None) -> list[str]:
    """Dotted paths of fields that the example has otherwise now than when it was run; all of them where it is gone."""
    before, now = (dict(_flat(content)) for content in (runs.job, present or {}))
    names = dict.fromkeys([*before, *now])
    return [name for name in names if before.get(name) != now.get(name)]


def _overview_row(
    example: str, kept: Mapping[str, KeptRuns], jobs: Mapping[str, Job]
) -> tuple[str, ...]:
    job = kept[example].job if example in kept else jobs[example]
    environment = job["spec"]["environment"]
    named = f"`{environment.get('id') or environment['entryPoint']}`"
    return (f"[{Path(example).stem}](../../../{example})", named, *_cells(example, kept))


def _cells(example: str, kept: Mapping[str, KeptRuns]) -> tuple[str, ...]:
    reference = RETURNS.get(Path(example).stem)
    compared = "" if reference is None else _linked(reference)
    if example not in kept:
        return ("no runs kept", compared, "", "", "", "")
    seeds = kept[example].seeds
    others = statistics.fmean(seed.others for seed in seeds)
    return (
        ", ".join(_number(seed.greedy) for seed in seeds),
        compared,
        _range([seed.steps for seed in seeds]),
        _range([seed.seconds for seed in seeds]),
        _range([seed.cpu_seconds for seed in seeds]),
        f"{others:.1f}",
    )


def _notes(runs: KeptRuns, present: Job | None) -> Iterable[str]:
    seeds = ", ".join(str(seed.seed) for seed in runs.seeds)
    yield f"Seeds {seeds}; {runs.date}, commit `{runs.commit[:7]}`."
    if different := changed(runs, present):
        fields = ", ".join(f"`{name}`" for name in different)
        yield f"The example has changed since these runs: {fields}."


def _run(name: str, seed: KeptSeed) -> Run:
    samples = [
        Sample(0.0, seconds, steps, {"meanReturn": value}, None)
        for steps, seconds, value in seed.curve
    ]
    played = (seed.greedy, seed.greedy_std, seed.greedy_episodes)
    return Run(name, name, RunHistory(samples), ended=RunEnd(evaluation=played))


def _machine(runs: KeptRuns) -> str:
    return ", ".join(f"{name} {value}" for name, value in runs.machine.items()) + "."


def _named(reference: ReferenceReturn) -> str:
    return f"{reference.name}: {_number(reference.value)}"


def _linked(reference: ReferenceReturn) -> str:
    name = f"[{reference.name}]({reference.url})" if reference.url else reference.name
    return f"{_number(reference.value)} ({name}: {reference.note})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _range(values: Sequence[float]) -> str:
    low, high = _number(min(values)), _number(max(values))
    return low if low == high else f"{low} to {high}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flat(item, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


if __name__ == "__main__":
    main()
