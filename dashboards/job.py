"""One job: learning, use of time, policy lag, failures."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards.frame import JOB, OF_OPERATOR, RATE, Section, by_job
from dashboards.parts import Panel, Query, heat, lines, number, or_none, stacked

_LEARNER_STAGES = "rljob_learner_stage_seconds_total"
_ROLLOUT_STAGES = "rljob_rollout_stage_seconds_total"


def _rate(metric: str, more: str = "") -> str:
    return f"rate({metric}{{{JOB}{more}}}[{RATE}])"


def _quantile(share: float, histogram: str) -> str:
    return f"histogram_quantile({share}, sum by (le) ({_rate(f'{histogram}_bucket')}))"


def _shares(stages: str) -> str:
    """Share of each stage in the time of all."""
    total = f"scalar(sum({_rate(stages)}) > 0)"
    return f"sum by (stage) ({_rate(stages)}) / {total}"


def dashboard() -> Dashboard:
    """Job."""
    sections = [
        Section("Learning", _learning()),
        Section("Throughput", _throughput()),
        Section("Where time goes", _time()),
        Section("Freshness", _freshness()),
        Section("Buffer", _buffer()),
        Section("Restarts and checkpoints", _reliability()),
        Section("Resources", _resources()),
    ]
    text = "One RLJob: learning curve, stages, policy lag, buffer, restarts, checkpoints."
    return by_job("job", "rljob / Job", text, sections)


def _learning() -> list[Panel]:
    return [
        number(
            "Mean return",
            "Mean over the last 100 training episodes.",
            units.Short,
            Query(f"max(rljob_learner_mean_return{{{JOB}}})", "return"),
        ),
        number(
            "Best return",
            "Highest mean return so far.",
            units.Short,
            Query(f"max(rljob_learner_best_return{{{JOB}}})", "best"),
        ),
        number(
            "Policy version",
            "Newest version that the learner has published.",
            units.Short,
            Query(f"max(rljob_learner_policy_version{{{JOB}}})", "version"),
        ),
        number(
            "Environment steps",
            "Environment steps per second of all rollouts.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_environment_steps_total')})", "steps"),
        ),
        number(
            "Rollouts",
            "Rollouts connected to the buffer.",
            units.Short,
            Query(f"max(rljob_buffer_rollouts_connected{{{JOB}}})", "rollouts"),
        ),
        number(
            "Checkpoint age",
            "Training time that is lost if the learner fails now.",
            units.Seconds,
            Query(
                "time() - max(rljob_learner_checkpoint_last_success_timestamp_seconds"
                f"{{{JOB}}} > 0)",
                "age",
            ),
        ),
        lines(
            "Return",
            "Training: mean of the last 100 episodes, with exploration. Evaluation, if enabled: greedy episodes "
            "of one policy version.",
            units.Short,
            Query(f"max(rljob_learner_mean_return{{{JOB}}})", "training"),
            Query(f"max(rljob_learner_best_return{{{JOB}}})", "best"),
            Query(f"max(rljob_evaluator_return_mean{{{JOB}}})", "evaluation"),
            width=12,
        ),
        lines(
            "Losses",
            "Values that the algorithm reports for its last update. If a loss keeps growing, training diverges: "
            "lower the learning rate.",
            units.Short,
            Query(f"max by (name) (rljob_learner_metric{{{JOB}}})", "{{name}}"),
            width=6,
        ),
        lines(
            "Episode length",
            "Length of the last training episode.",
            units.Short,
            Query(f"max(rljob_learner_episode_length_steps{{{JOB}}})", "steps"),
            width=6,
        ),
    ]


def _throughput() -> list[Panel]:
    steps, cpu = (
        f"sum({_rate(metric)})"
        for metric in ("rljob_rollout_environment_steps_total", "process_cpu_seconds_total")
    )
    return [
        stacked(
            "Environment steps",
            "By rollout. A lower value than the others indicates a slow node or a slow environment.",
            "ops",
            Query(f"sum by (pod) ({_rate('rljob_rollout_environment_steps_total')})", "{{pod}}"),
        ),
        lines(
            "Updates and samples",
            "Updates of the learner, and transitions used; a transition counts each time it is used.",
            "ops",
            Query(f"sum({_rate('rljob_learner_updates_total')})", "updates"),
            Query(f"sum({_rate('rljob_learner_samples_total')})", "transitions"),
            Query(f"sum({_rate('rljob_rollout_episodes_total')})", "episodes"),
        ),
        lines(
            "Environment steps per core-second",
            "Environment steps divided by the CPU time of all processes.",
            units.Short,
            Query(f"{steps} / ({cpu} > 0)", "steps"),
        ),
    ]


def _time() -> list[Panel]:
    idle = _rate(_LEARNER_STAGES, ',stage="data_wait"')
    waiting = _rate(_ROLLOUT_STAGES, ',stage=~"credit_wait|weights_wait"')
    return [
        stacked(
            "Rollouts",
            "Share of time in each stage. High environment: use a faster environment, or add rollouts. High "
            "credit_wait: the learner is slower than the rollouts.",
            units.PercentUnit,
            Query(_shares(_ROLLOUT_STAGES), "{{stage}}"),
        ),
        stacked(
            "Learner",
            "Share of time in each stage. High data_wait: add rollouts. High update: use a faster learner.",
            units.PercentUnit,
            Query(_shares(_LEARNER_STAGES), "{{stage}}"),
        ),
        lines(
            "Waiting",
            "Share of time that the learner waits for data, and that rollouts wait for credit or for weights. The "
            "side that waits less is the bottleneck.",
            units.PercentUnit,
            Query(f"clamp_max(sum({idle}), 1)", "learner"),
            Query(f"sum({waiting}) / (sum({_rate(_ROLLOUT_STAGES)}) > 0)", "rollouts"),
            most=1,
        ),
    ]


def _freshness() -> list[Panel]:
    lag = "rljob_learner_policy_lag_versions"
    behind = (
        f"scalar(max(rljob_learner_policy_version{{{JOB}}})) "
        f"- max by (pod) (rljob_rollout_policy_version{{{JOB}}})"
    )
    return [
        lines(
            "Policy lag",
            "Policy versions by which experience was behind when it was trained on, and the maximum that the job allows.",
            units.Short,
            Query(_quantile(0.5, lag), "median"),
            Query(_quantile(0.95, lag), "95th percentile"),
            Query(f"max(rljob_learner_policy_lag_bound_versions{{{JOB}}})", "bound"),
        ),
        heat(
            "Policy lag distribution",
            "Number of segments or batches by policy lag.",
            units.Short,
            f"sum by (le) ({_rate(f'{lag}_bucket')})",
        ),
        heat(
            "Age of data",
            "Time from storing to sampling.",
            units.Seconds,
            f"sum by (le) ({_rate('rljob_buffer_data_age_seconds_bucket')})",
        ),
        lines(
            "Rollouts behind",
            "Policy versions by which each rollout is behind the learner. A rollout that stays behind receives no weights.",
            units.Short,
            Query(behind, "{{pod}}"),
            width=24,
        ),
    ]


def _buffer() -> list[Panel]:
    inserted = f"sum({_rate('rljob_buffer_environment_steps_inserted_total')})"
    sampled = f"sum({_rate('rljob_buffer_transitions_sampled_total')})"
    evicted = f"sum by (reason) ({_rate('rljob_buffer_segments_evicted_total')})"
    return [
        lines(
            "Fill",
            "Share of the capacity in use. A replay buffer fills up and stays full.",
            units.PercentUnit,
            Query(f"max(rljob_buffer_fill_ratio{{{JOB}}})", "fill"),
            width=6,
            most=1,
        ),
        lines(
            "In and out",
            "Environment steps stored, and transitions sent to the learner.",
            "ops",
            Query(inserted, "inserted"),
            Query(sampled, "sampled"),
            width=6,
        ),
        lines(
            "Samples per insert",
            "1 for on-policy algorithms; for replay algorithms the configured value.",
            units.Short,
            Query(f"{sampled} / ({inserted} > 0)", "ratio"),
            width=6,
        ),
        lines(
            "Evicted unused",
            "Segments removed before they were trained on, by reason, e.g. older than the lag bound, or after a "
            "restart of the learner.",
            "ops",
            Query(or_none(evicted), "{{reason}}"),
            width=6,
        ),
    ]


def _reliability() -> list[Panel]:
    duration = "rljob_learner_checkpoint_duration_seconds"
    age = f"max(rljob_learner_checkpoint_last_success_timestamp_seconds{{{JOB}}} > 0)"
    return [
        lines(
            "Restarts",
            "Pods and containers replaced since the job started, as counted by the operator.",
            units.Short,
            Query(
                f"max by (role) (rljob_operator_job_restarts_total{{{OF_OPERATOR}}})", "{{role}}"
            ),
            width=6,
        ),
        lines(
            "New processes",
            "Process restarts within five minutes.",
            units.Short,
            Query(f"sum by (role) (changes(process_start_time_seconds{{{JOB}}}[5m]))", "{{role}}"),
            width=6,
        ),
        lines(
            "Checkpoint age",
            "Time since the last checkpoint, and the configured interval.",
            units.Seconds,
            Query(f"time() - {age}", "age"),
            Query(f"max(rljob_learner_checkpoint_interval_seconds{{{JOB}}})", "interval"),
            width=6,
        ),
        lines(
            "Time to save a checkpoint",
            "Training continues meanwhile. Longer than the interval: slow storage.",
            units.Seconds,
            Query(
                f"sum(rate({duration}_sum{{{JOB}}}[15m])) / (sum(rate({duration}_count{{{JOB}}}[15m])) > 0)",
                "mean",
            ),
            width=6,
        ),
    ]


def _resources() -> list[Panel]:
    return [
        lines(
            "CPU",
            "Cores that each process uses. A rollout at 1 is limited by its core.",
            units.Short,
            Query(f"sum by (pod) ({_rate('process_cpu_seconds_total')})", "{{pod}}"),
            width=12,
        ),
        lines(
            "Memory",
            "Resident memory of each process. A pod above its limit is killed.",
            units.BytesIEC,
            Query(f"sum by (pod) (process_resident_memory_bytes{{{JOB}}})", "{{pod}}"),
            width=12,
        ),
        lines(
            "GPU",
            "Share of the time in which the learner's GPU works; 0 without a GPU or its driver's library for Python.",
            units.PercentUnit,
            Query(or_none(f"max(rljob_learner_gpu_use_ratio{{{JOB}}} >= 0)"), "learner"),
            width=12,
            most=1.0,
        ),
        lines(
            "GPU memory",
            "Memory that the learner holds on its GPU; 0 without one.",
            units.BytesIEC,
            Query(or_none(f"max(rljob_learner_gpu_memory_bytes{{{JOB}}} >= 0)"), "learner"),
            width=12,
        ),
    ]
