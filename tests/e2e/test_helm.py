"""The chart on a cluster: installed, tried, upgraded and rolled back under a job that trains, uninstalled.

These tests take the other tests' operator away and give it back.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import OPERATOR, RESTRICTED, install_operator
from tests.e2e.jobs import endless
from tests.e2e.kube import KUBECONFIG, ROOT, Job, Namespace, kubectl, until
from tests.e2e.test_operator import lives
from tests.helm import CHART, helm, succeed

pytestmark = pytest.mark.alone
RELEASE = ("rljob", "--namespace", OPERATOR)
SETTLED = ("--wait", "--timeout=5m")
DEFINITION = "customresourcedefinition/rljobs.rljob.dev"


@pytest.fixture
def vacant(operator: str) -> Iterator[None]:
    """A cluster without an operator and without RLJobs, but for the namespace it will be in."""
    manifests = (*("-f", str(ROOT / "operator" / "manifests")), *("-f", str(ROOT / "crds")))
    kubectl("delete", *manifests, "--ignore-not-found")
    kubectl("create", "namespace", operator)
    kubectl("label", "namespace", operator, RESTRICTED)
    yield
    helm("uninstall", *RELEASE, "--ignore-not-found", "--wait", kubeconfig=KUBECONFIG)
    install_operator()


def run(*arguments: str) -> str:
    return succeed(*arguments, kubeconfig=KUBECONFIG)


def packaged(version: str, folder: Path) -> str:
    """The chart as it is released, under another version."""
    run("package", str(CHART), "--version", version, "--destination", str(folder))
    return str(folder / f"rljob-operator-{version}.tgz")


def first_job(notes: str) -> str:
    """The YAML that the notes say to apply."""
    _, _, rest = notes.partition("<<'END'\n")
    text, _, _ = rest.partition("\n  END\n")
    assert text, notes
    return textwrap.dedent(text)


def is_there(name: str) -> bool:
    return bool(kubectl("get", name, "--ignore-not-found", "-o", "name"))


def goes_on(job: Job, before: set[tuple[str, int]]) -> None:
    """The job trains beyond where it is, in the same pods."""
    job.until_trains(job.steps())
    assert lives(job) == before


def test_a_whole_life(vacant: None, namespace: Namespace, tmp_path: Path) -> None:
    """No pod of a job restarts whatever helm does, and the job outlives the release."""
    said = run("install", *RELEASE, *SETTLED, packaged("0.0.9", tmp_path))
    assert "Phase:          Succeeded" in run("test", *RELEASE, "--timeout=5m")
    namespace.run("apply", "-f", "-", given=first_job(said))
    namespace.job("cartpole").wait("Complete")

    namespace.apply(endless())
    job = namespace.job("x")
    job.until_trains()
    before = lives(job)
    changes = ("--set", "replicas=2", "--set", "operator.pollSeconds=2", "--set", "podLabels.a=b")
    run("upgrade", *RELEASE, *SETTLED, *changes, str(CHART))
    selector = "app.kubernetes.io/name=rljob-operator,a=b"
    until(
        lambda: (
            kubectl("-n", OPERATOR, "get", "pods", "-l", selector, "-o", "name").count("\n") == 2
        ),
        "two operators",
    )
    goes_on(job, before)
    run("rollback", "rljob", "1", "--namespace", OPERATOR, *SETTLED)
    goes_on(job, before)

    assert "[CustomResourceDefinition] rljobs.rljob.dev" in run("uninstall", *RELEASE, "--wait")
    left = ("-n", OPERATOR, "get", "deployments,services,pods,serviceaccounts,roles,rolebindings")
    ours = "app.kubernetes.io/part-of=rljob"
    until(lambda: not kubectl(*left, "-l", ours).strip(), "nothing of the release is left")
    assert is_there(DEFINITION)
    assert lives(job) == before

    run("install", *RELEASE, *SETTLED, "--set", "crds.keep=false", str(CHART))
    goes_on(job, before)
    run("uninstall", *RELEASE, "--wait")
    until(lambda: not is_there(DEFINITION), "the definition is gone")
    until(
        lambda: not namespace.all("pods,deployments,statefulsets,jobs"), "what jobs owned is gone"
    )


def test_rights_in_one_namespace_are_enough(vacant: None, namespace: Namespace) -> None:
    """The operator serves that one; an RLJob elsewhere stays as it is."""
    run("install", *RELEASE, *SETTLED, "--set", f"watchNamespaces={{{namespace.name}}}", str(CHART))
    elsewhere = Namespace("default")
    elsewhere.apply(endless("elsewhere"))
    namespace.apply(endless())
    try:
        namespace.job("x").until_trains()
        assert elsewhere.job("elsewhere").status() == {}
    finally:
        elsewhere.run("delete", "rljob", "elsewhere")
