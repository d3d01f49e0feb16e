"""Flags and variables of the operator: typed, and refused by name."""

from __future__ import annotations

import pytest

from rljob.errors import InputError
from rljob.kube.settings import OperatorSettings
from rljob_operator.config import Config, parse


def test_defaults_are_those_of_the_types() -> None:
    found = parse([], {})
    assert found.identity
    # Outside a pod.
    settings = OperatorSettings(namespace="default")
    assert found == Config(identity=found.identity, settings=settings)


def test_the_operators_pods_are_in_the_namespace_of_its_lease() -> None:
    assert parse(["--lease-namespace=rl"], {}).settings.namespace == "rl"


def test_two_processes_have_two_identities() -> None:
    assert parse([], {}).identity != parse([], {}).identity


def test_variables_and_flags() -> None:
    environment = {
        "RLJOB_NAMESPACES": "a, b,a",
        "RLJOB_LEASE": "no",
        "RLJOB_PORT": "0",
        "RLJOB_IMAGE_PULL_SECRETS": "one,two",
        "RLJOB_WORKER_IMAGE": "w:1",
        "HOME": "/root",
    }
    found = parse(["--worker-image", "w:2", "--resync-seconds=1.5"], environment)
    assert found.namespaces == ("a", "b")
    assert found.lease is False
    assert found.port == 0
    assert found.resync_seconds == 1.5
    assert found.settings.image_pull_secrets == ("one", "two")
    assert found.settings.worker_image == "w:2"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port=x"], {}, "--port: 'x' is not allowed; 0 (any) to 65535"),
        (["--port=70000"], {}, "--port: '70000' is not allowed; 0 (any) to 65535"),
        ([], {"RLJOB_LEASE": "maybe"}, "RLJOB_LEASE: 'maybe' is not allowed; true or false"),
        (["--namespaces=A"], {}, "--namespaces: 'A' is not allowed; names with commas"),
        (["--resync-seconds=nan"], {}, "--resync-seconds: 'nan' is not allowed; seconds"),
        ([], {"RLJOB_LOG_LEVEL": "loud"}, "one of debug, info, warning, error"),
        (["--worker-image="], {}, "--worker-image: '' is not allowed; a reference"),
    ],
)
def test_what_is_not_allowed(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(arguments, environment)
    assert message in str(caught.value)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in vars(Config()):
        if name != "settings":
            assert "--" + name.replace("_", "-") in text
