"""The HTML page: one file that loads nothing from the network. All input is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources

from rljob.show.report.files import Run
from rljob.show.report.groups import RunGroup, group
from rljob.show.report.plots import REST, STAGES, Plot, plots, shares
from rljob.show.report.svg import COLOURS, figure
from rljob.show.view.figures import count, feeds, score, share_text, some, span_text
from rljob.show.view.lines import ending
from rljob.show.view.panel import text
from rljob.version import __version__

_KINDS = {"Complete": "good", "Stopped": "warn", "Failed": "bad"}


def page(runs: Sequence[Run], made: datetime) -> str:
    """The report of one run, or a comparison of several.

    Args:
        made: time of creation, printed at the end.
    """
    groups = group(runs)
    when = f"{made.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    drawn = plots(groups)
    head = _head_of_one(runs[0]) if len(runs) == 1 else _head_of_several(groups)
    body = [
        f"<header>{head}</header>",
        _missing(runs),
        _section("Learning curve", drawn[:1]),
        _spent(runs),
        _section("Training", [plot for plot in drawn[1:] if not plot.algorithm]),
        _section("Algorithm metrics", [p for p in drawn[1:] if p.algorithm], "small"),
        _configuration(runs),
        _provenance(runs),
        f"<footer>Made by rljob {escape(__version__)} on {when}.</footer>",
    ]
    return _document(title, "\n".join(filter(None, body)))


def _section(title: str, drawn: Sequence[Plot], kind: str = "") -> str:
    if not drawn:
        return ""
    figures = "".join(figure(plot) for plot in drawn)
    return f'<h2>{title}</h2><div class="plots {kind}">{figures}</div>'


def _document(title: str, body: str) -> str:
    files = resources.files("rljob.show.report")
    style = (files / "page.css").read_text(encoding="utf-8")
    script = (files / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Allow only this script and no network access, whatever a job's name contains.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{escape(title)} · rljob</title>
<style>
{style}</style>
</head>
<body>
{body}
<script>{script}</script>
</body>
</html>
"""


# ---- head


def _head_of_one(run: Run) -> str:
    return "\n".join(
        [
            f"<h1>{escape(run.name)}</h1>",
            f'<p class="sub">{escape(_what(run))}</p>',
            f'<p class="verdict">{_verdict(run)}</p>',
            f'<dl class="cards">{"".join(_cards(run))}</dl>',
        ]
    )


def _head_of_several(groups: Sequence[RunGroup]) -> str:
    runs = [run for each in groups for run in each.runs]
    seeds = [f"{each.label}: seeds {each.seeds}" for each in groups if len(each.runs) > 1]
    kinds = some(len(groups), "configuration")
    rows = "".join(_row(each, run, at) for at, each in enumerate(groups) for run in each.runs)
    names = (
        "outcome",
        "seed",
        "return",
        "best",
        "evaluation",
        "steps",
        "time",
        "steps/s",
        "restarts",
    )
    header = "".join(f"<th>{name}</th>" for name in ("run", *names))
    return "\n".join(
        [
            f"<h1>{len(runs)} runs</h1>",
            f'<p class="sub">{escape("; ".join([kinds, *seeds]))}</p>',
            f'<div class="scroll" tabindex="0"><table><thead><tr>{header}</tr></thead>',
            f"<tbody>{rows}</tbody></table></div>",
        ]
    )


def _what(run: Run) -> str:
    if run.job is None:
        return run.place
    spec = run.job.spec
    parts = [
        run.job.metadata.name,
        *([spec.environment.label] if spec.environment.played else []),
        spec.algorithm.name or spec.algorithm.entry_point or "",
        feeds(spec),
    ]
    return " · ".join(parts if parts[0] != run.name else parts[1:])


def _verdict(run: Run) -> str:
    steps, seconds = _last(run, "steps"), _last(run, "seconds")
    ended = run.ended
    if not ended.outcome:
        so_far = f" {some(round(steps), 'step')} in {span_text(seconds)} so far." if steps else ""
        return f'<b class="warn">Not ended.</b>{so_far}'
    line = ending(
        ended.outcome, ended.reason, round(steps), seconds, ended.mean_return, ended.message
    )
    kind = _KINDS.get(ended.outcome, "bad")
    (first, _), *rest = line
    return f'<b class="{kind}">{escape(first)}</b>{escape(text(rest))}'


