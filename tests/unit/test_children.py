"""The children of an RLJob: whole manifests against golden files, what changes a hash, and templates.

`python -m tests.unit.test_children` writes the golden files again.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rljob import spec
from rljob.errors import InputError
from rljob.kube import names
from rljob.kube.kinds import Manifest
from rljob.kube.manifests import (
    Children,
    Owner,
    build,
    keys_secret,
    mounted_generations,
    told_keys,
    told_replicas,
)
from rljob.kube.settings import OperatorSettings
from rljob.process.context import job_number
from rljob.spec import RLJob, yamltext
from rljob.spec.roles import LINK_PORTS, ROLES, RoleName
from rljob.wire import keys
from rljob.wire.endpoints import buffer_endpoints, weights_endpoint
from rljob.wire.rotation import KeyOrder
from tests.unit import specs

GOLDEN = Path(__file__).parent / "golden"
JOBS = ("ppo", "dqn", "custom", "applications")
OWNER = Owner("test", "rl", "1")
IMAGES = OperatorSettings(worker_image="worker:1", learner_image="learner:1")
SETTINGS = {
    "ppo": IMAGES,
    "dqn": OperatorSettings(
        worker_image="worker:1",
        learner_image="learner:1",
        image_pull_policy="IfNotPresent",
        restrict_egress=True,
    ),
    "applications": IMAGES,
    "custom": OperatorSettings(
        worker_image="worker:1", learner_image="learner:1", image_pull_secrets=("registry",)
    ),
}


def children(job: RLJob | specs.Job, settings: OperatorSettings = IMAGES, **given: Any) -> Children:
    parsed = job if isinstance(job, RLJob) else spec.parse(job)
    return build(parsed, Owner(parsed.metadata.name, "rl", "0-1-2"), settings, **given)


def every(made: Children) -> list[Manifest]:
    return [*made.shared, *made.workloads.values()]


def key(child: Manifest) -> str:
    return f"{child['kind']}/{child['metadata']['name']}"


def hashes(made: Children) -> dict[str, str]:
    found = {}
    for child in every(made):
        found[key(child)] = child["metadata"]["annotations"][names.HASH_ANNOTATION]
    return found


def pod(workload: Manifest | None) -> dict[str, Any]:
    assert workload is not None
    template: dict[str, Any] = workload["spec"]["template"]
    return template


def main(workload: Manifest | None) -> dict[str, Any]:
    container: dict[str, Any] = pod(workload)["spec"]["containers"][0]
    return container


def told(made: Children) -> RLJob:
    """The job as the pods read it."""
    return spec.parse(found(made, "ConfigMap/test-job")["data"]["job.yaml"])


def found(made: Children, name: str) -> Manifest:
    return next(child for child in every(made) if key(child) == name)


def golden(name: str) -> str:
    made = children(spec.load(GOLDEN / f"{name}.yaml"), SETTINGS[name])
    return "".join(f"---\n{yamltext.dump(child)}" for child in every(made))


@pytest.mark.parametrize("name", JOBS)
def test_golden(name: str) -> None:
    assert golden(name) == (GOLDEN / f"{name}.children.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", specs.GOOD)
def test_every_good_job_has_children_that_know_their_owner(name: str) -> None:
    made = children(specs.GOOD[name])
    job = spec.parse(specs.GOOD[name]).metadata.name
    assert len({key(child) for child in every(made)}) == len(every(made))
    for child in every(made):
        metadata = child["metadata"]
        assert metadata["namespace"] == "rl"
        assert metadata["labels"][names.JOB_NAME_LABEL] == job
        # 63 is the most that a Service, a label or a pod's host name may have.
        assert len(metadata["name"]) <= 63 - len("-abcde")
        json.dumps(child, allow_nan=False)
        if child["kind"] == "PersistentVolumeClaim":
            continue  # It may be one that is kept.
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("RLJob", job, "0-1-2")


def test_without_owner_nothing_is_owned() -> None:
    made = build(spec.parse(specs.job()), None, IMAGES)
    for child in every(made):
        assert "ownerReferences" not in child["metadata"]
        assert "namespace" not in child["metadata"]


# -- what the pods are told ----------------------------------------------------------------------


@pytest.mark.parametrize("name", specs.GOOD)
def test_pods_read_the_job_back(name: str) -> None:
    job = spec.parse({**specs.GOOD[name], "metadata": {"name": "test"}})
    read = told(children(job)).spec
    for section in ("environment", "algorithm", "network", "stop", "strict", "saves_replay"):
        assert getattr(read, section) == getattr(job.spec, section)
    assert read.rollout.envs_per_replica == job.spec.rollout.envs_per_replica
    assert read.buffer == job.spec.buffer.model_copy(update={"storage": None, "template": None})
    assert read.learner.device == job.spec.learner.device
    assert read.seed is not None
    assert (read.evaluation is None) == (job.spec.evaluation is None)


def test_jobs_of_one_name_differ_on_the_wire_and_in_their_seed() -> None:
    job = spec.parse(specs.job())
    one, other = (told(build(job, Owner("test", "rl", uid), IMAGES)) for uid in ("1", "2"))
    assert one.metadata.uid == "1"
    assert job_number(one) != job_number(other)
    assert one.spec.seed != other.spec.seed


def test_seed_of_the_job_is_kept() -> None:
    assert told(children(specs.job(seed=0))).spec.seed == 0


def test_folder_for_checkpoints_is_told_and_a_claim_is_not() -> None:
    path = told(children(specs.job(checkpoint={"storage": {"path": "/data/x"}}))).spec.checkpoint
    assert path.storage is not None
    assert path.storage.path == "/data/x"
    claim = {"storage": {"persistentVolumeClaim": {"claimName": "mine"}}}
    assert told(children(specs.job(checkpoint=claim))).spec.checkpoint.storage is None


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        ({"rollout": {"replicas": 5, "minReplicas": 1, "maxReplicas": 9}}, {"Deployment/test-rollout"}),
        ({"rollout": {"replicas": 2, "maxReplicas": 9}}, set()),
        ({"suspend": True, "activeDeadlineSeconds": 9, "cleanPodPolicy": "All"}, set()),
        ({"ttlSecondsAfterFinished": 1, "pendingDeadlineSeconds": 5}, set()),
        ({"backoffLimit": 9}, {"Job/test-learner"}),
    ],
)  # fmt: skip
def test_what_needs_no_new_pods(change: dict[str, Any], changed: set[str]) -> None:
    before = children(specs.job())
    after = children(specs.job(**change), replicas=told_replicas(before.shared))
    assert {
        name for name, value in hashes(after).items() if hashes(before)[name] != value
    } == changed
    for role in ("rollout", "buffer", "learner"):
        assert pod(before.workloads[role]) == pod(after.workloads[role])


def test_replicas_told_stay_what_they_were() -> None:
    before = children(specs.job(rollout={"replicas": 3}))
    assert told(before).spec.rollout.replicas == told_replicas(every(before)) == 3
    after = children(specs.job(rollout={"replicas": 8}), replicas=told_replicas(before.shared))
    assert after.workloads["rollout"]["spec"]["replicas"] == 8
    assert told(after).spec.rollout.replicas == told_replicas(after.shared) == 3


def test_pods_go_on_when_what_was_told_is_forgotten() -> None:
    before, after = (children(specs.job(rollout={"replicas": count})) for count in (3, 8))
    for role in ("rollout", "buffer", "learner"):
        assert pod(before.workloads[role]) == pod(after.workloads[role])


def test_job_that_became_strict_is_told_of_one_rollout() -> None:
    made = children(specs.job(strict=True, seed=1, rollout={"replicas": 1}), replicas=4)
    assert told(made).spec.rollout.replicas == 1


@pytest.mark.parametrize("text", ["", "0", "-1", "many"])
def test_replicas_that_somebody_else_wrote_are_not_believed(text: str) -> None:
    (first, *_) = copy.deepcopy(children(specs.job()).shared)
    first["metadata"]["annotations"][names.REPLICAS_ANNOTATION] = text
    assert told_replicas([{"kind": "ConfigMap", "metadata": {}}, first]) is None


def test_without_annotations_no_replicas_were_told() -> None:
    made = children(specs.job())
    assert told_replicas([made.workloads["learner"], made.workloads["rollout"]]) is None


_ALL = {"rollout", "buffer", "learner", "evaluator"}


@pytest.mark.parametrize(
    ("change", "restarted"),
    [
        ({"seed": 3}, _ALL),
        ({"algorithm": {"name": "PPO", "config": {"clip": 0.1}}}, _ALL),
        ({"rollout": {"envsPerReplica": 3}}, _ALL),
        ({"stop": {"steps": 2000}}, {"learner"}),
        ({"learner": {"device": "cpu"}}, {"learner"}),
        ({"initFrom": {"run": "/a"}}, {"learner"}),
        ({"learner": {"precision": "bfloat16"}}, {"learner"}),
        ({"checkpoint": {"interval": "1s"}}, {"learner"}),
        ({"evaluation": {"episodes": 1}}, {"evaluator", "learner"}),
        ({"sinks": {"wandb": {"mode": "offline"}}}, {"learner"}),
        ({"hooks": {"entryPoint": "a:B"}}, {"learner"}),
        ({"sinks": {}}, set()),
        ({"code": {"a.py": "b = 1"}}, _ALL),
        ({"codeArchive": {"sha256": "ab" * 32, "size": 5}}, _ALL),
        ({"requirements": ["a==2"]}, _ALL),
        ({"rollout": {"template": {"metadata": {"labels": {"a": "b"}}}}}, {"rollout"}),
        ({"image": "mine:1"}, _ALL),
    ],
)  # fmt: skip
def test_who_is_restarted_by_a_change(change: dict[str, Any], restarted: set[str]) -> None:
    base: dict[str, Any] = {"evaluation": {}, "code": {"a.py": "b = 0"}, "requirements": ["a==1"]}
    before, after = children(specs.job(**base)), children(specs.job(**{**base, **change}))
    differ = {role for role in _ALL if pod(before.workloads[role]) != pod(after.workloads[role])}
    assert differ == restarted
    annotations = [made.workloads["learner"]["metadata"]["annotations"] for made in (before, after)]
    fixed = [found[names.SPEC_HASH_ANNOTATION] for found in annotations]
    assert (fixed[0] != fixed[1]) == ("learner" in restarted)


def test_a_folder_of_code_reaches_the_pods_that_import_it() -> None:
    sha256 = "ab" * 32
    archive = {"sha256": sha256, "size": 900 * 1024 + 1}
    made = children(specs.job(evaluation={}, codeArchive=archive, requirements=["a"]))
    parts = [
        {
            "name": f"test-code-{sha256[:10]}-{n}",
            "items": [{"key": "part", "path": str(n)}],
        }
        for n in range(2)
    ]
    for role in ("rollout", "learner", "evaluator"):
        found = main(made.workloads[role])
        volumes = {
            volume["name"]: volume for volume in pod(made.workloads[role])["spec"]["volumes"]
        }
        sources = volumes["rljob-code-parts"]["projected"]["sources"]
        assert [source["configMap"] for source in sources] == parts
        target = f"/var/lib/rljob-code/{sha256[:16]}"
        options = f"--code-parts /etc/rljob/code-parts --code-files {target}"
        assert options in " ".join(found["args"])
        path = next(each["value"] for each in found["env"] if each["name"] == "PYTHONPATH")
        assert path == f"{target}:{names.PACKAGES_FOLDER}"
    assert "--code-parts" not in main(made.workloads["buffer"])["args"]


def test_failures_before_leave_fewer_to_come() -> None:
    for failures, left in ((0, 3), (2, 1), (5, 0)):
        learner = children(specs.job(), failures=failures).workloads["learner"]
        assert learner["spec"]["backoffLimit"] == left


# -- pods ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JOBS)
def test_addresses_are_those_of_the_services(name: str) -> None:
    made = children(spec.load(GOLDEN / f"{name}.yaml"))
    if "rollout" not in made.workloads:
        pytest.skip("applications act in place of rollouts")
    services = {
        child["metadata"]["name"]: {port["port"] for port in child["spec"]["ports"]}
        for child in made.shared
        if child["kind"] == "Service"
    }
    if "rollout" not in made.workloads:
        assert services["scheduler-applications"] == {5555, 5557}
        return
    arguments = main(made.workloads["rollout"])["args"]
    addresses = {flag: arguments[arguments.index(flag) + 1] for flag in ("--buffer", "--learner")}
    buffer = buffer_endpoints(addresses["--buffer"])
    for address in (buffer.experience, buffer.samples, weights_endpoint(addresses["--learner"])):
        host, port = address.removeprefix("tcp://").split(":")
        assert int(port) in services[host]


def test_each_role_has_its_own_secret_only() -> None:
    made = children(specs.job(evaluation={}))
    for role in ROLES:
        order, *secrets = key_sources(made, role)
        assert order == {"configMap": {"name": "test-keys-in-use"}}
        for number, secret in enumerate((source["secret"] for source in secrets), start=1):
            assert secret["name"] == names.keys_secret("test", number)
            files = {item["path"] for item in secret["items"]}
            mine = {f"{role}.secret", *(f"{other}.public" for other in ROLES)}
            token = {names.STATE_TOKEN} if number == 1 else set()
            assert files == {f"{number}/{file}" for file in mine} | token
            assert all(item["path"].endswith(item["key"]) for item in secret["items"])
            # Pods start without generations that do not exist yet, and never without the first.
            assert secret.get("optional", False) is (number > 1)


def key_sources(made: Children, role: RoleName) -> list[dict[str, Any]]:
    volumes = pod(made.workloads[role])["spec"]["volumes"]
    (keys,) = (volume["projected"] for volume in volumes if volume["name"] == "rljob-keys")
    assert keys["defaultMode"] == 0o440
    sources: list[dict[str, Any]] = keys["sources"]
    return sources


def test_pods_stay_while_keys_change_until_they_have_had_all_that_they_name() -> None:
    job = spec.parse(specs.job(evaluation={}))
    before = build(job, OWNER, IMAGES)
    for oldest, current in [(1, 2), (2, 2), (5, 6), (7, 8)]:
        now = build(job, OWNER, IMAGES, keys=KeyOrder(oldest, current))
        assert now.workloads == before.workloads
        assert now.shared != before.shared
    moved = build(job, OWNER, IMAGES, keys=KeyOrder(8, 8))
    assert moved.workloads.keys() == before.workloads.keys()
    assert all(moved.workloads[role] != before.workloads[role] for role in before.workloads)
    names_ = [source["secret"]["name"] for source in key_sources(moved, "rollout")[1:]]
    assert names_ == [f"test-keys-{number}" for number in range(8, 16)]


@pytest.mark.parametrize("oldest", range(1, 30))
def test_pods_can_always_get_one_more_generation(oldest: int) -> None:
    mounted = mounted_generations(KeyOrder(oldest, oldest))
    assert oldest in mounted
    assert oldest + 1 in mounted


def test_pods_are_told_which_keys_are_accepted() -> None:
    job = spec.parse(specs.job())
    made = build(job, OWNER, IMAGES, keys=KeyOrder(1, 2))
    assert told_keys("test", every(made)) == KeyOrder(1, 2)
    assert told_keys("test", ()) is None
    assert told_keys("other", every(made)) is None


def test_keys_are_owned_and_never_change() -> None:
    job = spec.parse(specs.job())
    secret = keys_secret(job, Owner("test", "rl", "1"), {"rollout.public": b"k"})
    assert secret["metadata"]["name"] == "test-keys"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == "1"
    assert secret["data"] == {"rollout.public": "aw=="}
    assert secret["immutable"] is True


@pytest.mark.parametrize(
    ("change", "torch"),
    [
        ({}, set()),
        ({"environment": {"entryPoint": "a:b"}}, set()),
        ({"network": {"entryPoint": "a:b"}}, {"rollout", "evaluator"}),
        ({"networks": {"policy": {"entryPoint": "a:b"}}}, {"rollout", "evaluator"}),
        ({"networks": {"policy": {"config": {"hidden": [8]}}}}, set()),
        ({"algorithm": {"entryPoint": "a:b"}}, {"rollout", "evaluator"}),
        ({"rollout": {"precision": "bfloat16"}}, {"rollout"}),
    ],
)
def test_image_with_torch_where_it_is_needed(change: dict[str, Any], torch: set[str]) -> None:
    made = children(specs.job(evaluation={}, **change))
    for role in _ALL:
        wanted = "learner:1" if role in {*torch, "learner"} else "worker:1"
        assert main(made.workloads[role])["image"] == wanted


def test_images_of_the_user_come_first() -> None:
    template = {"spec": {"containers": [{"name": "rollout", "image": "special:1"}]}}
    made = children(specs.job(image="mine:1", rollout={"template": template}))
    assert main(made.workloads["rollout"])["image"] == "special:1"
    assert (
        main(made.workloads["buffer"])["image"]
        == main(made.workloads["learner"])["image"]
        == "mine:1"
    )


def test_memory_grows_with_the_buffer_up_to_a_limit() -> None:
    def asked(capacity: int) -> int:
        made = children(specs.job(buffer={"capacity": capacity}))
        memory: str = main(made.workloads["buffer"])["resources"]["requests"]["memory"]
        return int(memory.removesuffix("Mi"))

    assert 64 < asked(100_000) < 128
    assert asked(100_000) < asked(1_000_000) < asked(10**10) < 5000


# -- storage ---------------------------------------------------------------------------------------


def test_claim_that_is_kept_has_no_owner() -> None:
    storage = {"volumeClaimTemplate": {"whenDeleted": "Retain"}}
    kept = children(specs.job(checkpoint={"storage": storage}, buffer={"storage": storage}))
    made = {"volumeClaimTemplate": {}}
    gone = children(specs.job(checkpoint={"storage": made}, buffer={"storage": made}))
    for name in ("test-checkpoints", "test-buffer"):
        claims = [found(made, f"PersistentVolumeClaim/{name}") for made in (kept, gone)]
        assert ["ownerReferences" in claim["metadata"] for claim in claims] == [False, True]


def test_claims_take_the_operators_defaults_where_none_are_given() -> None:
    settings = OperatorSettings(checkpoint_size="5Gi", storage_class="slow")
    claim = found(children(specs.job(), settings), "PersistentVolumeClaim/test-checkpoints")
    assert claim["spec"]["storageClassName"] == "slow"
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
    given = {"volumeClaimTemplate": {"storageClassName": "fast"}}
    made = children(specs.job(checkpoint={"storage": given}), settings)
    claim = found(made, "PersistentVolumeClaim/test-checkpoints")
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"


def mounts(workload: Manifest) -> dict[str, dict[str, Any]]:
    """Path in the role's container to the source of what is mounted there."""
    volumes = {volume["name"]: volume for volume in pod(workload)["spec"]["volumes"]}
    return {
        mount["mountPath"]: {**volumes[mount["name"]], **mount}
        for mount in main(workload)["volumeMounts"]
    }


