"""The explanation as lines of text: the verdict, the evidence, what to try. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rljob.diagnosis.bottleneck import WORDS, stage_shares, stages
from rljob.diagnosis.probes import RoleProbe
from rljob.diagnosis.situation import Situation
from rljob.diagnosis.verdict import Explanation
from rljob.show.view.columns import columns
from rljob.show.view.figures import count, score, share_text, span_text
from rljob.show.view.panel import TextLine
from rljob.spec.roles import ROLES, RoleName

BAR = 20
"""Columns of the bar that shows a share of all time."""
MOST_PROCESSES = 12
SMALL = 0.005
_DIRECTIONS = ("sent", "received")


def page(situation: Situation, explanation: Explanation) -> list[TextLine]:
    """All of it, for one screen."""
    style = "good" if explanation.well else "bad"
    lines: list[TextLine] = [[(explanation.verdict, style)]]
    lines += _section("Roles", list(_roles(situation)))
    lines += _section("Applications", list(_applications(situation)))
    lines += _stack(situation)
    lines += _failure(situation)
    lines += _section("Where time goes", list(_stages(situation)))
    lines += _section("Links", list(_links(situation)))
    if situation.unreached:
        lines += [[], [(f"Not probed: {situation.unreached}", "warning")]]
    if explanation.tries:
        lines += [[], [("Try", "name")]]
        lines += [[(f"  {each}", "")] for each in explanation.tries]
    return lines


def _section(title: str, rows: Sequence[Sequence[str]]) -> list[TextLine]:
    if not rows:
        return []
    texts, _ = columns(rows)
    return [[], [(title, "name")], *([("  " + text, "")] for text in texts)]


def _roles(situation: Situation) -> Iterator[list[str]]:
    for role in situation.roles:
        ready = f"{role.ready}/{role.wanted} ready" if role.wanted else _left(role.ready)
        restarts = f"{role.restarts} restart{'' if role.restarts == 1 else 's'}"
        why = ": ".join(part for part in (role.reason, role.message) if part)
        yield [role.role, ready, restarts, why or _doing(situation, role.role)]


def _applications(situation: Situation) -> Iterator[list[str]]:
    known = situation.applications.busiest if situation.applications is not None else []
    if known:
        yield ["name", "connected", "steps/s", "lag", "evicted", "version", "last segment"]
    for each in known:
        silent = f"{span_text(each.silent_seconds)} ago" if each.silent_seconds >= 0 else "none"
        numbers = (each.connected, each.steps_per_second, each.lag, each.evicted)
        version = "–" if each.version < 0 else str(each.version)
        yield [each.name, *map(count, numbers), version, silent]


def _left(ready: int) -> str:
    """Of a role that nobody wants any more."""
    return f"{ready} ending" if ready else "ended"


def _doing(situation: Situation, role: RoleName) -> str:
    """What a role that is well does now."""
    facts = []
    if role == "learner" and situation.progress is not None:
        facts.append(f"step {count(situation.progress.steps)}")
        if situation.progress.mean_return is not None:
            facts.append(f"mean return {score(situation.progress.mean_return)}")
        if situation.silent_seconds is not None and situation.silent_seconds >= 2:
            facts.append(f"last progress {span_text(situation.silent_seconds)} ago")
        facts.append(_checkpoint(situation))
    if role == "buffer" and situation.fill is not None:
        facts.append(f"filled {share_text(situation.fill).strip()}")
        if situation.lag is not None and situation.progress and situation.progress.steps:
            median, high, bound = situation.lag
            limit = "unbounded" if bound is None else f"bound {bound}"
            facts.append(f"lag {median}, at most {high} for 95 % ({limit})")
    facts += [
        f"{one.name} waits for {one.state.waits_for}"
        for one in situation.of_role(role)
        if one.state is not None and one.state.waits_for
    ][:1]
    return " · ".join(facts)


def _checkpoint(situation: Situation) -> str:
    saved = situation.checkpoint
    if saved is None:
        return "no checkpoint yet"
    age = situation.checkpoint_age
    when = f", {span_text(age)} ago" if age is not None else ""
    return f"checkpoint of step {count(saved.step)}{when}"


def _stack(situation: Situation) -> list[TextLine]:
    stall = situation.stall
    if stall is None or not stall.stack:
        return []
    title = f"Where {stall.name or stall.role} is, innermost first"
    frames = [[(f"  {frame}", "")] for frame in reversed(stall.stack)]
    return [[], [(title, "name")], *frames[:BAR]]


def _failure(situation: Situation) -> list[TextLine]:
    failure = situation.last_failure
    if failure is None or situation.stall is not None:
        return []
    code = f", exit code {failure.exit_code}" if failure.exit_code is not None else ""
    head = f"Last failure: {failure.pod}, {failure.reason}{code}, {failure.time}"
    return [[], [(head, "name")], *([(f"  {line}", "")] for line in failure.message.splitlines())]


def _stages(situation: Situation) -> Iterator[list[str]]:
    for role in ROLES:
        processes = situation.of_role(role)
        for number, (stage, share) in enumerate(stages(processes).items()):
            if share < SMALL:
                continue
            name = role if number == 0 else ""
            bar = "█" * round(BAR * min(1.0, share)) or "▏"
            spread = _spread(processes, stage)
            yield [name, WORDS.get(stage, stage), share_text(share), bar + spread]


def _spread(processes: Sequence[RoleProbe], stage: str) -> str:
    """The range over processes, where they differ."""
    found = [shares[stage] for one in processes if stage in (shares := stage_shares(one))]
    if len(found) < 2 or max(found) - min(found) < 0.1:
        return ""
    return f"  {share_text(min(found)).strip()} to {share_text(max(found)).strip()}"


def _links(situation: Situation) -> Iterator[list[str]]:
    """Each process' links: rates, and what went wrong on them."""
    rows = []
    for one in situation.processes[:MOST_PROCESSES]:
        prefix = f"rljob_{one.role}_link"
        links = sorted(
            {dict(labels)["link"] for labels in one.samples.all(f"{prefix}_bytes_total")}
        )
        for number, link in enumerate(links):
            told = _troubles(one) if number == 0 else ""
            rows.append([one.name, link, *_rates(one, prefix, link), told])
    if rows:
        yield ["process", "link", "sent", "received", ""]
        yield from rows


def _rates(one: RoleProbe, prefix: str, link: str) -> Iterator[str]:
    for direction in _DIRECTIONS:
        messages = one.samples.rate(f"{prefix}_messages_total", link=link, direction=direction)
        size = one.samples.rate(f"{prefix}_bytes_total", link=link, direction=direction)
        yield "" if messages is None or size is None else f"{messages:,.0f}/s {_bytes(size)}/s"


def _troubles(one: RoleProbe) -> str:
    """Counts that are zero where all is well."""
    role = f"rljob_{one.role}"
    found = []
    credit = one.samples.value(f"{role}_credit_available_bytes")
    if credit is not None:
        found.append(f"credit {_bytes(credit)}")
    for name, words in (
        ("segments_retransmitted_total", "sent again"),
        ("batches_retransmitted_total", "sent again"),
        ("segments_duplicate_total", "duplicates"),
        ("messages_rejected_total", "rejected"),
        ("segments_evicted_total", "evicted"),
        ("peers_fenced_total", "fenced"),
    ):
        total = sum(one.samples.all(f"{role}_{name}").values())
        if total:
            found.append(f"{words} {count(total)}")
    return " · ".join(found)


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
