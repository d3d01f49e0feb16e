"""`rljob algorithms NAME --plot SETTING`: a setting over the job, as text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rljob.cli import algorithms
from rljob.errors import InputError

if TYPE_CHECKING:
    from rljob.algorithms.schedule import Schedule
    from rljob.show.view.panel import TextLine
    from rljob.spec import StopSpec

HEIGHT, WIDTH = 10, 64
"""Of the drawing, in lines and columns."""


def plot(name: str | None, setting: str, file: Path | None) -> int:
    """Draw the setting's schedule.

    Args:
        name: of the algorithm; None takes that of the job.
        file: the job; None draws the default.

    Raises:
        InputError: the setting has no schedule, or the job has another algorithm.
    """
    from rljob import spec
    from rljob.algorithms import load_config
    from rljob.algorithms.settings import check_settings
    from rljob.show.view.screen import show

    stop: StopSpec | None = None
    if file is not None:
        job = spec.load(file)
        check_settings(job)
        chosen, stop = job.spec.algorithm, job.spec.stop
        if name not in (None, chosen.name, chosen.entry_point):
            raise InputError(
                f"the algorithm of {file} is {chosen.name or chosen.entry_point}, not {name}"
            )
    elif name is not None:
        chosen = algorithms.chosen(name)
    else:
        raise InputError("name an algorithm, or a job with --file")
    schedule = _schedule(load_config(chosen), setting, str(chosen.name or chosen.entry_point))
    lines: list[TextLine] = [[(f"{setting}: {_text(schedule)}", "name")]]
    lines += [[(line, "")] for line in drawn(schedule, stop)]
    show(lambda _: lines)
    return 0


def drawn(schedule: Schedule[Any], stop: StopSpec | None) -> Iterator[str]:
    """The lines of the drawing; none for a number that does not change."""
    from rljob.algorithms.progress import Progress
    from rljob.show.view.chart import chart
    from rljob.show.view.figures import count

    if not schedule.phases:
        return
    whole = stop.steps if stop is not None else None
    if schedule.by_steps:
        whole = whole or round(schedule.length * 1.25)
    shares = [column / (WIDTH - 1) for column in range(WIDTH)]
    values = [schedule.at(Progress(round(share * (whole or 0)), share)) for share in shares]
    end = f"{count(whole)} steps" if whole else _end(stop)
    yield from ("", *chart(values, HEIGHT, "0", end))


def _end(stop: StopSpec | None) -> str:
    """The end of a job without a number of steps."""
    from rljob.show.view.figures import count

    if stop is None or stop.measure is None:
        return "the end"
    value = getattr(stop, stop.measure)
    return str(value) if stop.measure == "duration" else f"{count(value)} {stop.measure}"


def _schedule(config: Any, setting: str, name: str) -> Schedule[Any]:
    from rljob.algorithms.schedule import Schedule

    values = {field.alias: getattr(config, key) for key, field in type(config).model_fields.items()}
    value = values.get(setting)
    if isinstance(value, Schedule):
        return value
    able = ", ".join(key for key, each in values.items() if isinstance(each, Schedule))
    what = "does not change while training" if setting in values else "is unknown"
    these = f"these may change: {able}" if able else f"none of {name} may change"
    raise InputError(f"the setting {setting} of {name} {what}; {these}")


def _text(schedule: Schedule[Any]) -> str:
    from rljob.spec.invalid import show

    return show(schedule.plain())