def test_shared_claim_gives_each_job_its_folder() -> None:
    storage = {"persistentVolumeClaim": {"claimName": "mine"}}
    made = children(specs.job(checkpoint={"storage": storage}, buffer={"storage": storage}))
    assert not [child for child in made.shared if child["kind"] == "PersistentVolumeClaim"]
    for workload in (made.workloads["learner"], made.workloads["buffer"]):
        data = mounts(workload)["/var/lib/rljob"]
        assert data["persistentVolumeClaim"] == {"claimName": "mine"}
        assert data["subPath"] == "test"


def test_a_claim_with_weights_is_mounted_in_the_learner_alone() -> None:
    claim = {"persistentVolumeClaim": {"claimName": "mine"}}
    made = children(specs.job(initFrom={"run": "a/checkpoints", **claim}, evaluation={}))
    given = mounts(made.workloads["learner"])["/var/lib/rljob-initial"]
    assert given["persistentVolumeClaim"] == {"claimName": "mine"}
    assert given["readOnly"] is True
    having = [r for r, one in made.workloads.items() if "/var/lib/rljob-initial" in mounts(one)]
    assert having == ["learner"]
    initial = told(made).spec.init_from
    assert initial is not None
    assert initial.run == "/var/lib/rljob-initial/a/checkpoints"
    here = told(children(specs.job(initFrom={"run": "/data/a"}))).spec.init_from
    assert here is not None
    assert here.run == "/data/a"


