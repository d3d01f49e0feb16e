"""The table of roles: complete, consistent with the spec, and the same as what reads it."""

from __future__ import annotations

import importlib
import inspect
from typing import get_args

import pytest

from rljob import spec
from rljob.kube.manifests import build
from rljob.kube.settings import OperatorSettings
from rljob.spec import RLJobSpec
from rljob.spec.roles import (
    CLIENTS,
    LINK_PORTS,
    NEEDED,
    ROLES,
    SERVERS,
    START_ORDER,
    LinkName,
    RoleName,
    clients,
    role_counts,
    server,
)
from rljob.telemetry import metrics
from tests.unit import specs

BOTH = specs.job(evaluation={}, rollout={"replicas": 3})


def test_the_table_has_every_role_and_every_link() -> None:
    assert tuple(ROLES) == get_args(RoleName)
    assert tuple(LINK_PORTS) == get_args(LinkName)
    assert len(set(LINK_PORTS.values())) == len(LINK_PORTS)


def test_every_role_has_metrics() -> None:
    assert [make().role for make in metrics.ROLES] == list(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_can_be_started(role: RoleName) -> None:
    main = importlib.import_module(ROLES[role].module).main
    assert list(inspect.signature(main).parameters) == ["context"]


@pytest.mark.parametrize("role", ROLES)
def test_sections_are_those_of_the_spec(role: RoleName) -> None:
    definition = ROLES[role]
    known = {field.alias for field in RLJobSpec.model_fields.values()}
    assert {definition.section, *definition.unread} <= known
    assert definition.section not in definition.unread
    field = RLJobSpec.model_fields[definition.section]
    assert definition.optional == (field.default is None)


@pytest.mark.parametrize("link", LINK_PORTS)
def test_every_link_has_one_server_and_a_client(link: LinkName) -> None:
    assert [name for name, role in ROLES.items() if link in role.serves] == [server(link)]
    assert clients(link)
    assert server(link) not in clients(link)


def test_every_role_has_a_link() -> None:
    assert [name for name, role in ROLES.items() if not role.serves and not role.uses] == []


def test_orders() -> None:
    assert SERVERS == ("buffer", "learner")
    assert CLIENTS[:2] == ("rollout", "evaluator")
    assert sorted((*SERVERS, *CLIENTS)) == sorted(START_ORDER) == sorted(ROLES)
    assert START_ORDER[:4] == ("learner", "buffer", "rollout", "evaluator")
    assert NEEDED == ("learner", "buffer", "rollout")


def test_replicas_are_those_of_the_spec() -> None:
    assert role_counts(spec.parse(BOTH).spec) == {
        "rollout": 3, "buffer": 1, "learner": 1, "evaluator": 1
    }  # fmt: skip
    assert role_counts(spec.parse(specs.job()).spec) == {"rollout": 2, "buffer": 1, "learner": 1}


def test_where_applications_act_alone_there_are_no_rollouts() -> None:
    alone = specs.application_job(rollout={"applications": {}, "replicas": 3})
    assert role_counts(spec.parse(alone).spec) == {"buffer": 1, "learner": 1}
    both = specs.GOOD["applications-and-rollouts"]
    assert role_counts(spec.parse(both).spec)["rollout"] == 2


def test_workloads_are_of_the_kind_in_the_table() -> None:
    made = build(spec.parse(BOTH), None, OperatorSettings()).workloads
    assert list(made) == ["buffer", "learner", "rollout", "evaluator"]
    for role, manifest in made.items():
        assert manifest["kind"] == ROLES[role].workload
