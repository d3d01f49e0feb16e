"""Contents of the plots, shared by the page and the images. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

from rljob.show.report.files import Run
from rljob.show.report.groups import RunGroup, spread
from rljob.show.report.history import Axis, PlotPoint, RunHistory, RunMark

STAGES = (
    ("learnerWaiting", "waiting for data"),
    ("stages.update", "updating"),
    ("stages.publish", "publishing weights"),
    ("stages.checkpoint", "taking snapshots"),
)
REST = "other"
_LONGEST_SLUG = 50
_HARDWARE = {
    "cores": ("Cores used", "Seconds on a processor for each second."),
    "memory": ("Memory in MiB", "Resident."),
    "gpuUse": ("GPU", "Share of the time in which it works."),
    "gpuMemory": ("GPU memory in MiB", "Held by torch."),
}


@dataclass(frozen=True)
class PlotLine:
    """A curve. `colour` is an index from 0; `quiet` curves are in the background. `key` is the text in the
    legend, by default the label; curves with the same key and colour have one entry."""

    label: str
    colour: int
    points: Sequence[PlotPoint]
    quiet: bool = False
    dashed: bool = False
    key: str = ""


@dataclass(frozen=True)
class Band:
    """An area between two curves, (x, low, high); `solid` for stacked shares."""

    label: str
    colour: int
    points: Sequence[tuple[float, float, float]]
    solid: bool = False


@dataclass(frozen=True)
class Dots:
    """Single values with their standard deviation, (x, y, deviation)."""

    label: str
    colour: int
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Level:
    """A horizontal line, for example a bound."""

    y: float
    text: str


@dataclass(frozen=True)
class Plot:
    """One plot.

    Attributes:
        key: name in file names and anchors.
        note: one sentence of explanation.
        x: quantity on the x axis.
        share: whether y is from 0 to 1 and shown in percent.
        zero: whether y starts at 0.
        wide: whether the plot has the full width of the page.
        algorithm: whether it shows a metric of the algorithm.
    """

    key: str
    title: str
    note: str
    x: Axis
    lines: Sequence[PlotLine] = ()
    bands: Sequence[Band] = ()
    dots: Sequence[Dots] = ()
    levels: Sequence[Level] = ()
    marks: Sequence[RunMark] = ()
    share: bool = False
    zero: bool = True
    wide: bool = False
    algorithm: bool = False

    @property
    def empty(self) -> bool:
        return not self.xs

    @property
    def xs(self) -> list[float]:
        """x values of all lines, bands and dots."""
        found = [x for line in self.lines for x, _ in line.points]
        found += [x for band in self.bands for x, _, _ in band.points]
        return found + [x for dots in self.dots for x, _, _ in dots.points]


def plots(groups: Sequence[RunGroup]) -> list[Plot]:
    """All plots with data, the learning curve first."""
    drawn = [
        returns(groups, "steps"),
        returns(groups, "seconds"),
        _plain(groups, "steps-per-second", "Environment steps per second", "", "stepsPerSecond"),
        _plain(groups, "updates-per-second", "Updates per second", "", "updatesPerSecond"),
        *_stages(groups),
        _waiting(groups),
        _lag(groups),
        _plain(groups, "buffer", "Buffer fill", "Share of its capacity.", "bufferFill", share=True),
        *_episodes(groups),
        *_hardware(groups),
        *_algorithm(groups),
    ]
    return _told_apart([plot for plot in drawn if not plot.empty])


def _told_apart(drawn: Sequence[Plot]) -> list[Plot]:
    """With keys that differ, also for file systems that know no case: those of names that are alike get a number."""
    taken: set[str] = set()
    found = []
    for plot in drawn:
        each = (plot.key if n == 1 else f"{plot.key}-{n}" for n in count(1))
        key = next(key for key in each if key not in taken)
        taken.add(key)
        found.append(replace(plot, key=key))
    return found


def returns(groups: Sequence[RunGroup], axis: Axis) -> Plot:
    """The learning curve."""
    over = "environment steps" if axis == "steps" else "time"
    notes = ["Mean of the last 100 training episodes."]
    lines, bands, dots = [], [], []
    alone = _alone(groups)
    for colour, group in enumerate(groups):
        curves = [(run, run.history.series("meanReturn", axis)) for run in group.runs]
        curves = [(run, curve) for run, curve in curves if curve]
        several = len(curves) > 1
        for run, curve in curves:
            label = "training" if alone else _label(group, run)
            lines.append(PlotLine(label, colour, curve, quiet=several))
        if several:
            both = spread([curve for _, curve in curves])
            lines.append(PlotLine(f"{group.label}, mean of {len(curves)} seeds", colour, both.mean))
            bands.append(Band(f"{group.label}, standard deviation", colour, both.band))
        label = "evaluation" if alone else f"{group.label}, evaluation"
        played = [point for run in group.runs for point in _evaluated(run, axis)]
        dots.append(Dots(label, colour, played))
    if bands:
        notes.append("Band: standard deviation over seeds, in the range common to all runs.")
    if any(each.points for each in dots):
        notes.append("Dots: greedy evaluations with the standard deviation of their episodes.")
    goals = {
        run.job.spec.stop.mean_return for g in groups for run in g.runs if run.job is not None
    } - {None}
    levels = [Level(goal, f"goal {goal:g}") for goal in goals if goal is not None]
    levels = levels if len(levels) == 1 else []
    wide, key = axis == "steps", "return" if axis == "steps" else "return-time"
    return Plot(
        key,
        f"Return over {over}",
        " ".join(notes),
        axis,
        lines,
        bands,
        dots,
        levels,
        _marks(groups),
        zero=False,
        wide=wide,
    )


def _evaluated(run: Run, axis: Axis) -> list[tuple[float, float, float]]:
    """Evaluations during training, and the final one."""
    found = [(x, played.mean, played.std) for x, played in run.history.evaluated(axis)]
    if run.ended.evaluation is not None and run.history:
        mean, std, _ = run.ended.evaluation
        found.append((run.history.samples[-1].at(axis), mean, std))
    return found


def shares(history: RunHistory) -> list[tuple[str, float]]:
    """Shares of the learner's time, with sum 1; empty without data."""
    named = [(text, history.mean(name)) for name, text in STAGES]
    known = [(text, share) for text, share in named if share is not None]
    if not known:
        return []
    rest = 1.0 - sum(share for _, share in known)
    return [*known, (REST, max(0.0, rest))]


