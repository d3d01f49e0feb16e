"""Every metric of the runtime, declared once; `python -m rljob.telemetry.metrics` prints docs/reference/metrics.md.

Each role makes one of the classes below and serves its `registry` (see `rljob.telemetry.health`). Names follow
Prometheus: base units, `_total` for what only grows. Labels take few, known values. What tells
processes apart (namespace, job, role, pod) is added by the scraper.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from rljob.telemetry.metrics_base import OPEN_LABEL_LIMIT, Labelled, Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEARNER_STAGES = ("data_wait", "update", "publish", "checkpoint", "hooks")
LAG_BUCKETS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
SECONDS_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class RolloutMetrics(Metrics):
    role = "rollout"

    def __init__(self) -> None:
        super().__init__()
        self.environment_steps = self._counter(
            "environment_steps_total", "steps", "Environment steps taken, summed over environments."
        )
        self.episodes = self._counter("episodes_total", "episodes", "Episodes finished.")
        self.segments_sent = self._counter(
            "segments_sent_total", "segments", "Segments sent for the first time."
        )
        self.segments_acked = self._counter(
            "segments_acked_total", "segments", "Segments that the buffer acknowledged."
        )
        self.segments_retransmitted = self._counter(
            "segments_retransmitted_total",
            "segments",
            "Segments sent again because no acknowledgement came in time.",
        )
        self.payload_bytes = self._counter(
            "payload_bytes_total", "bytes", "Bytes of experience sent, retransmissions included."
        )
        self.seconds = self._by_stage(
            ("environment", "acting", "credit_wait", "weights_wait", "shipping"),
            "Time spent: stepping environments, choosing actions, waiting for credit of the buffer, "
            "waiting for weights, packing and sending segments.",
        )
        self.policy_version = self._gauge(
            "policy_version", "version", "Policy version that acts now; -1 before the first.", -1
        )
        self.credit_available = self._gauge(
            "credit_available_bytes", "bytes", "Experience that may be sent before more is granted."
        )
        self.unacked_segments = self._gauge(
            "unacked_segments",
            "segments",
            "Segments kept until the buffer acknowledges them; the most in the last second.",
        )
        self.weights_applied = self._counter(
            "weights_applied_total", "versions", "Policy versions received whole and applied."
        )
        self.weights_rejected = self._by_reason(
            "weights_rejected_total", "versions", "Policy versions received and not applied."
        )
        self.messages_rejected = self._by_reason(
            "messages_rejected_total", "messages", "Messages that could not be accepted; dropped."
        )
        self.links = self._links()


class BufferMetrics(Metrics):
    role = "buffer"

    def __init__(self) -> None:
        super().__init__()
        self.segments_stored = self._counter(
            "segments_stored_total", "segments", "Segments stored, each counted once."
        )
        self.segments_duplicate = self._counter(
            "segments_duplicate_total",
            "segments",
            "Segments received again after they were stored; dropped.",
        )
        self.messages_rejected = self._by_reason(
            "messages_rejected_total", "messages", "Messages that could not be accepted; dropped."
        )
        self.segments_evicted = self._by_reason(
            "segments_evicted_total",
            "segments",
            "Stored segments removed before any were trained on.",
        )
        self.environment_steps_inserted = self._counter(
            "environment_steps_inserted_total", "steps", "Environment steps stored."
        )
        self.transitions_sampled = self._counter(
            "transitions_sampled_total", "transitions", "Transitions handed to the learner."
        )
        self.fill = self._gauge("fill_ratio", "ratio", "Share of the capacity in use, 0 to 1.")
        self.stored_steps = self._gauge("stored_steps", "steps", "Environment steps held now.")
        self.policy_lag = self._histogram(
            "policy_lag_versions",
            "versions",
            "Newest policy version minus the one that acted, when a segment or transition is sampled.",
            LAG_BUCKETS,
        )
        self.data_age = self._histogram(
            "data_age_seconds",
            "seconds",
            "Time from storing to sampling of a segment or transition.",
            SECONDS_BUCKETS,
        )
        self.rollouts_connected = self._gauge(
            "rollouts_connected", "rollouts", "Rollouts that sent a message recently."
        )
        self.applications_connected = self._gauge(
            "applications_connected",
            "applications",
            "Processes of applications that sent a message recently.",
        )
        self.application_refused = self._by_reason(
            "application_refused_total",
            "occurrences",
            "What applications report: segments that could not be delivered or were too old, late and missing rewards, "
            "and calls with invalid values.",
        )
        self.credit_granted = self._gauge(
            "credit_granted_bytes", "bytes", "Credit granted to rollouts and not used yet."
        )
        self.learner_wait_seconds = self._counter(
            "learner_wait_seconds_total",
            "seconds",
            "Time in which the learner waited for data and the buffer had none to deliver.",
        )
        self.peers_fenced = self._counter(
            "peers_fenced_total",
            "peers",
            "Peers refused after repeated malformed messages or as outdated.",
        )
        self.batches_set_aside = self._counter(
            "batches_set_aside_total",
            "batches",
            "Batches set aside because the learner died twice while it trained on them.",
        )
        self.batches_retransmitted = self._counter(
            "batches_retransmitted_total", "batches", "Batches sent to the learner again."
        )
        self.links = self._links()


class LearnerMetrics(Metrics):
    role = "learner"

    def __init__(self) -> None:
        super().__init__()
        self.policy_version = self._gauge(
            "policy_version", "version", "Newest policy version published; -1 before the first.", -1
        )
        self.updates = self._counter("updates_total", "updates", "Batches trained on.")
        self.samples = self._counter(
            "samples_total", "transitions", "Transitions trained on, each time it is used."
        )
        self.steps_consumed = self._counter(
            "steps_consumed_total", "steps", "Environment steps trained on, each counted once."
        )
        self.mean_return = self._gauge(
            "mean_return", "reward", "Mean return of the last 100 training episodes.", math.nan
        )
        self.best_return = self._gauge("best_return", "reward", "Highest mean return.", math.nan)
        self.episode_return = self._gauge(
            "episode_return", "reward", "Return of the training episode that ended last.", math.nan
        )
        self.episode_length = self._gauge(
            "episode_length_steps",
            "steps",
            "Length of the training episode that ended last.",
            math.nan,
        )
        self.episode_discounted_return = self._gauge(
            "episode_discounted_return",
            "reward",
            "Discounted return of the training episode that ended last.",
            math.nan,
        )
        info_text = (
            "Numbers of environment.info of the training episode that ended last; NaN for none."
        )
        info = self._name(
            "episode_info", "gauge", "as named", info_text, "name", f"at most {OPEN_LABEL_LIMIT}"
        )
        self.episode_info = Labelled(
            Gauge(info, info_text, ["name"], registry=self.registry), (), True
        )
        help_text = (
            "Metrics that the algorithm reports for its last update: losses, entropy and others."
        )
        name = self._name(
            "metric", "gauge", "as named", help_text, "name", f"at most {OPEN_LABEL_LIMIT}"
        )
        self.metric = Labelled(Gauge(name, help_text, ["name"], registry=self.registry), (), True)
        self.not_finite = self._counter(
            "updates_not_finite_total",
            "updates",
            "Updates of which a metric was NaN or infinite while the network's weights were not.",
        )
        self.seconds = self._by_stage(
            LEARNER_STAGES,
            "Time spent: waiting for data, training, publishing weights, saving checkpoints.",
        )
        self.policy_lag = self._histogram(
            "policy_lag_versions",
            "versions",
            "Policy version trained minus the one that acted, for each segment or batch.",
            LAG_BUCKETS,
        )
        self.lag_bound = self._gauge(
            "policy_lag_bound_versions",
            "versions",
            "Highest policy lag that the job allows; NaN without a bound.",
            math.nan,
        )
        self.lag_above_bound = self._counter(
            "policy_lag_above_bound_total",
            "segments",
            "Segments trained on with a policy lag above the bound.",
        )
        self.checkpoints = self._counter("checkpoints_total", "checkpoints", "Checkpoints saved.")
        self.checkpoint_failures = self._counter(
            "checkpoint_failures_total", "checkpoints", "Checkpoints that could not be saved."
        )
        self.checkpoint_last_success = self._gauge(
            "checkpoint_last_success_timestamp_seconds",
            "seconds",
            "Unix time of the last checkpoint saved; 0 before the first.",
        )
        self.checkpoint_duration = self._histogram(
            "checkpoint_duration_seconds",
            "seconds",
            "Time to save one checkpoint.",
            SECONDS_BUCKETS,
        )
        self.checkpoint_interval = self._gauge(
            "checkpoint_interval_seconds",
            "seconds",
            "Configured longest time between two checkpoints; NaN in strict mode, which saves at "
            "boundaries.",
            math.nan,
        )
        self.weights_sent_bytes = self._counter(
            "weights_sent_bytes_total", "bytes", "Bytes of weights sent to rollouts and evaluators."
        )
        self.subscribers = self._gauge(
            "subscribers", "processes", "Rollouts and evaluators that fetch weights."
        )
        self.sink_failures = self._by_sink(
            "sink_failures_total", "failures", "Failed attempts of a sink to write records."
        )
        self.gpu_memory = self._gauge(
            "gpu_memory_bytes",
            "bytes",
            "Memory that the learner holds on its GPU; NaN without one.",
            math.nan,
        )
        self.gpu_use = self._gauge(
            "gpu_use_ratio",
            "ratio",
            "Share of the time in which the learner's GPU works; NaN where it is not known.",
            math.nan,
        )
        self.hook_failures = self._counter(
            "hook_failures_total",
            "failures",
            "Calls of the job's hooks that raised, or returned something else than they may.",
        )
        self.restarts = self._gauge(
            "restarts",
            "restarts",
            "Number of times that the learner resumed from a checkpoint in this run.",
        )
        self.segments_duplicate = self._counter(
            "segments_duplicate_total",
            "segments",
            "Segments received from the buffer a second time; dropped.",
        )
        self.messages_rejected = self._by_reason(
            "messages_rejected_total", "messages", "Messages that could not be accepted; dropped."
        )
        self.links = self._links()


class EvaluatorMetrics(Metrics):
    role = "evaluator"

    def __init__(self) -> None:
        super().__init__()
        self.evaluations = self._counter(
            "evaluations_total", "evaluations", "Evaluations finished."
        )
        last = "return of an episode in the last evaluation."
        self.return_mean = self._gauge("return_mean", "reward", f"Mean {last}", math.nan)
        self.return_std = self._gauge(
            "return_std", "reward", f"Standard deviation of the {last}", math.nan
        )
        self.return_min = self._gauge("return_min", "reward", f"Lowest {last}", math.nan)
        self.return_max = self._gauge("return_max", "reward", f"Highest {last}", math.nan)
        self.policy_version = self._gauge(
            "policy_version", "version", "Policy version evaluated last; -1 before the first.", -1
        )
        self.episode_seconds = self._histogram(
            "episode_seconds", "seconds", "Time to play one episode.", SECONDS_BUCKETS
        )
        self.messages_rejected = self._by_reason(
            "messages_rejected_total", "messages", "Messages that could not be accepted; dropped."
        )
        self.links = self._links()


ROLES: tuple[Callable[[], Metrics], ...] = (
    RolloutMetrics,
    BufferMetrics,
    LearnerMetrics,
    EvaluatorMetrics,
)


def render(registry: CollectorRegistry) -> bytes:
    """The registry in the Prometheus text format, of type `CONTENT_TYPE`."""
    return generate_latest(registry)


def documentation() -> str:
    """The Markdown of docs/reference/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "<!-- Made by `make generate` from runtime/rljob/telemetry/metrics.py; change it there. -->",
        "",
        "Every role serves these paths:",
        "",
        "| path | content | for |",
        "|---|---|---|",
        "| `/metrics` | the metrics below, and the usual `process_*` and `python_*` ones | everyone |",
        "| `/healthz` | 200 while the role starts and while its loop makes progress, otherwise 503 | everyone |",
        "| `/readyz` | 200 when a rollout or evaluator has weights, a learner was answered by the buffer lately, a buffer listens; 503 while a loop is silent for longer than `stall.timeout` | everyone |",
        "| `/state` | JSON: what the role waits for, what it does, where its main thread is | the job's token |",
        "| `/status` | learner only: its report, as JSON | the job's token |",
        "| `/checkpoint` | learner only: its newest verified checkpoint, as a tar archive | port-forwards |",
        "| `/records` | learner and evaluator: the files that they have written, as a tar archive | port-forwards |",
        "",
        "In a pod, the first three are on port 9090, those with a token on 9091, and all of them on port 9092 of its",
        "loopback. In a local run, the first five are on one port, and the token is in the file `token` of the run's folder;",
        "see [decision 24](../design/decisions/024-who-reads-a-roles-pages.md).",
        "",
        "The scraper adds the labels `namespace`, `rljob` (the job's name), `role` and `pod`; see",
        "[monitoring.md](../how-to/monitoring.md). A return is NaN until there is one.",
        "",
        "A process has at most 200 series. A label takes the values that are named below, or at most",
        f"{OPEN_LABEL_LIMIT} values and then `other`, so no peer can add series without limit. A link is named by what it carries:",
        "`experience` between a rollout and the buffer, `samples` between buffer and learner, `weights` between",
        "the learner and each rollout or evaluator.",
    ]
    for make in ROLES:
        metrics = make()
        lines += ["", f"## {metrics.role.capitalize()}", ""]
        lines += ["| Name | Type | Unit | Labels | Meaning |", "|---|---|---|---|---|"]
        for one in metrics.declared:
            label = f"`{one.label}`: {one.values}" if one.label else ""
            lines.append(f"| `{one.name}` | {one.type} | {one.unit} | {label} | {one.help} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(documentation(), end="")