def _cards(run: Run) -> Iterable[str]:
    mean, best = _returns(run)
    yield _card("mean return", score(mean), "last 100 training episodes")
    yield _card("best", score(best), "highest such mean")
    if run.ended.evaluation is not None:
        value, deviation, episodes = run.ended.evaluation
        note = f"± {score(deviation)}, {some(episodes, 'greedy episode')} at the end"
        yield _card("evaluation", score(value), note)
    elif run.history.evaluations:
        played = run.history.evaluations[-1]
        note = f"± {score(played.std)}, {some(played.episodes, 'greedy episode')}, newest"
        yield _card("evaluation", score(played.mean), note)
    if not run.history:
        return
    version = run.history.samples[-1].values.get("policyVersion", 0.0)
    yield _card("steps", count(_last(run, "steps")), f"policy version {version:.0f}")
    rate = run.history.mean("stepsPerSecond")
    yield _card("time", span_text(_last(run, "seconds")), f"{count(rate or 0.0)} steps/s")
    lag = run.history.samples[-1].values.get("lagP95")
    bound = run.history.samples[-1].values.get("lagBound")
    bounded = f"95th percentile, bound {bound:g}" if bound is not None else "95th percentile"
    yield _card("policy lag", "–" if lag is None else f"{lag:g}", bounded)
    saved = sum(mark.kind == "checkpoint" for mark in run.history.marks)
    yield _card("restarts", str(_restarts(run)), f"{some(saved, 'checkpoint')} seen")
    if run.history.stalls:
        yield _card("stalls", str(len(run.history.stalls)), run.history.stalls[-1])


def _card(name: str, value: str, note: str) -> str:
    small = f"<small>{escape(note)}</small>"
    return f'<div class="card"><dt>{escape(name)}</dt><dd>{escape(value)}{small}</dd></div>'


def _row(each: RunGroup, run: Run, colour: int) -> str:
    mean, best = _returns(run)
    played = run.ended.evaluation
    rate = run.history.mean("stepsPerSecond")
    kind = _KINDS.get(run.ended.outcome, "warn")
    ink = f'<i class="c{colour % COLOURS}" style="color:var(--ink)">●</i>'
    cells = [
        "–" if run.seed is None else str(run.seed),
        score(mean),
        score(best),
        "–" if played is None else f"{score(played[0])} ± {score(played[1])}",
        count(_last(run, "steps")),
        span_text(_last(run, "seconds")),
        "–" if rate is None else count(rate),
        str(_restarts(run)),
    ]
    first = f"{ink} {escape(run.name)}"
    outcome = f'<td class="{kind}">{escape(run.ended.outcome or "not ended")}</td>'
    return f"<tr><td>{first}</td>{outcome}{''.join(f'<td>{escape(c)}</td>' for c in cells)}</tr>"


def _returns(run: Run) -> tuple[float | None, float | None]:
    """Mean and best return: those of the result, else the newest."""
    if run.ended.outcome or not run.history:
        return run.ended.mean_return, run.ended.best_return
    values = run.history.samples[-1].values
    return values.get("meanReturn"), values.get("bestReturn")


def _restarts(run: Run) -> int:
    seen = sum(mark.kind == "restart" for mark in run.history.marks)
    return seen if run.ended.restarts is None else max(seen, run.ended.restarts)


def _last(run: Run, name: str) -> float:
    return float(getattr(run.history.samples[-1], name)) if run.history else 0.0


# ---- other sections


def _missing(runs: Sequence[Run]) -> str:
    several = len(runs) > 1
    items = [f"{run.name}: {line}" if several else line for run in runs for line in run.missing]
    if not items:
        return ""
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<section class="missing"><h3>Missing data</h3><ul>{listed}</ul></section>'


def _spent(runs: Sequence[Run]) -> str:
    """Shares of the learners' time over the whole run."""
    names = [text for _, text in STAGES]
    rows = []
    for run in runs:
        spent = shares(run.history)
        if not spent:
            continue
        bar = "".join(
            f'<i class="rest" style="flex:{share:.4f}"></i>'
            if name == REST
            else f'<i class="c{names.index(name)}" style="flex:{share:.4f}"></i>'
            for name, share in spent
        )
        listed = "".join(
            f'<li><i class="fill c{names.index(name) if name != REST else 7}"></i>'
            f"{escape(name)} {share_text(share).strip()}</li>"
            for name, share in spent
        )
        label = f'<p class="name">{escape(run.name)}</p>' if len(runs) > 1 else ""
        rows.append(
            f'<div>{label}<div class="bar">{bar}</div><ul class="legend">{listed}</ul></div>'
        )
    if not rows:
        return ""
    return f'<h2>Learner time, whole run</h2><div class="spent">{"".join(rows)}</div>'


def _configuration(runs: Sequence[Run]) -> str:
    given = [run for run in runs if run.job_text]
    if not given:
        return ""
    single = len(runs) == 1
    parts = [
        f"<details{' open' if single else ''}><summary>{escape('job.yaml' if single else run.name)}"
        f"</summary><pre>{escape(run.job_text)}</pre></details>"
        for run in given
    ]
    return f"<h2>Configuration</h2>{''.join(parts)}"


def _provenance(runs: Sequence[Run]) -> str:
    parts = []
    for run in runs:
        facts = {"folder": run.place, **run.provenance}
        listed = "".join(
            f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items()
        )
        name = "Versions and machine" if len(runs) == 1 else run.name
        parts.append(
            f"<details{' open' if len(runs) == 1 else ''}><summary>{escape(name)}</summary>"
            f'<dl class="facts">{listed}</dl></details>'
        )
    return f"<h2>Provenance</h2>{''.join(parts)}"
