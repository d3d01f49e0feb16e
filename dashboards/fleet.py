"""All jobs, and the health of the operator."""

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
    text = "RLJobs in the selected namespaces: progress, cost, and the operator."
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
            "Jobs in training",
            "Jobs with a scraped buffer.",
            units.Short,
            Query(or_none(f"count(rljob_buffer_rollouts_connected{{{_JOBS}}})"), "jobs"),
            width=6,
        ),
        number(
            "Environment steps",
            "Environment steps per second of all jobs.",
            "ops",
            Query(f"sum({_rate('rljob_rollout_environment_steps_total')})", "steps"),
            width=6,
        ),
        number(
            "CPU cores in use",
            "CPU time per second of all processes of all jobs.",
            units.Short,
            Query(f"sum({_rate('process_cpu_seconds_total')})", "cores"),
            width=6,
        ),
        number(
            "Alerts",
            "Firing alerts of rljob; each has a runbook.",
            units.Short,
            Query(or_none('count(ALERTS{alertname=~"RLJob.*",alertstate="firing"})'), "alerts"),
            width=6,
            alarm=1,
        ),
        rows(
            "Jobs",
            "All jobs with scraped processes. Restarts: process restarts in the last hour.",
            columns,
            {"namespace": "Namespace", "rljob": "Job"},
            {"Job": _JOB_PAGE},
        ),
        stacked(
            "Jobs by phase",
            "As reported by the operator. Many Pending jobs: the cluster is full, or an image is missing.",
            units.Short,
            Query("max by (phase) (rljob_operator_jobs)", "{{phase}}"),
            width=6,
        ),
        lines(
            "Environment steps by job",
            "A job at 0 does not train; check the alerts.",
            "ops",
            Query(steps, _NAME),
            width=6,
        ),
        lines(
            "Learner idle",
            "Share of time that each learner waits for data. Near 1: add rollouts.",
            units.PercentUnit,
            Query(_idle(), _NAME),
            width=6,
            most=1,
        ),
        lines(
            "Restarts",
            "Pods and containers replaced in one hour, by job and role, as counted by the operator.",
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
            "Efficiency of the CPU cores. It falls when cores do other work than environment steps and inference.",
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
            "Replicas that lead; exactly one is expected.",
            units.Short,
            Query("sum(rljob_operator_leader)", "leading"),
            width=12,
        ),
        number(
            "Oldest in the queue",
            "Waiting time of the oldest job in the queue; the minimum over replicas, because a replica without "
            "the Lease processes no jobs. Above one minute, changes are not processed.",
            units.Seconds,
            Query("min(rljob_operator_queue_oldest_seconds)", "oldest"),
            width=12,
            alarm=60,
        ),
        lines(
            "Reconciles",
            "Reconciles per second, and failed ones, which are retried.",
            "ops",
            Query(f"sum(rate(rljob_operator_reconcile_seconds_count[{RATE}]))", "reconciles"),
            Query(
                or_none(f"sum by (reason) (rate(rljob_operator_errors_total[{RATE}]))"),
                "failed {{reason}}",
            ),
        ),
        lines(
            "Reconcile duration",
            "Including writes. It depends on the response time of the API server.",
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
            "Learner polls",
            "The operator polls each learner for its progress. Unreachable: the network blocks the request, "
            "or the learner hangs.",
            "ops",
            Query(f"sum by (result) (rate(rljob_operator_polls_total[{RATE}]))", "{{result}}"),
        ),
        lines(
            "Watches",
            "Time since the last event of each watch. It grows for a resource without changes.",
            units.Seconds,
            Query(
                "min by (resource) (rljob_operator_watch_last_event_age_seconds)", "{{resource}}"
            ),
        ),
        lines(
            "Missed changes",
            "Objects with a change that a watch missed. Above 0, the watch is broken and the operator restarts.",
            units.Short,
            Query("max by (resource) (rljob_operator_watch_stale_objects)", "{{resource}}"),
        ),
        lines(
            "Operator's memory",
            "Memory of each replica. It grows with the number of jobs and pods.",
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
