"""One job's links: what goes over them, how much may, what was repeated, refused or thrown away."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards.frame import JOB, RATE, Section, by_job
from dashboards.parts import Panel, Query, lines, or_none

_COUNTED_AT = {"rollout": "experience", "learner": "samples|weights"}
"""Each link is shown as one of its ends counts it."""
_ROLES = ("rollout", "buffer", "learner", "evaluator")


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{JOB}{more}}}[{RATE}])"


def dashboard() -> Dashboard:
    """Data path."""
    sections = [
        Section("Links", _links()),
        Section("Experience: rollouts to buffer", _experience()),
        Section("Samples and weights: buffer to learner, learner to all", _samples_and_weights()),
        Section("Repeated and refused", _trouble()),
    ]
    text = "One RLJob's ZeroMQ links: traffic, credit, retransmissions, what was refused."
    return by_job("data-path", "rljob / Data path", text, sections)


def _links() -> list[Panel]:
    bytes_, messages = (
        [
            Query(
                f"sum by (link, direction) ({_rate(f'rljob_{role}_link_{what}_total', _links_at(role))})",
                "{{link}} {{direction}} by " + role,
            )
            for role in _COUNTED_AT
        ]
        for what in ("bytes", "messages")
    )
    return [
        lines(
            "Bytes",
            "Headers and payloads. Experience is counted at the rollouts, samples and weights at the learner.",
            units.BytesPerSecondIEC,
            *bytes_,
            width=12,
        ),
        lines(
            "Messages",
            "Many small ones on a quiet job are the waiting of one side for another: repeated requests.",
            "mps",
            *messages,
            width=12,
        ),
    ]


def _links_at(role: str) -> str:
    return f',link=~"{_COUNTED_AT[role]}"'


def _experience() -> list[Panel]:
    sent = f"sum by (pod) ({_rate('rljob_rollout_link_bytes_total', _link('experience', 'sent'))})"
    return [
        lines(
            "Experience of each rollout",
            "Bytes that it sends to the buffer. All should send alike.",
            units.BytesPerSecondIEC,
            Query(sent, "{{pod}}"),
        ),
        lines(
            "Credit of each rollout",
            "Experience that it may send before more is granted. At 0 it waits: the learner is behind.",
            units.BytesIEC,
            Query(f"max by (pod) (rljob_rollout_credit_available_bytes{{{JOB}}})", "{{pod}}"),
        ),
        lines(
            "Credit granted",
            "By the buffer to all rollouts, and not used yet.",
            units.BytesIEC,
            Query(f"max(rljob_buffer_credit_granted_bytes{{{JOB}}})", "granted"),
        ),
        lines(
            "Segments",
            "Sent for the first time, acknowledged by the buffer, and stored in it. They part when messages are lost.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_segments_sent_total')})", "sent"),
            Query(f"sum({_rate('rljob_rollout_segments_acked_total')})", "acknowledged"),
            Query(f"sum({_rate('rljob_buffer_segments_stored_total')})", "stored"),
        ),
        lines(
            "Not acknowledged",
            "Segments that each rollout keeps until the buffer has them. It may keep a few; it stops when all are.",
            units.Short,
            Query(f"max by (pod) (rljob_rollout_unacked_segments{{{JOB}}})", "{{pod}}"),
        ),
        lines(
            "Rollouts connected",
            "That the buffer heard from within five seconds.",
            units.Short,
            Query(f"max(rljob_buffer_rollouts_connected{{{JOB}}})", "rollouts"),
        ),
    ]


def _samples_and_weights() -> list[Panel]:
    sent = f"sum({_rate('rljob_learner_weights_sent_bytes_total')})"
    return [
        lines(
            "Learner asks",
            "Share of the time in which it has asked for more than the buffer can give. It asks for one batch ahead, "
            "so near 1 it need not be idle yet.",
            units.PercentUnit,
            Query(f"sum({_rate('rljob_buffer_learner_wait_seconds_total')})", "asking"),
            width=6,
            most=1,
        ),
        lines(
            "Weights",
            "Bytes of policy versions that the learner sends.",
            units.BytesPerSecondIEC,
            Query(sent, "sent"),
            width=6,
        ),
        lines(
            "Versions applied",
            "By each rollout. Fewer than are published is right: it takes the newest between two segments.",
            "ops",
            Query(f"sum by (pod) ({_rate('rljob_rollout_weights_applied_total')})", "{{pod}}"),
            width=6,
        ),
        lines(
            "Subscribers",
            "Rollouts and evaluators that wait for weights or are receiving some.",
            units.Short,
            Query(f"max(rljob_learner_subscribers{{{JOB}}})", "subscribers"),
            width=6,
        ),
    ]


def _trouble() -> list[Panel]:
    rejected = [
        Query(
            or_none(f"sum by (reason) ({_rate(f'rljob_{role}_messages_rejected_total')})"),
            f"{role} {{{{reason}}}}",
        )
        for role in _ROLES
    ]
    weights = f"sum by (reason) ({_rate('rljob_rollout_weights_rejected_total')})"
    return [
        lines(
            "Retransmitted",
            "Segments and batches sent again because no answer came in time: a peer that is slow or was restarted.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_segments_retransmitted_total')})", "segments"),
            Query(f"sum({_rate('rljob_buffer_batches_retransmitted_total')})", "batches"),
            width=6,
        ),
        lines(
            "Duplicates dropped",
            "Came twice and count once; they follow retransmissions.",
            "ops",
            Query(f"sum({_rate('rljob_buffer_segments_duplicate_total')})", "at the buffer"),
            Query(f"sum({_rate('rljob_learner_segments_duplicate_total')})", "at the learner"),
            width=6,
        ),
        lines(
            "Messages rejected",
            "By role and reason. Any at all: another release, another job, or somebody who should not be there.",
            "ops",
            *rejected,
            width=6,
        ),
        lines(
            "Weights rejected, peers fenced",
            "Policy versions that could not be used, and peers shut out after bad messages.",
            "ops",
            Query(or_none(weights), "weights {{reason}}"),
            Query(f"sum({_rate('rljob_buffer_peers_fenced_total')})", "fenced"),
            width=6,
        ),
    ]


def _link(link: str, direction: str) -> str:
    return f',link="{link}",direction="{direction}"'