def _plain(
    groups: Sequence[RunGroup], key: str, title: str, note: str, name: str, share: bool = False
) -> Plot:
    lines = _each(groups, name)
    return Plot(key, title, note, "seconds", lines, marks=_marks(groups), share=share)


def _each(groups: Sequence[RunGroup], name: str) -> list[PlotLine]:
    """One line for each run."""
    return [
        PlotLine(_label(group, run), colour, run.history.series(name, "seconds"), key=group.label)
        for colour, group in enumerate(groups)
        for run in group.runs
    ]


def _stages(groups: Sequence[RunGroup]) -> list[Plot]:
    """Shares of the learner's time, only for a single run: those of several runs would overlap."""
    if not _alone(groups):
        return []
    history = groups[0].runs[0].history
    bands: list[Band] = []
    below: list[PlotPoint] = []
    for colour, (name, text) in enumerate(STAGES):
        points = history.series(name, "seconds")
        if not points:
            continue
        under = [y for _, y in below] or [0.0] * len(points)
        above = [(x, min(1.0, low + y)) for (x, y), low in zip(points, under, strict=False)]
        stacked = [(x, low, high) for (x, high), low in zip(above, under, strict=False)]
        bands.append(Band(text, colour, stacked, solid=True))
        below = above
    note = "Shares of its time, stacked; the remainder is other work."
    plot = Plot(
        "learner-time",
        "Learner time by stage",
        note,
        "seconds",
        bands=bands,
        marks=_marks(groups),
        share=True,
    )
    return [plot]


def _waiting(groups: Sequence[RunGroup]) -> Plot:
    lines = []
    single = _alone(groups)
    for colour, group in enumerate(groups):
        for run in group.runs:
            who = "" if single else f"{_label(group, run)}, "
            rollouts = run.history.series("rolloutsWaiting", "seconds")
            learner = run.history.series("learnerWaiting", "seconds")
            key = "" if single else f"{group.label}, "
            lines += [
                PlotLine(f"{who}rollouts", colour, rollouts, key=f"{key}rollouts"),
                PlotLine(
                    f"{who}learner",
                    colour + single,
                    learner,
                    dashed=not single,
                    key=f"{key}learner",
                ),
            ]
    note = "Share of the time. Rollouts wait for the buffer; the learner waits for data."
    return Plot("waiting", "Waiting time", note, "seconds", lines, marks=_marks(groups), share=True)


