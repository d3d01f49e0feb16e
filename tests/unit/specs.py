"""Good and bad RLJobs: each bad one with the field and the words that its refusal must hold.

Plain dictionaries in the form of the YAML, so that the same table can be sent to an API server.
"""

from __future__ import annotations

from typing import Any

Job = dict[str, Any]


def job(**spec: Any) -> Job:
    """A small valid job with some fields of its spec replaced; None takes one out."""
    base: Job = {
        "environment": {"id": "CartPole-v1"},
        "algorithm": {"name": "PPO"},
        "stop": {"steps": 1000},
    }
    fields = {key: value for key, value in {**base, **spec}.items() if value is not None}
    return {
        "apiVersion": "rljob.dev/v1alpha1",
        "kind": "RLJob",
        "metadata": {"name": "test"},
        "spec": fields,
    }


def named(name: Any) -> Job:
    return {**job(), "metadata": {"name": name}}


SPACES: Job = {
    "observation": {"type": "Box", "shape": [4]},
    "action": {"type": "Discrete", "choices": 2},
}


def application_job(**spec: Any) -> Job:
    """A small valid job that only applications feed."""
    return job(**{"environment": {"spaces": SPACES}, "rollout": {"applications": {}}, **spec})


def spaced(action: Job, **spaces: Any) -> Job:
    return application_job(environment={"spaces": {**SPACES, "action": action, **spaces}})


STORED = {
    "namespace": "rl",
    "labels": {"app.kubernetes.io/name": "x"},
    "annotations": {"note": "y"},
    "uid": "1-2",
    "resourceVersion": "7",
    "generation": 2,
    "creationTimestamp": "2024-01-01T00:00:00Z",
    "managedFields": [{"manager": "kubectl"}],
}

