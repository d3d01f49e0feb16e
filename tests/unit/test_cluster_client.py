"""The client of a cluster without one: which cluster is meant, what its errors say, what may be imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rljob.client.access import Access, Choice, find
from rljob.client.errors import AlreadyExists, Call, NotFound, ServerAddress, Unavailable, refused
from rljob.client.jobs import manifest
from rljob.errors import InputError
from rljob.spec import parse
from tests.unit.specs import GOOD, Job, job

# ---- which cluster


def kubeconfig(path: Path, current: str | None, **namespaces: str | None) -> Path:
    """A kubeconfig with one context for each name, each with its namespace."""
    contexts = [
        {"name": name, "context": {"cluster": name} | ({"namespace": own} if own else {})}
        for name, own in namespaces.items()
    ]
    content: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "contexts": contexts}
    if current is not None:
        content["current-context"] = current
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """Credentials as a pod finds them."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("t")
    (folder / "namespace").write_text("inside\n")
    return folder


INSIDE = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


def test_the_current_context_and_its_namespace_are_taken(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "a", "one", one="rl", two=None)
    environment = {"KUBECONFIG": str(file)}
    assert find(Choice(), environment) == Access((file,), "one", "rl")
    assert find(Choice(context="two"), environment) == Access((file,), "two", "default")
    assert find(Choice(namespace="x"), environment) == Access((file,), "one", "x")