def _lag(groups: Sequence[RunGroup]) -> Plot:
    lines, single = [], _alone(groups)
    for colour, group in enumerate(groups):
        for run in group.runs:
            series = run.history.series
            if single:
                lines.append(PlotLine("median", colour, series("lagP50", "seconds")))
                lines.append(PlotLine("95th percentile", colour + 1, series("lagP95", "seconds")))
            else:
                p95 = series("lagP95", "seconds")
                lines.append(PlotLine(_label(group, run), colour, p95, key=group.label))
    bounds = {
        bound
        for group in groups
        for run in group.runs
        for sample in run.history.samples[-1:]
        if (bound := sample.values.get("lagBound")) is not None
    }
    levels = [Level(bound, f"bound {bound:g}") for bound in sorted(bounds)]
    note = "Age of experience in policy versions when it is trained on"
    note += "." if single else "; 95th percentile."
    return Plot("lag", "Policy lag", note, "seconds", lines, levels=levels, marks=_marks(groups))


def _episodes(groups: Sequence[RunGroup]) -> list[Plot]:
    """What else is known of training episodes: means over the last 100."""
    note = "Mean of the last 100 training episodes."
    fixed = (
        ("episode-length", "Episode length", "meanLength"),
        ("discounted-return", "Discounted return", "meanDiscountedReturn"),
    )
    made = [replace(_plain(groups, *each[:2], note, each[2]), zero=False) for each in fixed]
    for name in _names(groups, "info."):
        key, title = name.removeprefix("info."), f"info: {name.removeprefix('info.')}"
        made.append(replace(_plain(groups, f"info-{_slug(key)}", title, note, name), zero=False))
    return made


def _hardware(groups: Sequence[RunGroup]) -> list[Plot]:
    """What the roles use; one plot for each kind and role."""
    made = []
    for name, (title, note) in _HARDWARE.items():
        for role in ("learner", "buffer", "rollouts"):
            full, text = f"{role}.{name}", f"{title}, {role}"
            drawn = _plain(groups, f"hardware-{_slug(full)}", text, note, f"hardware.{full}")
            if name == "memory" or name == "gpuMemory":
                lines = [
                    replace(line, points=[(x, y / 2**20) for x, y in line.points])
                    for line in drawn.lines
                ]
                drawn = replace(drawn, lines=lines)
            made.append(replace(drawn, share=name == "gpuUse"))
    return made


def _names(groups: Sequence[RunGroup], prefix: str) -> Iterable[str]:
    found = (n for group in groups for run in group.runs for n in run.history.names(prefix))
    return dict.fromkeys(found)


def _slug(text: str) -> str:
    """As part of a key: lower case, and short enough for the name of a file. Of different texts it may be the same."""
    return "".join(c if c.isalnum() else "-" for c in text.lower())[:_LONGEST_SLUG]


def _algorithm(groups: Sequence[RunGroup]) -> list[Plot]:
    """One plot for each metric of the algorithm."""
    made = []
    for name in _names(groups, "metrics."):
        title = name.removeprefix("metrics.").replace("_", " ")
        key = f"algorithm-{_slug(title)}"
        lines = _each(groups, name)
        made.append(
            Plot(
                key, title[:1].upper() + title[1:], "", "seconds", lines, zero=False, algorithm=True
            )
        )
    return made


def _alone(groups: Sequence[RunGroup]) -> bool:
    """Whether there is a single run."""
    return [len(group.runs) for group in groups] == [1]


def _label(group: RunGroup, run: Run) -> str:
    return f"{group.label}, seed {run.seed}" if len(group.runs) > 1 else group.label


def _marks(groups: Sequence[RunGroup]) -> Sequence[RunMark]:
    """Marks of a single run; with several runs, marks would be ambiguous."""
    runs = [run for group in groups for run in group.runs]
    return runs[0].history.marks if len(runs) == 1 else ()