def test_folder_without_a_volume_is_gone_with_its_pod() -> None:
    storage = {"path": "/mnt/x/../kept/"}
    made = children(specs.job(checkpoint={"storage": storage}, buffer={"storage": storage}))
    assert "emptyDir" in mounts(made.workloads["learner"])["/mnt/kept"]
    assert "emptyDir" in mounts(made.workloads["learner"])["/var/lib/rljob"]
    assert "emptyDir" in mounts(made.workloads["buffer"])["/mnt/kept"]
    assert "--dir /mnt/kept" in " ".join(main(made.workloads["buffer"])["args"])


def test_folder_below_the_roles_own_needs_no_volume() -> None:
    made = children(
        specs.job(checkpoint={"storage": {"path": "a"}}, buffer={"storage": {"path": "b"}})
    )
    for workload in (made.workloads["learner"], made.workloads["buffer"]):
        assert set(mounts(workload)) == {
            "/etc/rljob/job", "/etc/rljob/keys", "/var/lib/rljob", "/tmp"
        }  # fmt: skip
    assert "--dir /var/lib/rljob/b" in " ".join(main(made.workloads["buffer"])["args"])


# -- templates -------------------------------------------------------------------------------------


def templated(template: Any, **fields: Any) -> Manifest:
    """The rollouts of a job with this template."""
    job = specs.job(**fields)
    job["spec"]["rollout"] = {"template": template}
    return children(job).workloads["rollout"]


