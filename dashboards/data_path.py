"""One job's links: traffic, credit, retransmissions, rejected and dropped messages."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards.frame import JOB, RATE, Section, by_job
from dashboards.parts import Panel, Query, lines, or_none

_COUNTED_AT = {"rollout": "experience", "learner": "samples|weights"}
"""The end at which each link is counted."""
_ROLES = ("rollout", "buffer", "learner", "evaluator")


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{JOB}{more}}}[{RATE}])"


def dashboard() -> Dashboard:
    """Data path."""
    sections = [
        Section("Links", _links()),
        Section("Experience: rollouts to buffer", _experience()),
        Section("Samples and weights: buffer to learner, learner to all", _samples_and_weights()),
        Section("Retransmissions and rejections", _trouble()),
    ]
    text = "One RLJob's ZeroMQ links: traffic, credit, retransmissions, rejected messages."
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
            "Many small messages on an idle job are repeated requests: one side waits for the other.",
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
            "Bytes that each rollout sends to the buffer. All rollouts should send about the same amount.",
            units.BytesPerSecondIEC,
            Query(sent, "{{pod}}"),
        ),
        lines(
            "Credit of each rollout",
            "Experience that each rollout may send before it needs more credit. At 0 it waits: the learner is slower.",
            units.BytesIEC,
            Query(f"max by (pod) (rljob_rollout_credit_available_bytes{{{JOB}}})", "{{pod}}"),
        ),
        lines(
            "Credit granted",
            "Unused credit that the buffer has granted to all rollouts.",
            units.BytesIEC,
            Query(f"max(rljob_buffer_credit_granted_bytes{{{JOB}}})", "granted"),
        ),
        lines(
            "Segments",
            "Segments sent for the first time, acknowledged by the buffer, and stored. The lines diverge when messages are lost.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_segments_sent_total')})", "sent"),
            Query(f"sum({_rate('rljob_rollout_segments_acked_total')})", "acknowledged"),
            Query(f"sum({_rate('rljob_buffer_segments_stored_total')})", "stored"),
        ),
        lines(
            "Not acknowledged",
            "Segments that each rollout keeps until the buffer acknowledges them. A few are normal; a rollout waits at its limit.",
            units.Short,
            Query(f"max by (pod) (rljob_rollout_unacked_segments{{{JOB}}})", "{{pod}}"),
        ),
        lines(
            "Rollouts connected",
            "Rollouts from which the buffer received a message in the last five seconds.",
            units.Short,
            Query(f"max(rljob_buffer_rollouts_connected{{{JOB}}})", "rollouts"),
        ),
    ]


def _samples_and_weights() -> list[Panel]:
    sent = f"sum({_rate('rljob_learner_weights_sent_bytes_total')})"
    return [
        lines(
            "Learner requests",
            "Share of time in which the learner has requested more than the buffer can supply. The learner requests one "
            "batch ahead, so a value near 1 does not mean that it is idle.",
            units.PercentUnit,
            Query(f"sum({_rate('rljob_buffer_learner_wait_seconds_total')})", "waiting"),
            width=6,
            most=1,
        ),
        lines(
            "Weights",
            "Bytes of policy weights that the learner sends.",
            units.BytesPerSecondIEC,
            Query(sent, "sent"),
            width=6,
        ),
        lines(
            "Versions applied",
            "By each rollout. Fewer than published is normal: a rollout takes the newest version between two segments.",
            "ops",
            Query(f"sum by (pod) ({_rate('rljob_rollout_weights_applied_total')})", "{{pod}}"),
            width=6,
        ),
        lines(
            "Subscribers",
            "Rollouts and evaluators that wait for weights or receive them.",
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
    refused = " or ".join(
        _rate(f"rljob_{role}_link_refused_total") for role in ("buffer", "learner")
    )
    return [
        lines(
            "Retransmitted",
            "Segments and batches sent again without a timely acknowledgement: a peer is slow or was restarted.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_segments_retransmitted_total')})", "segments"),
            Query(f"sum({_rate('rljob_buffer_batches_retransmitted_total')})", "batches"),
            width=6,
        ),
        lines(
            "Duplicates dropped",
            "Received twice, counted once. They are caused by retransmissions.",
            "ops",
            Query(f"sum({_rate('rljob_buffer_segments_duplicate_total')})", "at the buffer"),
            Query(f"sum({_rate('rljob_learner_segments_duplicate_total')})", "at the learner"),
            width=6,
        ),
        lines(
            "Messages rejected",
            "By role and reason. Above 0: a peer of another release or another job, or an unauthorized peer.",
            "ops",
            *rejected,
            width=6,
        ),
        lines(
            "Weights rejected, peers refused",
            "Policy versions that could not be used, peers blocked after invalid messages, and refused connections.",
            "ops",
            Query(or_none(weights), "weights {{reason}}"),
            Query(f"sum({_rate('rljob_buffer_peers_fenced_total')})", "fenced"),
            Query(f"sum by (reason) ({refused})", "connections refused: {{reason}}"),
            width=6,
        ),
    ]


def _link(link: str, direction: str) -> str:
    return f',link="{link}",direction="{direction}"'