GOOD: dict[str, Job] = {
    "smallest": job(),
    "longest-name": named("a" * 40),
    "one-letter-name": named("a"),
    "stored-by-kubernetes": {**job(), "metadata": {"name": "test", **STORED}, "status": {"x": 1}},
    "environment-by-path": job(environment={"entryPoint": "my_pkg.envs:make", "kwargs": {"n": 2}}),
    "environment-kwargs": job(environment={"id": "ALE/Pong-v5", "kwargs": {"render_mode": None}}),
    "environment-limited": job(environment={"entryPoint": "a:b", "maxEpisodeSteps": 200}),
    "environment-with-info": job(
        environment={"id": "A", "info": ["score", "lives left", "team/won"], "discount": 0.5}
    ),
    "environment-without-masks": job(environment={"id": "Taxi-v4", "masks": False}),
    "environment-converted": job(
        environment={
            "id": "CartPole-v1",
            "convert": {
                "observation": {"to": "discrete", "divisions": [3], "low": [-1, 0.5], "high": [2]},
                "action": {"to": "discrete", "divisions": [5, 2]},
            },
        }
    ),
    "algorithm-by-path": job(algorithm={"entryPoint": "algos:Mine", "config": {"anything": [1]}}),
    "network-config-only": job(network={"config": {"hidden": [64, 64]}}),
    "network-by-path": job(network={"entryPoint": "nets:Net"}),
    "networks-by-name": job(
        algorithm={"name": "SAC"},
        networks={
            "critic": {"config": {"hidden": [256]}, "learningRate": 1e-3},
            "policy": {"name": "mlp", "learningRate": {"from": 1e-3, "to": 0}},
        },
    ),
    "networks-of-ones-own": job(
        algorithm={"entryPoint": "algos:Mine"},
        network={"entryPoint": "nets:Net"},
        networks={
            "any": {"config": {"Any": None}},
            "other": {"entryPoint": "nets:Other", "config": {"Any": 1}},
            "third": {"name": "gru", "config": {"size": 8}},
        },
    ),
    "networks-by-default": job(networks={"policy": {}}),
    "start-with-weights": job(initFrom={"run": "/data/a", "networks": ["policy"]}),
    "start-with-stored-weights": job(
        initFrom={"run": "runs:/0a1b"}, sinks={"mlflow": {"artifacts": False}}
    ),
    "start-with-weights-of-a-claim": job(
        initFrom={"run": "a", "persistentVolumeClaim": {"claimName": "rl"}}
    ),
    "hooks": job(hooks={"entryPoint": "mine:Early", "config": {"patience": 5}}),
    "stop-at-return": job(stop={"meanReturn": -110}),
    "stop-after-updates": job(stop={"updates": 100}),
    "stop-after-episodes": job(stop={"episodes": 10**15}),
    "stop-after-duration": job(stop={"duration": "10m"}),
    "stop-after-seconds": job(stop={"duration": 90}),
    "strict": job(strict=True, seed=0, rollout={"replicas": 1}),
    "largest-seed": job(seed=2**63 - 1),
    "elastic": job(rollout={"replicas": 2, "minReplicas": 1, "maxReplicas": 8}),
    "fixed-size": job(rollout={"replicas": 3, "minReplicas": 3, "maxReplicas": 3}),
    "most-environments": job(rollout={"envsPerReplica": 65536}),
    "template": job(learner={"template": {"spec": {"containers": [{"name": "learner"}]}}}),
    "no-lag": job(buffer={"maxPolicyLag": 0, "capacity": 1, "samplesPerInsert": 0.25}),
    "on-a-gpu": job(learner={"device": "cuda:1"}),
    "in-half-precision": job(learner={"precision": "bfloat16"}, rollout={"precision": "bfloat16"}),
    "evaluation": job(evaluation={"interval": "1h30m", "episodes": 1, "video": True}),
    "evaluation-with-a-baseline": job(evaluation={"baseline": -110.5}),
    "intervals-by-counts": job(
        checkpoint={"everySteps": 1, "everyUpdates": 10**15},
        evaluation={"everySteps": 1e6, "everyUpdates": 2},
    ),
    "evaluation-defaults": job(evaluation={}),
    "checkpoint-in-folder": job(checkpoint={"storage": {"path": "/data"}}),
    "checkpoint-on-claim": job(
        checkpoint={"storage": {"persistentVolumeClaim": {"claimName": "rl"}}}
    ),
    "code": job(code={"my_env.py": "def make():\n    return 1\n"}),
    "code-folder": job(codeArchive={"sha256": "ab" * 32, "size": 2_000_000, "commit": "0123abc"}),
    "checkpoint-on-default-claim": job(checkpoint={"storage": {"volumeClaimTemplate": {}}}),
    "checkpoint-on-new-claim": job(
        checkpoint={
            "storage": {
                "volumeClaimTemplate": {
                    "size": "1.5Ti",
                    "storageClassName": "fast",
                    "whenDeleted": "Retain",
                }
            }
        }
    ),
    "buffer-on-claim": job(buffer={"storage": {"persistentVolumeClaim": {"claimName": "rl"}}}),
    "buffer-in-folder": job(buffer={"storage": {"path": "/data"}}),
    "requirements": job(requirements=["my-envs==1.2", "other @ https://example.com/other.whl"]),
    "no-requirements": job(requirements=[]),
    "image": job(image="example.com/mine@sha256:0123"),
    "keep-all-pods": job(cleanPodPolicy="None"),
    "remove-all-pods": job(cleanPodPolicy="All", pendingDeadlineSeconds=1),
    "evaluation-template": job(
        evaluation={
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"nodeSelector": None}}
        }
    ),
    "null-is-the-default": job(
        network={"name": None, "config": None},
        rollout={"replicas": None, "template": None, "minReplicas": None},
        buffer={"storage": {"path": "a", "volumeClaimTemplate": None}},
        checkpoint={"interval": None, "storage": None},
    ),
    "whole-numbers-as-floats": job(stop={"steps": 1e6}, seed=3.0, rollout={"replicas": 2.0}),
    "durations": job(stop={"duration": "8760h"}, checkpoint={"interval": "1h1m1.5s1ms"}),
    "a-year-in-seconds": job(stop={"duration": 31_536_000}, evaluation={"interval": "0.5s"}),
    "most-modules": job(code={f"a{index}.py": "" for index in range(64)}),
    "limits": job(backoffLimit=0, activeDeadlineSeconds=1, ttlSecondsAfterFinished=0),
    "suspended": job(suspend=True),
    "sinks": job(
        sinks={
            "tensorboard": {},
            "mlflow": {"trackingUri": "http://mlflow:5000", "experiment": "pole"},
            "wandb": {"project": "pole", "entity": "us", "mode": "offline", "artifacts": False},
        }
    ),
    "applications-alone": application_job(stop={}),
    "applications-and-rollouts": application_job(
        environment={"id": "CartPole-v1", "spaces": {**SPACES, "mask": False}},
        rollout={"applications": {"flushAfter": 1, "rewardTimeout": "24h"}, "envsPerReplica": 1},
        evaluation={},
    ),
    "spaces-of-every-type": spaced(
        {"type": "MultiDiscrete", "nvec": [3, 4], "start": [1, 0]},
        observation={
            "type": "Box",
            "shape": [2, 1],
            "low": [["-inf"], [-1.5]],
            "high": "inf",
            "dtype": "float64",
        },
        mask=True,
    ),
    "actions-in-a-box": spaced(
        {"type": "Box", "shape": [2], "low": -1, "high": [1, 2.5], "dtype": "float32"},
        observation={"type": "MultiDiscrete", "nvec": [2], "start": [1]},
    ),
    "a-state-by-number": spaced(
        {"type": "Discrete", "choices": 2}, observation={"type": "Discrete", "choices": 9}
    ),
    "a-space-that-starts-elsewhere": spaced({"type": "Discrete", "choices": 3, "start": -1}),
    "sinks-by-default": job(sinks={"mlflow": {}, "wandb": {}}),
}