def test_of_several_kubeconfigs_the_first_that_says_something_counts(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", None, one="first")
    second = kubeconfig(tmp_path / "b", "one", one="second", two="other")
    third = kubeconfig(tmp_path / "c", "two")
    environment = {"KUBECONFIG": f"{first}::{tmp_path / 'missing'}:{second}:{third}"}
    assert find(Choice(), environment) == Access((first, second, third), "one", "first")
    assert find(Choice(context="two"), environment).namespace == "other"


def test_the_option_replaces_the_variable(tmp_path: Path) -> None:
    file, other = (kubeconfig(tmp_path / name, "one", one=name) for name in "ab")
    assert find(Choice(kubeconfig=file), {"KUBECONFIG": str(other)}).namespace == "a"


def test_without_a_kubeconfig_a_pod_means_its_own_cluster(account: Path, tmp_path: Path) -> None:
    environment = {**INSIDE, "KUBECONFIG": str(tmp_path / "missing")}
    assert find(Choice(), environment, account) == Access((), None, "inside")
    assert find(Choice(namespace="x"), environment, account) == Access((), None, "x")
    file = kubeconfig(tmp_path / "a", "one", one="rl")
    assert find(Choice(), {**INSIDE, "KUBECONFIG": str(file)}, account).namespace == "rl"


@pytest.mark.parametrize(
    ("choice", "content", "message"),
    [
        (Choice(context="three"), {"a": "one"}, "no context 'three' in {a}; available: one, two"),
        (Choice(), {"a": None}, "{a}: no current context is set; select one with --context"),
        (Choice(), {}, "no cluster is configured: KUBECONFIG is {a}, which does not exist"),
    ],
)
def test_what_is_missing_is_named(
    choice: Choice, content: dict[str, str | None], message: str, tmp_path: Path
) -> None:
    for name, current in content.items():
        kubeconfig(tmp_path / name, current, one=None, two=None)
    file = tmp_path / "a"
    with pytest.raises(InputError) as caught:
        find(choice, {"KUBECONFIG": str(file)})
    assert message.format(a=file) in str(caught.value)


@pytest.mark.parametrize("text", ["- 1", "contexts: [1]", "contexts: [{}]", "a: [", "\x00"])
def test_what_is_no_kubeconfig_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text(text)
    with pytest.raises(InputError, match=f"^{file}: not a kubeconfig$"):
        find(Choice(kubeconfig=file))
    with pytest.raises(InputError, match="b: no such file"):
        find(Choice(kubeconfig=tmp_path / "b"))


def test_a_choice_can_be_repeated_in_another_command() -> None:
    assert Choice().flags == ""
    chosen = Choice(Path("my config"), "kind", "rl")
    assert chosen.flags == " --kubeconfig 'my config' --context kind -n rl"


# ---- what an API server says

SERVER = ServerAddress("https://api:6443", "kind")
GET = Call("get", "rljobs.rljob.dev", "rl", "x")


def status(code: int, message: str, **more: Any) -> bytes:
    return json.dumps({"kind": "Status", "code": code, "message": message, **more}).encode()


@pytest.mark.parametrize(
    ("call", "code", "body", "kind", "message"),
    [
        (GET, 404, status(404, "gone"), NotFound, "there is no rljobs.rljob.dev x in namespace rl"),
        (
            Call("create", "pods", "rl"),
            404,
            status(404, "", details={"kind": "namespaces", "name": "rl"}),
            NotFound,
            "there is no namespace rl at https://api:6443 (context kind)",
        ),
        (
            Call("create", "pods", "rl", "x"),
            409,
            status(409, "", reason="AlreadyExists"),
            AlreadyExists,
            "pods x in namespace rl already exists",
        ),
        (
            Call("list", "rljobs.rljob.dev"),
            403,
            status(403, 'rljobs is forbidden: User "jane" cannot list resource "rljobs"'),
            None,
            "not allowed: jane may not list rljobs.rljob.dev in any namespace at https://api:6443",
        ),
        (
            Call("create", "pods", "rl", "x"),
            403,
            status(403, "exceeded quota: small"),
            None,
            "the cluster refused to create pods x in namespace rl: exceeded quota: small",
        ),
        (GET, 401, status(401, "Unauthorized"), None, "rejected your credentials"),
        (GET, 404, b"404 page not found\n", None, "has no RLJob resource; install the operator first"),
        (GET, 503, b"upstream\n", Unavailable, "did not get rljobs.rljob.dev x in namespace rl: upstream (503)"),
        (GET, 418, b"", None, "the response has no message (418)"),
        (
            Call("create", "rljobs.rljob.dev", "rl", "x"),
            400,
            status(400, 'strict decoding error: unknown field "spec.rollout.replica", unknown field "spec.x"'),
            InputError,
            "rollout.replica: unknown field\nx: unknown field",
        ),
        (GET, 400, status(400, "container is waiting"), InputError, "refused to get rljobs.rljob.dev x"),
    ],
)  # fmt: skip
def test_each_refusal_is_one_sentence(
    call: Call, code: int, body: bytes, kind: type | None, message: str
) -> None:
    error = refused(call, SERVER, code, body)
    assert message in str(error)
    assert kind is None or isinstance(error, kind)


def test_only_what_may_pass_counts_as_transient() -> None:
    codes = (400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504)
    transient = [code for code in codes if isinstance(refused(GET, SERVER, code, b""), Unavailable)]
    assert transient == [429, 500, 502, 503, 504]


def test_fields_are_named_as_in_the_file() -> None:
    causes = [
        {
            "field": "spec.rollout.replicas",
            "message": "Invalid value: 0: spec.rollout.replicas in body should be at least 1",
        },
        {"field": "spec.code[a.py]", "message": "Too long"},
        {"field": "<nil>", "message": "some validation rules were not checked: no such key"},
    ]
    body = status(422, "is invalid", details={"causes": causes})
    error = refused(GET, SERVER, 422, body)
    assert str(error) == "rollout.replicas: 0: should be at least 1\ncode.a.py: Too long"
    assert error.exit_code == 2


# ---- what is sent


@pytest.mark.parametrize("name", GOOD)
def test_what_is_sent_is_what_was_written(name: str) -> None:
    written: Job = GOOD[name]
    read = parse(written)
    sent = manifest(read)
    assert parse(sent) == parse({**written, "metadata": sent["metadata"]})
    # What nobody wrote is the API server's to fill in.
    assert set(sent["spec"]) <= set(written["spec"])
    assert "uid" not in sent["metadata"]


def test_a_null_in_a_section_of_ones_own_is_sent() -> None:
    kwargs = {"render_mode": None}
    sent = manifest(parse(job(environment={"id": "A", "kwargs": kwargs})))
    assert sent["spec"]["environment"] == {"id": "A", "kwargs": kwargs}


# ---- what is imported


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("command", ["", "submit", "status", "logs", "get-policy", "delete"])
def test_help_does_not_import_the_client(command: str) -> None:
    code = (
        "import sys\nfrom rljob.cli.main import main\n"
        f"try: main('{command} --help'.split())\nexcept SystemExit: pass\n"
        "assert not {'kubernetes', 'numpy', 'rich', 'urllib3'} & set(sys.modules), sys.modules"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_without_the_client_the_command_says_how_to_get_it(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "a", "one", one=None)
    code = f"""
import importlib.abc, sys
from rljob.cli.main import main

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "kubernetes":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.exit(main(["status", "--kubeconfig", {str(file)!r}]))
"""
    done = python(code)
    assert done.returncode == 2
    assert done.stderr == ("rljob status needs kubernetes, part of: pip install 'rljob[client]'\n")


def test_the_client_needs_nothing_that_only_trains() -> None:
    modules = ("policy", "logs", "watch", "detail", "table", "reader", "api")
    blocked = ("numpy", "torch", "zmq", "prometheus_client", "gymnasium", "safetensors", "kopf")
    code = (
        f"import sys, importlib\nfor name in {blocked}: sys.modules[name] = None\n"
        f"for name in {modules}: importlib.import_module('rljob.client.' + name)\n"
        "assert 'kubernetes' not in sys.modules"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
