"""Metrics: declared once, named as Prometheus wants, bounded, and documented."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.parser import text_string_to_metric_families

from rljob.telemetry import metrics
from rljob.telemetry.metrics import BufferMetrics, LearnerMetrics, RolloutMetrics
from rljob.telemetry.metrics_base import (
    OPEN_LABEL_LIMIT,
    OTHER,
    Declared,
    Labelled,
    Links,
    Metrics,
)
from rljob.wire.refusals import REFUSALS
from rljob.wire.traffic import Traffic

ROOT = Path(__file__).parents[2]
SUFFIX = {"seconds": "_seconds", "bytes": "_bytes", "ratio": "_ratio"}
DECLARED = [(make().role, one) for make in metrics.ROLES for one in make().declared]


@pytest.mark.parametrize(("role", "one"), DECLARED, ids=[one.name for _, one in DECLARED])
def test_name_follows_prometheus(role: str, one: Declared) -> None:
    assert re.fullmatch(f"rljob_{role}_[a-z_]+", one.name)
    assert one.name.endswith("_total") == (one.type == "counter")
    assert one.name.removesuffix("_total").endswith(SUFFIX.get(one.unit, ""))
    assert one.help.endswith(".")
    assert "|" not in one.help
    assert not {"namespace", "rljob", "role", "pod"} & set(one.label.split(", "))
    assert bool(one.label) == bool(one.values)


def test_names_are_unique() -> None:
    names = [one.name for _, one in DECLARED]
    assert len(set(names)) == len(names)


def test_every_declared_metric_is_served_from_the_start() -> None:
    for make in metrics.ROLES:
        made = make()
        families = {
            family.name: family
            for family in text_string_to_metric_families(metrics.render(made.registry).decode())
        }
        for one in made.declared:
            family = families.pop(one.name.removesuffix("_total"))
            assert family.type == one.type
            assert family.documentation == one.help
        assert "process_resident_memory_bytes" in families
        assert not [name for name in families if name.startswith("rljob_")]


def test_every_attribute_is_declared() -> None:
    kinds = (Counter, Gauge, Histogram, Labelled)
    for make in metrics.ROLES:
        made = make()
        attributes = [value for value in vars(made).values() if isinstance(value, kinds)]
        links = sum(isinstance(value, Links) for value in vars(made).values())
        assert len(attributes) + 4 * links == len(made.declared)


def test_values_are_served() -> None:
    made = RolloutMetrics()
    made.environment_steps.inc(3)
    made.seconds["acting"].inc(0.5)
    made.credit_available.set(7)
    value = made.registry.get_sample_value
    assert value("rljob_rollout_environment_steps_total") == 3
    assert value("rljob_rollout_stage_seconds_total", {"stage": "acting"}) == 0.5
    assert value("rljob_rollout_stage_seconds_total", {"stage": "shipping"}) == 0
    assert value("rljob_rollout_credit_available_bytes") == 7
    assert b"_created" not in metrics.render(made.registry)


def test_a_return_is_nan_until_there_is_one() -> None:
    made = LearnerMetrics()
    value = made.registry.get_sample_value("rljob_learner_mean_return")
    assert value is not None
    assert math.isnan(value)


def test_two_of_a_role_share_nothing() -> None:
    one, other = BufferMetrics(), BufferMetrics()
    one.segments_stored.inc()
    assert other.registry.get_sample_value("rljob_buffer_segments_stored_total") == 0


def test_unknown_stage_is_an_error() -> None:
    with pytest.raises(KeyError, match="'actin' is not one of environment, acting"):
        RolloutMetrics().seconds["actin"]


def test_open_label_is_bounded() -> None:
    made = BufferMetrics()
    for i in range(1000):
        made.messages_rejected[f"reason-{i}"].inc()
    text = metrics.render(made.registry).decode()
    lines = [x for x in text.splitlines() if x.startswith("rljob_buffer_messages_rejected_total{")]
    assert len(lines) == OPEN_LABEL_LIMIT + 1
    counted = made.registry.get_sample_value(
        "rljob_buffer_messages_rejected_total", {"reason": OTHER}
    )
    assert counted == 1000 - OPEN_LABEL_LIMIT


def test_links_are_read_when_they_are_asked_for() -> None:
    made, traffic = RolloutMetrics(), Traffic()
    made.links.add("experience", traffic)
    traffic.sent(100)
    traffic.sent(50)
    traffic.received(7)
    value, sent = made.registry.get_sample_value, {"link": "experience", "direction": "sent"}
    assert value("rljob_rollout_link_bytes_total", sent) == 150
    assert value("rljob_rollout_link_messages_total", sent) == 2
    assert value("rljob_rollout_link_bytes_total", {**sent, "direction": "received"}) == 7
    with pytest.raises(KeyError, match="'gossip' is not one of experience"):
        made.links.add("gossip", traffic)


def test_no_process_has_many_series() -> None:
    for make in metrics.ROLES:
        made = make()
        for link in ("experience", "samples", "weights"):
            made.links.add(link, Traffic())  # type: ignore[attr-defined]
        for value in vars(made).values():
            for i in range(1000 if isinstance(value, Labelled) and value.is_open else 0):
                value[f"value-{i}"]
        lines = metrics.render(made.registry).decode().splitlines()
        assert sum(not line.startswith("#") for line in lines) < 200


def test_policy_lag_zero_has_its_own_bucket() -> None:
    made = BufferMetrics()
    made.policy_lag.observe(0)
    made.policy_lag.observe(1)
    assert (
        made.registry.get_sample_value("rljob_buffer_policy_lag_versions_bucket", {"le": "0.0"})
        == 1
    )


def test_documentation_is_the_committed_one() -> None:
    assert metrics.documentation() == (ROOT / "docs" / "reference" / "metrics.md").read_text()


def test_importing_needs_no_torch() -> None:
    code = "import sys, rljob.telemetry.metrics, rljob.telemetry.health, rljob.checkpoints.checkpoint; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_base_class_has_no_metrics_of_its_own() -> None:
    made = Metrics()
    assert made.declared == []


def test_refused_connections_are_shown_by_link_and_reason() -> None:
    made = BufferMetrics()
    traffic = Traffic.of_server(REFUSALS)
    made.links.add("samples", traffic)
    traffic.refused["key"] += 2
    for reason, count in (("key", 2), ("mechanism", 0)):
        labels = {"link": "samples", "reason": reason}
        assert made.registry.get_sample_value("rljob_buffer_link_refused_total", labels) == count
