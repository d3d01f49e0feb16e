"""Making, changing and deleting jobs with `rljob`, and its errors, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rljob import spec
from rljob.cli.main import main
from rljob.client.jobs import manifest
from rljob.kube import names
from tests.apiserver import ApiServer
from tests.controlplane import jobs, node
from tests.controlplane.client import COMPLETE, FILE, PATIENCE, Client, ended, until
from tests.unit.clusterjobs import TRAINING
from tests.unit.specs import GOOD, job


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(FILE)
    return path


# ---- submit


def test_a_job_is_submitted_as_it_was_written(rljob: Client, file: Path) -> None:
    out = "rljob.rljob.dev/test created\n"
    assert rljob("submit", str(file), "--set", "rollout.replicas=3") == (0, out, "")
    made = rljob.get()
    assert made is not None
    assert made["spec"]["rollout"]["replicas"] == 3
    # Nobody wrote it, so the API server has put it there.
    assert made["spec"]["backoffLimit"] == 3


def test_every_good_job_is_taken(apiserver: ApiServer, namespace: str) -> None:
    refused = {}
    for name, content in GOOD.items():
        answer = jobs.try_to_create(apiserver, manifest(spec.parse(content)), namespace)
        if answer.status != 201:
            refused[name] = answer.body["message"]
    assert refused == {}


def test_what_is_wrong_is_said_before_anything_is_sent(rljob: Client, file: Path) -> None:
    file.write_text(FILE + "  rollout: {replica: 2}\n")
    code, _, err = rljob("submit", str(file))
    assert (code, err.splitlines()[0]) == (
        2,
        f"{file}:10: rollout.replica: unknown field. Did you mean replicas?",
    )
    file.write_text(FILE.replace("name: PPO", "name: PPO\n    config: {learning_rate: 1}"))
    code, _, err = rljob("submit", str(file))
    assert (code, err.partition(". ")[0]) == (
        2,
        f"{file}:8: algorithm.config.learning_rate: unknown setting of PPO",
    )
    file.write_text(FILE + "  rollout: {template: {spec: {restartPolicy: Never}}}\n")
    code, _, err = rljob("submit", str(file))
    assert (code, err.partition(": ")[2].partition(" ")[0]) == (
        2,
        "rollout.template.spec.restartPolicy:",
    )
    assert rljob.get() is None


def test_what_only_the_api_server_finds_has_its_line(
    rljob: Client, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with an older rljob, which does not know the rule.
    file.write_text(FILE + "  strict: true\n  rollout: {replicas: 1}\n  seed: 0\n")
    sent = manifest(spec.load(file))
    del sent["spec"]["seed"]
    sent["spec"]["rollout"]["replicas"] = 0
    monkeypatch.setattr("rljob.client.jobs.manifest", lambda _: sent)
    code, _, err = rljob("submit", str(file))
    assert code == 2
    assert f"{file}:11: rollout.replicas: 0: should be greater than or equal to 1" in err
    sent["spec"]["rollout"] = {"replicas": 1, "replica": 3}
    assert rljob("submit", str(file))[::2] == (2, f"{file}:11: rollout.replica: unknown field\n")


def test_a_job_that_is_there_is_not_touched(rljob: Client, file: Path) -> None:
    before = rljob.create(job(seed=5))
    rljob.status({"phase": "Training"})
    code, _, err = rljob("submit", str(file))
    assert code == 1
    assert err.startswith(
        f"RLJob test already exists in namespace {rljob.namespace} (Training); delete it"
    )
    after = rljob.get()
    assert after is not None
    assert after["spec"] == before["spec"]


def test_the_namespace_of_the_file_counts(
    rljob: Client, file: Path, apiserver: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    other = apiserver.namespace()
    file.write_text(FILE.replace("name: test", f"name: test\n  namespace: {other}"))
    code, _, err = rljob("submit", str(file))
    assert code == 2
    assert err == (
        f"{file}:4: metadata.namespace: {other} differs from --namespace {rljob.namespace}\n"
    )
    assert main(["submit", str(file), "--kubeconfig", str(apiserver.admin)]) == 0
    assert apiserver.call("GET", jobs.path_of(other, "test")).status == 200


# ---- errors


def test_a_name_that_is_not_there_is_answered_with_those_that_are(rljob: Client) -> None:
    start = f"there is no RLJob cartpol in namespace {rljob.namespace}"
    assert rljob("status", "cartpol") == (1, "", f"{start}; it has no RLJobs\n")
    rljob.create({**job(), "metadata": {"name": "cartpole"}})
    rljob.create({**job(), "metadata": {"name": "other"}})
    for command in ("status", "logs", "suspend", "resume", "delete"):
        assert rljob(command, "cartpol") == (1, "", f"{start}. Did you mean cartpole?\n")
    assert rljob("status", "zzz")[2].endswith("; existing: cartpole, other\n")


def test_what_is_not_allowed_names_verb_and_resource(
    apiserver: ApiServer, namespace: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-n", namespace, "--kubeconfig", str(apiserver.user("jane"))]
    for command, what in (
        (["status"], "list rljobs.rljob.dev in"),
        (["status", "x"], "get rljobs.rljob.dev x in"),
        (["submit", str(file)], "create rljobs.rljob.dev test in"),
    ):
        assert main([*command, *options]) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"not allowed: jane may not {what} namespace {namespace} at https://")
    assert main(["submit", str(file), "-n", "nowhere", "--kubeconfig", str(apiserver.admin)]) == 1
    assert capsys.readouterr().err.startswith("there is no namespace nowhere at https://")


def changed(server: ApiServer, folder: Path, change: Callable[[Any], None]) -> list[str]:
    config = json.loads(server.admin.read_text())
    change(config)
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return ["status", "--kubeconfig", str(path)]


def test_a_server_that_cannot_be_used_is_named(
    apiserver: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def nowhere(config: Any) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"

    def unknown_authority(config: Any) -> None:
        config["clusters"][0]["cluster"] = {"server": apiserver.url}

    def bad_token(config: Any) -> None:
        config["users"][0]["user"] = {"token": "bad"}

    def no_file(config: Any) -> None:
        config["users"][0]["user"] = {"client-certificate": "gone.crt", "client-key": "gone"}

    for change, code, message in (
        (nowhere, 1, "the API server https://127.0.0.1:1 (context test): Connection refused"),
        (unknown_authority, 1, "(context test): unable to get local issuer certificate"),
        (bad_token, 1, "(context test) rejected your credentials; log in again"),
        (no_file, 2, "File does not exist"),
    ):
        assert main(changed(apiserver, tmp_path, change)) == code
        assert message in capsys.readouterr().err


def test_an_api_server_that_is_busy_is_asked_again(rljob: Client, tmp_path: Path) -> None:
    rljob.create()
    with node.running(rljob.server, rljob.namespace, tmp_path) as before:
        rljob.kubeconfig = before.kubeconfig
        before.busy = 3
        assert rljob("suspend", "test")[0] == 0
        before.busy = 100
        code, _, err = rljob("status", "test")
        assert code == 1
        assert err.endswith("(429)\n")


# ---- changes


def test_suspending_and_resuming_may_be_repeated(rljob: Client) -> None:
    rljob.create()
    full = "rljob.rljob.dev/test"
    assert rljob("suspend", "test")[1].startswith(f"{full} suspended: the learner saves")
    assert rljob("suspend", "test")[:2] == (0, f"{full} is already suspended\n")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is True
    rljob.status(TRAINING)
    assert rljob("resume", "test")[:2] == (0, f"{full} resumed: it starts at step 80,000\n")
    assert rljob("resume", "test")[:2] == (0, f"{full} is not suspended\n")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["suspend"] is False


def test_scaling_changes_the_rollouts_within_their_bounds(rljob: Client) -> None:
    rljob.create(job(rollout={"replicas": 2, "maxReplicas": 4}))
    full = "rljob.rljob.dev/test"
    assert rljob("scale", "test", "--replicas", "4")[1] == f"{full} scaled from 2 to 4 rollouts\n"
    assert rljob("scale", "test", "--replicas", "4")[1] == f"{full} already has 4 rollouts\n"
    code, _, err = rljob("scale", "test", "--replicas", "5")
    assert code == 2
    assert err.startswith("rollout")
    found = rljob.get()
    assert found is not None
    assert found["spec"]["rollout"]["replicas"] == 4


def test_rotating_keys_asks_for_the_next_generation_once(rljob: Client) -> None:
    rljob.create(job())

    def asked() -> str:
        code, out, err = rljob("rotate-keys", "test")
        assert code == 0, err
        assert "kubectl wait --for=condition=KeysCurrent --timeout=15m rljob.rljob.dev/test" in out
        found = rljob.get()
        assert found is not None
        text: str = found["metadata"]["annotations"][names.KEYS_ANNOTATION]
        assert out.startswith(f"rljob.rljob.dev/test gets keys {text}.")
        return text

    def told(generation: int, holds: bool) -> None:
        said = {"type": "KeysCurrent", "status": str(holds), "reason": "R", "message": ""}
        said |= {"lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1}
        rljob.status({"keysGeneration": generation, "conditions": [said]})

    assert asked() == "2"
    told(1, holds=False)
    assert asked() == "2", "the change is in progress"
    told(2, holds=False)
    assert asked() == "2", "the change is in progress"
    told(2, holds=True)
    assert asked() == "3"


def test_a_job_that_has_ended_is_not_changed(rljob: Client) -> None:
    rljob.create()
    rljob.status({"phase": "Complete", "conditions": COMPLETE})
    for command in (["suspend", "test"], ["resume", "test"], ["scale", "test", "--replicas", "3"]):
        code, _, err = rljob(*command)
        assert code == 1
        assert err.startswith("test has ended (Complete)")


def test_a_job_is_deleted(rljob: Client) -> None:
    rljob.create()
    assert rljob("delete", "test")[:2] == (0, 'rljob.rljob.dev "test" deleted\n')
    assert rljob.get() is None


def test_waiting_for_a_deletion_ends_when_all_is_gone(rljob: Client) -> None:
    rljob.create()
    process = rljob.start("delete", "test", "--wait")
    with ended(process):
        going = until(
            lambda: "deletionTimestamp" in (rljob.get() or {}).get("metadata", {}), "the deletion"
        )
        assert going
        assert process.poll() is None
        # There is no garbage collector here: it would do this once the pods are gone.
        patch = {"metadata": {"finalizers": []}}
        path = jobs.path_of(rljob.namespace, "test")
        assert rljob.server.call("PATCH", path, patch, jobs.MERGE).status == 200
        out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, 'rljob.rljob.dev "test" deleted\n')


def test_who_may_edit_a_namespace_may_do_all_of_this(apiserver: ApiServer, namespace: str) -> None:
    """What the commands ask for is in Kubernetes' own roles and in those that come with the operator."""
    roles = Path(__file__).parents[2] / "operator" / "manifests" / "30-user-roles.yaml"
    assert apiserver.kubectl("apply", "-f", str(roles)).returncode == 0
    # Without a controller manager `edit` has no rules; these are what it is put together from.
    for role in (
        *("system:aggregate-to-view", "system:aggregate-to-edit"),
        *("rljob-view", "rljob-edit"),
    ):
        name = role.replace(":", "-")
        made = apiserver.kubectl(
            *("create", "rolebinding", name, f"--clusterrole={role}", "--user=eve"),
            *("-n", namespace),
        )
        assert made.returncode == 0, made.stderr
    eve = apiserver.user("eve")
    needed = {
        "rljobs.rljob.dev": ("get", "list", "create", "patch", "delete"),
        "rljobs.rljob.dev/scale": ("patch",),
        "pods": ("get", "list", "create", "delete"),
        "pods/log": ("get",),
        "pods/portforward": ("create", "get"),
        "events": ("list",),
        "jobs.batch": ("get",),
    }
    for resource, verbs in needed.items():
        kind, _, sub = resource.partition("/")
        more = [f"--subresource={sub}"] if sub else []
        for verb in verbs:
            answer = apiserver.kubectl(
                "auth", "can-i", verb, kind, *more, "-n", namespace, kubeconfig=eve
            )
            assert answer.stdout.strip() == "yes", (verb, resource)