def contained(**fields: Any) -> dict[str, Any]:
    """A template that says these things of the role's container."""
    return {"spec": {"containers": [{"name": "rollout", **fields}]}}


@pytest.mark.parametrize(
    "template", [{}, {"spec": None}, {"metadata": {}, "spec": {}}, contained()]
)
def test_empty_template_changes_nothing(template: dict[str, Any]) -> None:
    assert pod(templated(template)) == pod(children(specs.job()).workloads["rollout"])


def test_building_leaves_the_job_as_it_was() -> None:
    job = spec.load(GOLDEN / "custom.yaml")
    before = spec.dump(job)
    first, second = children(job), children(job)
    assert first == second
    main(first.workloads["rollout"])["env"][0]["name"] = "changed"
    assert spec.dump(job) == before


def test_unknown_fields_are_the_api_servers_business() -> None:
    made = templated({"spec": {"newField": {"a": 1}, "containers": [{"name": "rollout", "b": 2}]}})
    assert pod(made)["spec"]["newField"] == {"a": 1}
    assert main(made)["b"] == 2


def test_limit_without_request_is_the_request() -> None:
    resources = main(templated(contained(resources={"limits": {"memory": "1Mi"}})))["resources"]
    assert resources == {"requests": {"cpu": "200m"}, "limits": {"memory": "1Mi"}}