ENTRY_POINT = "Import path `package.module:attribute`"

BAD: list[tuple[str, Job, str, str]] = [
    # name, job, path of the problem, words of the message
    ("no-metadata", {"spec": job()["spec"]}, "metadata", "is required. Metadata of the job, e.g. `{name: cartpole-ppo}`."),
    ("no-spec", {"metadata": {"name": "a"}}, "spec", "is required. What to train"),
    ("other-version", {**job(), "apiVersion": "v1"}, "apiVersion", 'only "rljob.dev/v1alpha1"'),
    ("other-kind", {**job(), "kind": "Job"}, "kind", '"Job" is not allowed; only "RLJob"'),
    ("no-name", {**job(), "metadata": {}}, "metadata.name", "is required. 1 to 40 lowercase"),
    ("name-capital", named("CartPole"), "metadata.name", "text like cartpole-ppo: 1 to 40"),
    ("name-digit-first", named("1a"), "metadata.name", "1 to 40 lowercase"),
    ("name-dash-last", named("a-"), "metadata.name", "1 to 40 lowercase"),
    ("name-too-long", named("a" * 41), "metadata.name", "1 to 40 lowercase"),
    ("name-number", named(3), "metadata.name", "3 is not allowed; text"),
    ("field-outside-spec", {**job(), "rollout": {}}, "rollout", "Did you mean spec.rollout?"),
    ("no-environment", job(environment={}), "environment", "needs one of id, entryPoint and spaces"),
    ("environment-text", job(environment="CartPole-v1"), "environment", "a mapping with id, "),
    (
        "environment-both",
        job(environment={"id": "A", "entryPoint": "a:b"}),
        "environment.entryPoint",
        "only one of id and entryPoint",
    ),
    ("spaces-without-applications", application_job(rollout={}), "rollout.applications", "is required with environment.spaces, e.g."),
    ("applications-without-spaces", job(rollout={"applications": {}}), "environment.spaces", "is required with rollout.applications"),
    (
        "applications-in-a-strict-job",
        application_job(strict=True, seed=1, rollout={"replicas": 1, "applications": {}}),
        "rollout.applications",
        "is not allowed with strict: true; what applications do",
    ),
    ("applications-in-many-environments", application_job(rollout={"applications": {}, "envsPerReplica": 2}), "rollout.envsPerReplica", "2 is not allowed with applications; only 1"),
    ("applications-on-a-list", application_job(rollout={"applications": []}), "rollout.applications", "a mapping with flushAfter"),
    ("flush-late", application_job(rollout={"applications": {"flushAfter": "1h1s"}}), "rollout.applications.flushAfter", '"1h1s" is not allowed; at most 1h'),
    ("reward-late", application_job(rollout={"applications": {"rewardTimeout": 86401}}), "rollout.applications.rewardTimeout", "is not allowed; at most 24h"),
    ("evaluation-of-nothing", application_job(evaluation={}), "evaluation", "is not allowed without environment.id or environment.entryPoint"),
    ("limit-of-nothing", application_job(environment={"spaces": SPACES, "maxEpisodeSteps": 5}), "environment.maxEpisodeSteps", "is not allowed without id or entryPoint"),
    ("spaces-half", application_job(environment={"spaces": {"action": SPACES["action"]}}), "environment.spaces.observation", "is required. Space of what the policy sees"),
    ("space-of-no-type", spaced({"choices": 2}), "environment.spaces.action.type", "is required"),
    ("space-that-rljob-lacks", spaced({"type": "Dict"}), "environment.spaces.action.type", '"Dict" is not allowed; one of "Box", "Discrete", "MultiDiscrete"'),
    ("space-box-bare", spaced({"type": "Box"}), "environment.spaces.action", "a Box needs shape"),
    ("space-discrete-bare", spaced({"type": "Discrete"}), "environment.spaces.action", "a Discrete needs choices"),
    ("space-multi-bare", spaced({"type": "MultiDiscrete"}), "environment.spaces.action", "a MultiDiscrete needs nvec"),
    ("space-shape-of-another", spaced({"type": "Discrete", "choices": 2, "shape": [1]}), "environment.spaces.action.shape", "is not a field of this type; it is one of Box"),
    ("space-dtype-of-another", spaced({"type": "Discrete", "choices": 2, "dtype": "int64"}), "environment.spaces.action.dtype", "is not a field of this type"),
    ("space-choices-of-another", spaced({"type": "Box", "shape": [2], "choices": 2}), "environment.spaces.action.choices", "is not a field of this type; it is one of Discrete"),
    ("space-nvec-of-another", spaced({"type": "Discrete", "choices": 2, "nvec": [1]}), "environment.spaces.action.nvec", "is not a field of this type; it is one of MultiDiscrete"),
    ("space-choices-none", spaced({"type": "Discrete", "choices": 0}), "environment.spaces.action.choices", "0 is not allowed; an integer from 1 to"),
    ("space-dtype-text", spaced({"type": "Box", "shape": [2], "dtype": "complex64"}), "environment.spaces.action.dtype", '"complex64" is not allowed; one of'),
    ("space-dimension-none", spaced({"type": "Box", "shape": [0]}), "environment.spaces.action.shape.0", "0 is not allowed; an integer from 1 to"),
    ("mask-of-a-box", spaced({"type": "Box", "shape": [2]}, mask=True), "environment.spaces.mask", "true is not allowed for a Box of actions"),
    ("entry-point-dots", job(environment={"entryPoint": "a.b"}), "environment.entryPoint", ENTRY_POINT),
    ("entry-point-spaces", job(algorithm={"entryPoint": "a: b"}), "algorithm.entryPoint", ENTRY_POINT),
    ("id-empty", job(environment={"id": ""}), "environment.id", '"" is not allowed; text like CartPole'),
    ("convert-to-nothing", job(environment={"id": "A", "convert": {"action": {}}}), "environment.convert.action.to", "is required"),
    (
        "convert-to-another",
        job(environment={"id": "A", "convert": {"observation": {"to": "table"}}}),
        "environment.convert.observation.to",
        "discrete",
    ),
    (
        "divisions-number",
        job(environment={"id": "A", "convert": {"action": {"to": "discrete", "divisions": 5}}}),
        "environment.convert.action.divisions",
        "a list",
    ),
    (
        "divisions-of-one",
        job(environment={"id": "A", "convert": {"action": {"to": "discrete", "divisions": [1]}}}),
        "environment.convert.action.divisions.0",
        "from 2 to 65536",
    ),
    ("limit-zero", job(environment={"id": "A", "maxEpisodeSteps": 0}), "environment.maxEpisodeSteps", "an integer from 1 to"),
    ("info-text", job(environment={"id": "A", "info": "score"}), "environment.info", '"score" is not allowed; a list'),
    ("info-empty", job(environment={"id": "A", "info": []}), "environment.info", "[] is not allowed; a list of 1 to 16 items"),
    ("info-comma", job(environment={"id": "A", "info": ["a,b"]}), "environment.info.0", '"a,b" is not allowed'),
    ("info-path", job(environment={"id": "A", "info": ["a", "b//c"]}), "environment.info.1", '"b//c" is not allowed'),
    ("info-above", job(environment={"id": "A", "info": ["a/.."]}), "environment.info.0", '"a/.." is not allowed'),
    ("info-twice", job(environment={"id": "A", "info": ["a", "b", "a"]}), "environment.info.2", '"a" is named twice'),
    ("discount-above-1", job(environment={"id": "A", "discount": 1.5}), "environment.discount", "1.5 is not allowed; a number from 0 to 1"),
    ("masks-text", job(environment={"id": "A", "masks": "no"}), "environment.masks", '"no" is not allowed; true or false'),
    ("kwargs-list", job(environment={"id": "A", "kwargs": [1]}), "environment.kwargs", "a mapping"),
    ("no-algorithm", job(algorithm={"config": {}}), "algorithm", "needs one of name and entryPoint"),
    ("algorithm-both", job(algorithm={"name": "PPO", "entryPoint": "a:b"}), "algorithm.entryPoint", "only one"),
    ("network-both", job(network={"name": "mlp", "entryPoint": "a:b"}), "network.entryPoint", "only one"),
    ("networks-list", job(networks=["policy"]), "networks", '["policy"] is not allowed; a mapping of at most 16'),
    ("networks-too-many", job(networks={f"n{index}": {} for index in range(17)}), "networks", "a mapping of at most 16"),
    ("named-network-text", job(networks={"policy": "mlp"}), "networks.policy", "a mapping with name, entryPoint"),
    ("named-network-typo", job(networks={"policy": {"confg": {}}}), "networks.policy.confg", "Did you mean config?"),
    ("named-network-both", job(networks={"policy": {"name": "mlp", "entryPoint": "a:b"}}), "networks.policy.entryPoint", "only one of name"),
    ("start-with-nothing", job(initFrom={}), "initFrom.run", "is required. Folder of a run"),
    ("start-with-no-networks", job(initFrom={"run": "/a", "networks": []}), "initFrom.networks", "[] is not allowed; a list of 1 to 16 items, each item text"),
    (
        "start-stored-and-in-a-claim",
        job(initFrom={"run": "wandb:a/b/c:v1", "persistentVolumeClaim": {"claimName": "rl"}}),
        "initFrom.run",
        "is not allowed with persistentVolumeClaim",
    ),
    (
        "start-outside-the-claim",
        job(initFrom={"run": "/a", "persistentVolumeClaim": {"claimName": "rl"}}),
        "initFrom.run",
        "is not allowed with persistentVolumeClaim; a folder in the claim",
    ),
    ("hooks-without-a-class", job(hooks={}), "hooks.entryPoint", "is required. Import path"),
    ("hooks-by-name", job(hooks={"entryPoint": "Early"}), "hooks.entryPoint", '"Early" is not allowed; text like my_pkg.hooks:EarlyStopping'),
    ("hooks-typo", job(hooks={"entryPoint": "a:B", "kwargs": {}}), "hooks.kwargs", "unknown field"),
    ("hooks-list", job(hooks=["a:B"]), "hooks", "a mapping with entryPoint, config"),
    ("no-stop", job(stop=None), "stop", "is required. Stop conditions: at least one of steps"),
    ("stop-empty", job(stop={}), "stop", "needs at least one of steps, updates, episodes, meanReturn, duration"),
    ("updates-zero", job(stop={"updates": 0}), "stop.updates", "0 is not allowed; an integer from 1 to"),
    ("episodes-half", job(stop={"episodes": 1.5}), "stop.episodes", "1.5 is not allowed; an integer"),
    ("steps-zero", job(stop={"steps": 0}), "stop.steps", "0 is not allowed; an integer from 1 to"),
    ("steps-half", job(stop={"steps": 1.5}), "stop.steps", "1.5 is not allowed; an integer"),
    ("return-text", job(stop={"meanReturn": "high"}), "stop.meanReturn", '"high" is not allowed; a number'),
    ("duration-word", job(stop={"duration": "soon"}), "stop.duration", "is not a duration; write"),
    ("duration-zero", job(stop={"duration": 0}), "stop.duration", "0 is not allowed; a duration above 0"),
    ("duration-bool", job(stop={"duration": True}), "stop.duration", "is not a duration"),
    ("seed-negative", job(seed=-1), "seed", "-1 is not allowed; an integer from 0 to 9223372036854775807"),
    ("seed-too-large", job(seed=2**63), "seed", "an integer from 0"),
    ("seed-bool", job(seed=True), "seed", "true is not allowed; an integer"),
    ("strict-text", job(strict="yes"), "strict", '"yes" is not allowed; true or false'),
    ("strict-no-seed", job(strict=True, rollout={"replicas": 1}), "seed", "is required with strict"),
    ("strict-two", job(strict=True, seed=1), "rollout.replicas", "2 is not allowed with strict: true; only 1"),
    ("replicas-negative", job(rollout={"replicas": -1}), "rollout.replicas", "-1 is not allowed; an integer from 1 to 10000"),
    ("replicas-text", job(rollout={"replicas": "2"}), "rollout.replicas", '"2" is not allowed; an integer'),
    ("replicas-typo", job(rollout={"replica": 2}), "rollout.replica", "unknown field. Did you mean replicas?\n  rollout knows: replicas, envsPerReplica"),
    ("snake-case", job(rollout={"envs_per_replica": 2}), "rollout.envs_per_replica", "Did you mean envsPerReplica?"),
    ("wrong-section", job(envsPerReplica=2), "envsPerReplica", "Did you mean rollout.envsPerReplica?"),
    ("nothing-near", job(xyz=1), "xyz", "unknown field.\n  spec knows: environment, algorithm"),
    ("environments-absurd", job(rollout={"envsPerReplica": 65537}), "rollout.envsPerReplica", "from 1 to 65536"),
    ("least-above", job(rollout={"minReplicas": 3}), "rollout.minReplicas", "3 is not allowed; at most replicas, which is 2"),
    ("most-below", job(rollout={"maxReplicas": 1}), "rollout.maxReplicas", "1 is not allowed; at least replicas, which is 2"),
    ("two-buffers", job(buffer={"replicas": 2}), "buffer.replicas", "2 is not allowed; only 1 is supported"),
    ("two-learners", job(learner={"replicas": 2}), "learner.replicas", "2 is not allowed; only 1 is supported"),
    ("capacity-zero", job(buffer={"capacity": 0}), "buffer.capacity", "0 is not allowed; an integer from 1"),
    ("lag-negative", job(buffer={"maxPolicyLag": -1}), "buffer.maxPolicyLag", "an integer from 0"),
    ("samples-zero", job(buffer={"samplesPerInsert": 0}), "buffer.samplesPerInsert", "a number above 0 and at most 1000000"),
    ("device-unknown", job(learner={"device": "gpu"}), "learner.device", "text: `auto`, `cpu`, `cuda`"),
    ("precision-unknown", job(learner={"precision": "half"}), "learner.precision", "float32"),
    ("template-text", job(learner={"template": "x"}), "learner.template", "a mapping"),
    ("episodes-zero", job(evaluation={"episodes": 0}), "evaluation.episodes", "an integer from 1"),
    ("interval-zero", job(checkpoint={"interval": "0s"}), "checkpoint.interval", "a duration above 0"),
    ("duration-negative", job(stop={"duration": -5}), "stop.duration", "is not a duration; write"),
    ("duration-too-long", job(stop={"duration": "8761h"}), "stop.duration", "a duration above 0: write"),
    ("duration-much-too-long", job(stop={"duration": "999999999h"}), "stop.duration", "a duration above 0"),
    ("seconds-too-many", job(stop={"duration": 31_536_001}), "stop.duration", "up to 8760h"),
    ("duration-list", job(evaluation={"interval": [1]}), "evaluation.interval", "is not a duration"),
    ("keep-zero", job(checkpoint={"keep": 0}), "checkpoint.keep", "an integer from 1"),
    ("storage-empty", job(checkpoint={"storage": {}}), "checkpoint.storage", "needs one of path, persistentVolumeClaim, volumeClaimTemplate"),
    (
        "storage-both",
        job(checkpoint={"storage": {"path": "a", "persistentVolumeClaim": {"claimName": "b"}}}),
        "checkpoint.storage.persistentVolumeClaim",
        "only one of path, persistentVolumeClaim, volumeClaimTemplate",
    ),
    (
        "credentials-in-a-sink",
        job(sinks={"mlflow": {"trackingUri": "https://me:word@host"}}),
        "sinks.mlflow.trackingUri",
        "contains credentials, which are not allowed in a job",
    ),
    (
        "no-such-mode-of-a-sink",
        job(sinks={"wandb": {"mode": "disabled"}}),
        "sinks.wandb.mode",
        'one of "online", "offline"',
    ),
    (
        "storage-on-both-claims",
        job(buffer={"storage": {"persistentVolumeClaim": {"claimName": "b"}, "volumeClaimTemplate": {}}}),
        "buffer.storage.volumeClaimTemplate",
        "only one of path, persistentVolumeClaim, volumeClaimTemplate",
    ),
    (
        "storage-all",
        job(buffer={"storage": {"path": "a", "persistentVolumeClaim": {"claimName": "b"}, "volumeClaimTemplate": {}}}),
        "buffer.storage.persistentVolumeClaim",
        "only one of path, persistentVolumeClaim, volumeClaimTemplate",
    ),
    ("buffer-storage-empty", job(buffer={"storage": {}}), "buffer.storage", "needs one of path"),
    (
        "claim-size",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"size": "10 GB"}}}),
        "checkpoint.storage.volumeClaimTemplate.size",
        '"10 GB" is not allowed; text: Requested storage, e.g. `10Gi`',
    ),
    (
        "claim-kept",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"whenDeleted": "Keep"}}}),
        "checkpoint.storage.volumeClaimTemplate.whenDeleted",
        'one of "Delete", "Retain"',
    ),
    (
        "claim-class-empty",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"storageClassName": ""}}}),
        "checkpoint.storage.volumeClaimTemplate.storageClassName",
        '"" is not allowed; text',
    ),
    ("claim-no-name", job(checkpoint={"storage": {"persistentVolumeClaim": {}}}), "checkpoint.storage.persistentVolumeClaim.claimName", "is required. Name of"),
    ("code-not-text", job(code={"a.py": 1}), "code.a.py", "1 is not allowed; text"),
    ("code-in-folder", job(code={"../a.py": ""}), "code.../a.py", "a file name like my_env.py"),
    ("code-in-package", job(code={"a.b.py": ""}), "code.a.b.py", "a file name like my_env.py"),
    ("code-too-many", job(code={f"a{index}.py": "" for index in range(65)}), "code", "a mapping of at most 64 entries"),
    ("code-too-long", job(code={"a.py": "#" * 262_145}), "code.a.py", "is not allowed; text"),
    ("requirements-text", job(requirements="my-envs"), "requirements", "a list of at most 64 items, each item text"),
    ("requirements-too-many", job(requirements=["a"] * 65), "requirements", "a list of at most 64 items"),
    ("requirement-option", job(requirements=["a", "-r x.txt"]), "requirements.1", '"-r x.txt" is not allowed; text'),
    ("requirement-two-lines", job(requirements=["a\n-r x.txt"]), "requirements.0", "is not allowed; text"),
    ("image-empty", job(image=""), "image", '"" is not allowed; text'),
    ("clean-pods-never", job(cleanPodPolicy="Never"), "cleanPodPolicy", 'one of "Running", "All", "None"'),
    ("pending-zero", job(pendingDeadlineSeconds=0), "pendingDeadlineSeconds", "an integer from 1"),
    ("evaluation-template-list", job(evaluation={"template": []}), "evaluation.template", "[] is not allowed; a mapping"),
    ("backoff-negative", job(backoffLimit=-1), "backoffLimit", "an integer from 0 to 2147483647"),
    ("deadline-zero", job(activeDeadlineSeconds=0), "activeDeadlineSeconds", "an integer from 1"),
    ("ttl-negative", job(ttlSecondsAfterFinished=-1), "ttlSecondsAfterFinished", "an integer from 0"),
    ("steps-huge", job(stop={"steps": 1e30}), "stop.steps", "an integer from 1 to 1000000000000000"),
    ("steps-text", job(stop={"steps": "1000"}), "stop.steps", '"1000" is not allowed; an integer'),
    ("plural-section", job(rollouts={"replicas": 2}), "rollouts", "Did you mean rollout?"),
    ("id-list", job(environment={"id": ["CartPole-v1"]}), "environment.id", "text like CartPole-v1"),
    ("id-line-break", job(environment={"id": "CartPole-v1\n"}), "environment.id", "Gymnasium id without spaces"),
    ("id-space", job(environment={"id": " CartPole-v1"}), "environment.id", '" CartPole-v1" is not allowed'),
    ("name-underscore", named("my_job"), "metadata.name", "1 to 40 lowercase"),
    ("name-null", named(None), "metadata.name", "is required"),
    ("metadata-list", {**job(), "metadata": ["a"]}, "metadata", "a mapping with name"),
    ("spec-list", {**job(), "spec": [1]}, "spec", "a mapping with environment"),
    ("spec-null", {**job(), "spec": None}, "spec", "is required. What to train"),
    ("algorithm-text", job(algorithm="PPO"), "algorithm", "a mapping with name, entryPoint, config"),
    ("network-text", job(network="mlp"), "network", "a mapping with name, entryPoint, config"),
    ("seed-text", job(seed="1"), "seed", '"1" is not allowed; an integer'),
    ("seed-half", job(seed=1.5), "seed", "1.5 is not allowed; an integer"),
    ("strict-number", job(strict=1), "strict", "1 is not allowed; true or false"),
    ("image-space", job(image="my image"), "image", "Image of all pods without spaces in its name"),
    ("requirement-number", job(requirements=[1]), "requirements.0", "A pip requirement in one line"),
    ("requirement-empty", job(requirements=[""]), "requirements.0", "A pip requirement in one line"),
    ("code-folder-digest", job(codeArchive={"sha256": "ab", "size": 1}), "codeArchive.sha256", '"ab" is not allowed; text'),
    ("code-folder-size", job(codeArchive={"sha256": "ab" * 32, "size": 2**23 + 1}), "codeArchive.size", "8388609 is not allowed"),
    ("code-folder-none", job(codeArchive={"size": 1}), "codeArchive.sha256", "is required"),
    ("code-dash", job(code={"my-env.py": ""}), "code.my-env.py", "a file name like my_env.py"),
    ("code-list", job(code=["a.py"]), "code", "a mapping of at most 64 entries"),
    ("device-index", job(learner={"device": "cuda:1000"}), "learner.device", "`cuda:N`"),
    ("device-capital", job(learner={"device": "CPU"}), "learner.device", '"CPU" is not allowed'),
    ("evaluation-true", job(evaluation=True), "evaluation", "a mapping with interval"),
    ("baseline-text", job(evaluation={"baseline": "high"}), "evaluation.baseline", '"high" is not allowed; a number'),
    ("baseline-alone", job(baseline=195), "baseline", "unknown field"),
    ("episodes-text", job(evaluation={"episodes": "10"}), "evaluation.episodes", "an integer from 1"),
    ("every-zero", job(checkpoint={"everySteps": 0}), "checkpoint.everySteps", "0 is not allowed; an integer from 1 to"),
    ("every-half", job(evaluation={"everyUpdates": 0.5}), "evaluation.everyUpdates", "0.5 is not allowed; an integer"),
    (
        "strict-every",
        job(strict=True, seed=1, rollout={"replicas": 1}, checkpoint={"everySteps": 10}),
        "checkpoint.everySteps",
        "10 is not allowed with strict: true, which saves where",
    ),
    (
        "strict-every-update",
        job(strict=True, seed=1, rollout={"replicas": 1}, checkpoint={"everyUpdates": 10}),
        "checkpoint.everyUpdates",
        "10 is not allowed with strict: true, which saves where",
    ),
    ("keep-half", job(checkpoint={"keep": 0.5}), "checkpoint.keep", "0.5 is not allowed; an integer"),
    ("path-empty", job(checkpoint={"storage": {"path": ""}}), "checkpoint.storage.path", '"" is not allowed'),
    ("path-zero-byte", job(checkpoint={"storage": {"path": "a\0b"}}), "checkpoint.storage.path", "is not allowed"),
    ("clean-pods-lower-case", job(cleanPodPolicy="all"), "cleanPodPolicy", '"all" is not allowed; one of'),
    ("ttl-text", job(ttlSecondsAfterFinished="1h"), "ttlSecondsAfterFinished", "an integer from 0"),
    ("suspend-text", job(suspend="true"), "suspend", '"true" is not allowed; true or false'),
    ("backoff-huge", job(backoffLimit=10**10), "backoffLimit", "an integer from 0 to 2147483647"),
    ("sinks-list", job(sinks=["wandb"]), "sinks", "a mapping with tensorboard, mlflow, wandb"),
    ("sink-true", job(sinks={"mlflow": True}), "sinks.mlflow", "a mapping with trackingUri"),
    ("sink-unknown", job(sinks={"tensorbord": {}}), "sinks.tensorbord", "Did you mean tensorboard?"),
    ("sink-field", job(sinks={"tensorboard": {"logdir": "x"}}), "sinks.tensorboard.logdir", "tensorboard has no fields"),
    (
        "claim-name-with-a-space",
        job(checkpoint={"storage": {"persistentVolumeClaim": {"claimName": "My Claim"}}}),
        "checkpoint.storage.persistentVolumeClaim.claimName",
        '"My Claim" is not allowed; text: Name of an existing',
    ),
    (
        "claim-class-capital",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"storageClassName": "Fast"}}}),
        "checkpoint.storage.volumeClaimTemplate.storageClassName",
        '"Fast" is not allowed',
    ),
    (
        "claim-size-negative",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"size": "-1Gi"}}}),
        "checkpoint.storage.volumeClaimTemplate.size",
        '"-1Gi" is not allowed',
    ),
    (
        "claim-size-zero",
        job(checkpoint={"storage": {"volumeClaimTemplate": {"size": "0.0Gi"}}}),
        "checkpoint.storage.volumeClaimTemplate.size",
        '"0.0Gi" is not allowed',
    ),
    ("label-number", {**job(), "metadata": {"name": "a", "labels": {"a": 1}}}, "metadata.labels.a", "1 is not allowed; text"),
]  # fmt: skip
