"""All jobs, and whether the operator is well."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models import units

from dashboards.frame import RATE, Section, of_all
from dashboards.parts import Column, Panel, Query, lines, number, or_none, rows, stacked

_JOBS = 'namespace=~"$namespace",rljob!=""'
_TOLD = 'rljob_namespace=~"$namespace"'
_BY = "by (namespace, rljob)"
_NAME = "{{namespace}}/{{rljob}}"
_OPERATOR = "and on (namespace, instance) rljob_operator_leader"
_JOB_PAGE = (
    "/d/rljob-job?var-datasource=${datasource}&var-namespace=${__data.fields.Namespace}"
    "&var-rljob=${__data.fields.Job}&${__url_time_range}"
)


def _rate(metric: str, matchers: str = _JOBS) -> str:
    return f"rate({metric}{{{matchers}}}[{RATE}])"


def _idle() -> str:
    waiting = _rate("rljob_learner_stage_seconds_total", f'{_JOBS},stage="data_wait"')
    return f"clamp_max(sum {_BY} ({waiting}), 1)"


def dashboard() -> Dashboard:
    """Fleet."""
    text = "Every RLJob in the chosen namespaces, what they cost, and the operator."
    sections = [
        Section("Jobs", _jobs()),
        Section("Cost", _cost()),
        Section("Operator", _operator()),
    ]
    return of_all("fleet", "rljob / Fleet", text, sections)


def _jobs() -> list[Panel]:
    steps = f"sum {_BY} ({_rate('rljob_rollout_environment_steps_total')})"
    columns = (
        Column("Return", f"max {_BY} (rljob_learner_mean_return{{{_JOBS}}})", units.Short, 1),
        Column("Steps/s", steps, units.Short),
        Column("Rollouts", f"max {_BY} (rljob_buffer_rollouts_connected{{{_JOBS}}})", units.Short),
        Column("Learner idle", _idle(), units.PercentUnit),
        Column(
            "Checkpoint age",
            f"time() - max {_BY} "
            f"(rljob_learner_checkpoint_last_success_timestamp_seconds{{{_JOBS}}} > 0)",
            units.Seconds,
        ),
        Column(
            "Restarts",
            f"sum {_BY} (changes(process_start_time_seconds{{{_JOBS}}}[1h]))",
            units.Short,
        ),
    )
    return [
        number(
            "Jobs that train",
            "Jobs of which a buffer answers.",
            units.Short,
            Query(or_none(f"count(rljob_buffer_rollouts_connected{{{_JOBS}}})"), "jobs"),
            width=6,
        ),
        number(
            "Environment steps",
            "Of all jobs together.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_environment_steps_total')})", "steps"),
            width=6,
        ),
        number(
            "Cores at work",
            "CPU time that all processes of all jobs use in each second.",
            units.Short,
            Query(f"sum({_rate('process_cpu_seconds_total')})", "cores"),
            width=6,
        ),
        number(
            "Alerts",
            "Alerts of rljob that fire now; each has a runbook.",
            units.Short,
            Query(or_none('count(ALERTS{alertname=~"RLJob.*",alertstate="firing"})'), "alerts"),
            width=6,
            alarm=1,
        ),
        rows(
            "Jobs",
            "Every job of which processes answer. Restarts are those of processes within the last hour.",
            columns,
            {"namespace": "Namespace", "rljob": "Job"},
            {"Job": _JOB_PAGE},
        ),
        stacked(
            "Jobs by phase",
            "As the operator sees them. Many that are Pending: the cluster is full, or an image is missing.",
            units.Short,
            Query("max by (phase) (rljob_operator_jobs)", "{{phase}}"),
            width=6,
        ),
        lines(
            "Environment steps by job",
            "A job at 0 does not train; the alerts say why.",
            "ops",
            Query(steps, _NAME),
            width=6,
        ),
        lines(
            "Learner idle",
            "Share of its time that each learner waits for data. Near 1: more rollouts would help.",
            units.PercentUnit,
            Query(_idle(), _NAME),
            width=6,
            most=1,
        ),
        lines(
            "Restarts",
            "Pods and containers replaced, as the operator counts them, by job and role in an hour.",
            units.Short,
            Query(
                f"sum by (rljob_namespace, rljob, role) "
                f"(increase(rljob_operator_job_restarts_total{{{_TOLD}}}[1h]))",
                "{{rljob_namespace}}/{{rljob}} {{role}}",
            ),
            width=6,
        ),
    ]


def _cost() -> list[Panel]:
    cpu = f"sum {_BY} ({_rate('process_cpu_seconds_total')})"
    steps = f"sum {_BY} ({_rate('rljob_rollout_environment_steps_total')})"
    return [
        stacked("CPU", "Cores that each job uses.", units.Short, Query(cpu, _NAME)),
        stacked(
            "Memory",
            "Resident memory of each job's processes.",
            units.BytesIEC,
            Query(f"sum {_BY} (process_resident_memory_bytes{{{_JOBS}}})", _NAME),
        ),
        lines(
            "Environment steps per core-second",
            "What a core is good for. It falls when cores work at other things than environments and acting.",
            units.Short,
            Query(f"{steps} / ({cpu} > 0)", _NAME),
        ),
    ]


def _operator() -> list[Panel]:
    requests = f"sum by (verb, code) (rate(rljob_operator_api_requests_total[{RATE}]))"
    look = f"rate(rljob_operator_reconcile_seconds_bucket[{RATE}])"
    return [
        number(
            "Leading",
            "Replicas that act; there is to be one.",
            units.Short,
            Query("sum(rljob_operator_leader)", "leading"),
            width=12,
        ),
        number(
            "Oldest in the queue",
            "How long a job has waited for a look; the least of all replicas, for those that wait for the "
            "Lease take none. Above a minute, nothing that changes is acted on.",
            units.Seconds,
            Query("min(rljob_operator_queue_oldest_seconds)", "oldest"),
            width=12,
            alarm=60,
        ),
        lines(
            "Looks at jobs",
            "How often the operator looked at a job, and how often that failed and is tried again.",
            "ops",
            Query(f"sum(rate(rljob_operator_reconcile_seconds_count[{RATE}]))", "looks"),
            Query(
                or_none(f"sum by (reason) (rate(rljob_operator_errors_total[{RATE}]))"),
                "failed {{reason}}",
            ),
        ),
        lines(
            "Time of a look",
            "With the writes that it led to. It grows with the API server's answers.",
            units.Seconds,
            Query(f"histogram_quantile(0.5, sum by (le) ({look}))", "median"),
            Query(f"histogram_quantile(0.95, sum by (le) ({look}))", "95th percentile"),
        ),
        lines(
            "Calls to the API server",
            "By verb and HTTP status.",
            "reqps",
            Query(requests, "{{verb}} {{code}}"),
        ),
        lines(
            "Learners asked",
            "The operator asks each learner how it goes. Unreachable: a network that refuses, or a learner "
            "that hangs.",
            "ops",
            Query(f"sum by (result) (rate(rljob_operator_polls_total[{RATE}]))", "{{result}}"),
        ),
        lines(
            "Watches",
            "Time since the watch of each kind told of anything. A quiet kind's grows without harm.",
            units.Seconds,
            Query(
                "min by (resource) (rljob_operator_watch_last_event_age_seconds)", "{{resource}}"
            ),
        ),
        lines(
            "Missed changes",
            "Objects of which a watch missed a change. Above 0, that watch is dead; the operator restarts.",
            units.Short,
            Query("max by (resource) (rljob_operator_watch_stale_objects)", "{{resource}}"),
        ),
        lines(
            "Operator's memory",
            "Of each replica. It grows with the number of jobs and pods.",
            units.BytesIEC,
            Query(f"process_resident_memory_bytes {_OPERATOR}", "{{pod}}"),
            width=12,
        ),
        lines(
            "Operator's CPU",
            "Cores that each replica uses.",
            units.Short,
            Query(f"rate(process_cpu_seconds_total[{RATE}]) {_OPERATOR}", "{{pod}}"),
            width=12,
        ),
    ]