def test_request_of_the_user_replaces_ours() -> None:
    resources = main(templated(contained(resources={"requests": {"cpu": 2}})))["resources"]
    assert resources["requests"] == {"cpu": 2, "memory": "128Mi"}


def test_probe_of_the_user_replaces_ours_whole() -> None:
    probe = {"exec": {"command": ["true"]}}
    made = main(templated(contained(livenessProbe=probe, startupProbe=None)))
    assert made["livenessProbe"] == probe
    assert "startupProbe" not in made
    assert "httpGet" in made["readinessProbe"]


def test_security_is_merged_field_by_field() -> None:
    template = contained(securityContext={"readOnlyRootFilesystem": False})
    template["spec"]["securityContext"] = {"runAsUser": 7, "fsGroup": None}
    made = templated(template)
    assert main(made)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": False,
    }
    security = pod(made)["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (7, names.USER)
    assert "fsGroup" not in security


@pytest.mark.parametrize(
    ("code", "path"),
    [(None, "/mine"), ({"a.py": ""}, f"{names.CODE_FOLDER}:/mine")],
)
def test_import_path_of_the_user_comes_after_ours(code: Any, path: str) -> None:
    variable = {"name": "PYTHONPATH", "value": "/mine"}
    env = main(templated(contained(env=[variable]), code=code))["env"]
    assert [v["value"] for v in env if v["name"] == "PYTHONPATH"] == [path]


@pytest.mark.parametrize("place", ["/tmp", "/tmp/", "/var/lib/rljob", "/var/lib"])
def test_volume_of_the_user_takes_the_place_of_ours(place: str) -> None:
    template = contained(volumeMounts=[{"name": "mine", "mountPath": place}])
    template["spec"]["volumes"] = [{"name": "mine", "emptyDir": {"medium": "Memory"}}]
    made = templated(template)
    hidden = "rljob-tmp" if place.startswith("/tmp") else "rljob-data"
    assert hidden not in {volume["name"] for volume in pod(made)["spec"]["volumes"]}
    assert hidden not in {mount["name"] for mount in main(made)["volumeMounts"]}
    assert mounts(made)[place]["emptyDir"] == {"medium": "Memory"}


def test_volume_of_the_user_hides_nothing_that_the_role_reads() -> None:
    made = templated(contained(volumeMounts=[{"name": "mine", "mountPath": "/etc"}]))
    paths = {mount["mountPath"] for mount in main(made)["volumeMounts"]}
    assert {names.JOB_FOLDER, names.KEYS_FOLDER} < paths


def test_labels_that_select_pods_are_ours() -> None:
    labels = {"team": "blue", names.ROLE_LABEL: "other", names.JOB_NAME_LABEL: "other"}
    made = templated({"metadata": {"labels": labels}})
    found = pod(made)["metadata"]["labels"]
    assert found["team"] == "blue"
    assert made["spec"]["selector"]["matchLabels"].items() <= found.items()


def test_pip_runs_as_the_role_does_but_without_its_keys() -> None:
    template = contained(
        image="special:1",
        env=[{"name": "PIP_INDEX_URL", "value": "https://example.org"}],
        envFrom=[{"secretRef": {"name": "index"}}],
        volumeMounts=[{"name": "certificates", "mountPath": "/certificates"}],
    )
    template["spec"]["volumes"] = [{"name": "certificates", "configMap": {"name": "ca"}}]
    template["spec"]["initContainers"] = [{"name": "first", "image": "x"}]
    made = templated(template, requirements=["a==1", "b[c]>2"])
    first, pip = pod(made)["spec"]["initContainers"]
    assert first["name"] == "first"
    assert pip["image"] == "special:1"
    assert pip["command"][-4:] == ["--target", names.PACKAGES_FOLDER, "a==1", "b[c]>2"]
    assert {"name": "PIP_INDEX_URL", "value": "https://example.org"} in pip["env"]
    assert pip["envFrom"] == [{"secretRef": {"name": "index"}}]
    paths = {mount["mountPath"] for mount in pip["volumeMounts"]}
    assert paths == {names.PACKAGES_FOLDER, "/tmp", "/certificates"}
    assert pip["securityContext"] == main(made)["securityContext"]
    assert (
        "initContainers"
        not in pod(children(specs.job(requirements=["a"])).workloads["buffer"])["spec"]
    )


BAD: dict[str, tuple[Any, str, str]] = {
    "not-a-template": ({"containers": []}, "rollout.template", "has metadata and spec"),
    "spec-is-a-list": ({"spec": []}, "rollout.template.spec", "a mapping"),
    "labels-is-text": ({"metadata": {"labels": "a"}}, "rollout.template.metadata.labels", "'a'"),
    "containers-is-a-mapping": (
        {"spec": {"containers": {"rollout": {}}}}, "rollout.template.spec.containers", "a list"
    ),
    "container-is-text": (
        {"spec": {"containers": ["rollout"]}}, "rollout.template.spec.containers.0", "'rollout'"
    ),
    "container-without-name": (
        {"spec": {"containers": [{"image": "a"}]}},
        "rollout.template.spec.containers.0.name",
        "is required",
    ),
    "container-with-a-number": (
        {"spec": {"containers": [{"name": 3}]}}, "rollout.template.spec.containers.0.name", "3"
    ),
    "container-twice": (
        {"spec": {"containers": [{"name": "rollout"}, {"name": "rollout"}]}},
        "rollout.template.spec.containers.1.name",
        "twice",
    ),
    "command": (
        contained(command=["sh"]), "rollout.template.spec.containers.0.command", "['rljob']"
    ),
    "args": (contained(args=[]), "rollout.template.spec.containers.0.args", "[]"),
    "restart-policy": (
        {"spec": {"restartPolicy": "Never"}}, "rollout.template.spec.restartPolicy", "'Always'"
    ),
    "port-number": (
        contained(ports=[{"containerPort": 80}, {"containerPort": 9090}]),
        "rollout.template.spec.containers.0.ports.1.containerPort",
        "9090",
    ),
    "port-name": (
        contained(ports=[{"name": "metrics", "containerPort": 80}]),
        "rollout.template.spec.containers.0.ports.0.name",
        "metrics",
    ),
    "keys-mount": (
        contained(volumeMounts=[{"name": "a", "mountPath": "/etc/rljob/keys/"}]),
        "rollout.template.spec.containers.0.volumeMounts.0.mountPath",
        "/etc/rljob",
    ),
    "mount-without-path": (
        contained(volumeMounts=[{"name": "a"}]),
        "rollout.template.spec.containers.0.volumeMounts.0.mountPath",
        "is required",
    ),
    "pod-name": (
        contained(env=[{"name": "POD_NAME", "value": "a"}]),
        "rollout.template.spec.containers.0.env.0.name",
        "POD_NAME",
    ),
    "volume-of-ours": (
        {"spec": {"volumes": [{"name": "rljob-keys", "emptyDir": {}}]}},
        "rollout.template.spec.volumes.0.name",
        "rljob-keys",
    ),
    "init-container-of-ours": (
        {"spec": {"initContainers": [{"name": "rljob-requirements"}]}},
        "rollout.template.spec.initContainers.0.name",
        "rljob-requirements",
    ),
    "resources-is-text": (
        contained(resources="many"), "rollout.template.spec.containers.0.resources", "'many'"
    ),
    "limits-is-a-list": (
        contained(resources={"limits": ["cpu"]}),
        "rollout.template.spec.containers.0.resources.limits",
        "a mapping",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_template_that_cannot_be_merged(name: str) -> None:
    template, path, words = BAD[name]
    with pytest.raises(InputError) as raised:
        templated(template)
    assert raised.value.path == path
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("buffer", "buffer.template"),
        ("learner", "learner.template"),
        ("evaluation", "evaluation.template"),
    ],
)
def test_error_names_the_role_that_it_is_about(section: str, path: str) -> None:
    with pytest.raises(InputError) as raised:
        children(specs.job(**{section: {"template": {"spec": 3}}}))
    assert raised.value.path == f"{path}.spec"


# -- network ---------------------------------------------------------------------------------------


def reaches(made: Children, caller: str, called: str, port: int) -> bool:
    """Whether the policies let a pod of one role connect to another's port, as Kubernetes reads them."""

    def allows(rules: list[dict[str, Any]], side: str, role: str) -> bool:
        selected = {"podSelector": {"matchLabels": names.selector("test", role)}}  # type: ignore[arg-type]
        return any(
            (side not in rule or selected in rule[side])
            and port in {entry["port"] for entry in rule["ports"]}
            for rule in rules
        )

    incoming = found(made, f"NetworkPolicy/test-{called}")["spec"]
    outgoing = found(made, f"NetworkPolicy/test-{caller}")["spec"]
    out = "Egress" not in outgoing["policyTypes"] or allows(outgoing["egress"], "to", called)
    return out and allows(incoming["ingress"], "from", caller)


@pytest.mark.parametrize("restrict", [False, True])
def test_roles_reach_what_their_keys_open_and_nothing_else(restrict: bool) -> None:
    made = children(specs.job(evaluation={}), OperatorSettings(restrict_egress=restrict))
    sockets = {
        "experience": ("buffer", LINK_PORTS["experience"]),
        "samples": ("buffer", LINK_PORTS["samples"]),
        "weights": ("learner", LINK_PORTS["weights"]),
    }
    for socket, (called, port) in sockets.items():
        callers = {role for role in ROLES if reaches(made, role, called, port)}
        assert callers == set(keys.ALLOWED[socket])


def test_budgets_let_every_drain_go_on() -> None:
    made = children(specs.job())
    budgets = [child for child in made.shared if child["kind"] == "PodDisruptionBudget"]
    assert {key(child) for child in budgets} == {
        "PodDisruptionBudget/test-buffer", "PodDisruptionBudget/test-learner"
    }  # fmt: skip
    for budget in budgets:
        assert budget["spec"]["minAvailable"] == 0


if __name__ == "__main__":
    for job_name in JOBS:
        (GOLDEN / f"{job_name}.children.yaml").write_text(golden(job_name), encoding="utf-8")
