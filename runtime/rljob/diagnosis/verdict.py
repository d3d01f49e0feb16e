"""The verdict in one sentence, and what to try."""

from __future__ import annotations

from dataclasses import dataclass

from rljob.diagnosis import advice, hook_failures, set_aside
from rljob.diagnosis.bottleneck import WORDS, Bottleneck, bottleneck, stages
from rljob.diagnosis.situation import OVER, TRAINING, Situation
from rljob.show.view.figures import count, share_text, some, span_text
from rljob.spec.roles import RoleName

QUIET_SECONDS = 30
"""Seconds after the newest segment of any application from which a job is said to wait for them."""


@dataclass(frozen=True)
class Explanation:
    """What is wrong, if anything.

    Attributes:
        verdict: one sentence.
        well: whether nothing needs to be done.
        tries: what may help, the best first.
    """

    verdict: str
    well: bool = False
    tries: tuple[str, ...] = ()


def explain(situation: Situation) -> Explanation:
    """Draw the conclusion."""
    if situation.phase in OVER:
        return _over(situation)
    if situation.phase in ("Suspended", "Suspending"):
        go_on = (f"rljob resume {situation.name}",)
        at = f" at step {count(situation.progress.steps)}" if situation.progress else ""
        return Explanation(f"{situation.name} is suspended{at}.", well=True, tries=go_on)
    if situation.unseen and situation.managed_by:
        verdict = f"{situation.name} is left to {situation.managed_by} (spec.managedBy)."
        return Explanation(verdict, tries=("look at what this controller says about the job",))
    if situation.unseen:
        verdict = f"No operator has processed the newest change of {situation.name}."
        tries = "check that an operator runs and watches this namespace: kubectl get deployment -A "
        return Explanation(verdict, tries=(tries + "-l app.kubernetes.io/name=rljob-operator",))
    if situation.stall is not None:
        return _not(situation, situation.stall.message, situation.stall.reason)
    if situation.reason:
        return _blocked(situation)
    if situation.fed_by_applications_alone and (waits := _waits_for_applications(situation)):
        return Explanation(waits, well=True, tries=(advice.APPLICATION,))
    if situation.phase == TRAINING:
        return _training(situation)
    return _starting(situation)


def _waits_for_applications(situation: Situation) -> str:
    """A sentence, if applications send nothing; empty if they do, or something else is missing."""
    if any(role.ready < role.wanted for role in situation.roles):
        return ""
    connected = situation.applications.connected if situation.applications is not None else 0
    silent = situation.silent_applications
    if connected and silent is not None and silent < QUIET_SECONDS:
        return ""
    there = "none is connected"
    if connected:
        there = f"{connected} {'is' if connected == 1 else 'are'} connected"
    last = "no segment has come yet"
    if silent is not None:
        last = f"the last segment came {span_text(silent)} ago"
    return f"{situation.name} waits for applications: {there}, {last}."


def _over(situation: Situation) -> Explanation:
    how = ": ".join(part for part in (situation.reason, situation.message) if part)
    if situation.phase == "Complete":
        return Explanation(f"{situation.name} is complete: {_sentence(how)}", well=True)
    if situation.phase == "Stopped":
        go_on = (f"rljob run --resume --dir {situation.place}",)
        return Explanation(f"{situation.name} was stopped before its end.", tries=go_on)
    what = advice.for_reason(situation.reason)
    failure = situation.last_failure
    if failure is not None and failure.reason == "OOMKilled":
        what = advice.for_reason("OOMKilled", failure.role)
    return Explanation(
        f"{situation.name} has failed: {_sentence(how)}", tries=(what,) if what else ()
    )


def _blocked(situation: Situation) -> Explanation:
    """It does not go on, and somebody said why."""
    worst = next((role for role in situation.roles if role.reason == situation.reason), None)
    if worst is not None:
        text = f"the {worst.role} is not ready: {worst.reason}: {worst.message}"
        return _not(situation, text, situation.reason, worst.role)
    text = ": ".join(part for part in (situation.reason, situation.message) if part)
    return _not(situation, text, situation.reason)


def _not(situation: Situation, why: str, reason: str, role: RoleName | None = None) -> Explanation:
    what = advice.for_reason(reason, role)
    verdict = f"{situation.name} is not training: {_sentence(why)}"
    if situation.blocked_seconds is not None:
        verdict += f" It has been so for {span_text(situation.blocked_seconds)}."
    return Explanation(verdict, tries=(what,) if what else ())


def _starting(situation: Situation) -> Explanation:
    late = [role for role in situation.roles if role.ready < role.wanted]
    waiting = [
        f"{one.name} waits for {one.state.waits_for}"
        for one in situation.processes
        if one.state is not None and one.state.waits_for
    ]
    if late:
        names = " and ".join(
            f"the {role.role} ({role.ready} of {role.wanted} ready)" for role in late
        )
        words = f"{situation.name} is starting: it waits for {names}"
        return Explanation(f"{words}; {waiting[0]}." if waiting else f"{words}.")
    return Explanation(f"{situation.name} is starting: nothing is trained on yet.")


def _training(situation: Situation) -> Explanation:
    found = bottleneck(situation)
    progress = situation.progress
    rate = f" at {count(progress.steps_per_second)} steps/s" if progress else ""
    tries = tuple(advice.for_bottleneck(found, situation))
    start = f"{situation.name} trains{rate}{_from(situation)}"
    for role in situation.roles:
        if role.reason:
            some = f"not with all of the {role.role} ({role.ready} of {role.wanted} ready)"
            whole = role.reason in (set_aside.REASON, hook_failures.REASON)
            about = f"see the {role.role}" if whole else some
            why = f"{about}: {role.reason}: {role.message}"
            what = advice.for_reason(role.reason, role.role)
            first = (what,) if what else ()
            return Explanation(f"{start}, but {_sentence(why)}", tries=(*first, *tries))
    return Explanation(f"{start}{_bound(found, situation)}.", well=True, tries=tries)


def _from(situation: Situation) -> str:
    """From how many applications; empty without."""
    if situation.applications is None or not situation.applications.connected:
        return ""
    return f" from {some(situation.applications.connected, 'application')}"


def _bound(found: Bottleneck, situation: Situation) -> str:
    learner = stages(situation.of_role("learner"))
    waits = share_text(learner.get("data_wait", 0.0))
    work = f"{share_text(found.share)} of their time on {WORDS.get(found.stage, found.stage)}"
    if found.bound == "rollouts":
        return f"; rollouts are the bottleneck: the learner waits {waits} of its time, they spend {work}"
    if found.bound == "applications":
        return f"; the learner waits for data {waits} of its time: more applications would make it faster"
    if found.bound == "learner":
        return (
            f"; the learner is the bottleneck: updates take {share_text(found.share)} of its time"
        )
    if found.bound == "lag":
        wait = share_text(found.share)
        return (
            f"; maxPolicyLag is the bottleneck: rollouts wait {wait} of their time for new weights"
        )
    if found.bound == "publishing":
        return f"; the learner spends {share_text(found.share)} of its time {WORDS[found.stage]}"
    if found.bound == "balanced":
        return "; rollouts and learner are in balance"
    if situation.silent_seconds is not None and situation.silent_seconds > 10:
        return f"; its last step was {span_text(situation.silent_seconds)} ago"
    return ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
