"""What every pod has: one container with one role, and nothing that it does not need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rljob.kube import names
from rljob.kube.manifests import network
from rljob.kube.manifests.files import config_hash
from rljob.kube.manifests.merge import RESERVED, Tree, merge
from rljob.kube.manifests.objects import Scope
from rljob.kube.manifests.storage import Mount, scratch
from rljob.run_folder.names import JOB
from rljob.spec.code import CodeArchiveSpec
from rljob.spec.roles import LINK_PORTS, ROLES, SERVERS, RoleName
from rljob.wire.rotation import KeyOrder

_START_SECONDS = 600
_READ_ONLY_BY_GROUP = 0o440
MOUNTED_GENERATIONS = 8
"""A kubelet watches each Secret that a pod names."""
_TMP, _PACKAGES = scratch("rljob-tmp", "/tmp"), scratch("rljob-packages", names.PACKAGES_FOLDER)
_CODE_FILES = scratch("rljob-code-files", names.CODE_FILES_FOLDER)


@dataclass(frozen=True)
class RolePod:
    """What differs between the pods of two roles, beside what the table of roles says.

    Attributes:
        mounts: where the role keeps its files.
        folder: the role's own.
        memory_mib: requested, in MiB, beyond the role's default.
        imports: whether it imports the user's code.
        threads: whether it may use as many threads as it asks for CPUs, else one.
    """

    role: RoleName
    mounts: tuple[Mount, ...]
    folder: str = names.DATA_FOLDER
    memory_mib: int = 0
    imports: bool = True
    threads: bool = False
    restart: str = "Always"
    flags: tuple[str, ...] = ()


def pod_template(scope: Scope, pod: RolePod) -> Tree:
    """The PodTemplateSpec of a role, the user's template merged in.

    Raises:
        InputError: when that template cannot be merged.
    """
    section = ROLES[pod.role].section
    template = getattr(getattr(scope.job.spec, section), "template", None)
    mounts = (*_mounts(scope, pod), *pod.mounts, _TMP)
    spec: Tree = {
        "restartPolicy": pod.restart,
        "terminationGracePeriodSeconds": ROLES[pod.role].pod.grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.USER,
            "runAsGroup": names.USER,
            "fsGroup": names.USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(scope, pod, mounts)],
        "volumes": [{"name": mount.name, **mount.source} for mount in mounts],
    }
    if scope.settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in scope.settings.image_pull_secrets]
    ours: Tree = {
        "metadata": {
            "labels": names.labels(scope.name, pod.role),
            "annotations": {
                names.SPEC_HASH_ANNOTATION: config_hash(scope, pod.role),
                "kubectl.kubernetes.io/default-container": pod.role,
            },
        },
        "spec": spec,
    }
    merged = ours if template is None else merge(ours, template, pod.role, f"{section}.template")
    if scope.job.spec.requirements and pod.imports:
        _install(merged["spec"], scope.job.spec.requirements)
    _drop_unused(merged["spec"])
    return merged


def image(scope: Scope, torch: bool) -> str:
    """Of a role, unless its template names another one."""
    settings = scope.settings
    return scope.job.spec.image or (settings.learner_image if torch else settings.worker_image)


def needs_torch(scope: Scope, role: RoleName) -> bool:
    """Whether a role imports torch: to learn, or for a network, an algorithm or a precision that needs it."""
    definition, spec = ROLES[role], scope.job.spec
    if definition.torch != "network":
        return definition.torch == "always"
    precision = getattr(getattr(spec, definition.section), "precision", "float32")
    named = [network.entry_point for network in (spec.networks or {}).values()]
    own = any((spec.algorithm.entry_point, spec.network.entry_point, *named))
    return own or precision != "float32"


def _container(scope: Scope, pod: RolePod, mounts: tuple[Mount, ...]) -> Tree:
    role, torch = ROLES[pod.role], needs_torch(scope, pod.role)
    memory = max(role.pod.memory_mib, scope.settings.torch_memory_mib if torch else 0)
    pages = (("metrics", names.METRICS_PORT), ("state", names.STATE_PORT))
    ports = [*((link, LINK_PORTS[link]) for link in role.serves), *pages]
    container: Tree = {
        "name": pod.role,
        "image": image(scope, torch),
        "command": ["rljob"],
        "args": _arguments(scope, pod),
        "env": _environment(scope, pod),
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports],
        "resources": {"requests": {"cpu": role.pod.cpu, "memory": f"{memory + pod.memory_mib}Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [_volume_mount(mount) for mount in mounts],
        "terminationMessagePath": names.TERMINATION_FILE,
        # A role that ends before it can say why has at least a last line in its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(),
    }
    if scope.settings.image_pull_policy is not None:
        container["imagePullPolicy"] = scope.settings.image_pull_policy
    return container


def _arguments(scope: Scope, pod: RolePod) -> list[str]:
    addresses = {f"--{role}": network.address(scope.name, role) for role in SERVERS}
    if pod.role in SERVERS:
        addresses[f"--{pod.role}"] = f"tcp://*:{LINK_PORTS[ROLES[pod.role].serves[0]]}"
    arguments = {
        "--job": f"{names.JOB_FOLDER}/{JOB}",
        "--name": "$(POD_NAME)",
        **addresses,
        "--keys": names.KEYS_FOLDER,
        "--dir": pod.folder,
        "--metrics-host": "*",
        "--metrics-port": str(names.METRICS_PORT),
        "--state-port": str(names.STATE_PORT),
        "--token": f"{names.KEYS_FOLDER}/{names.STATE_TOKEN}",
        "--loopback-port": str(names.LOOPBACK_PORT),
        "--end-file": names.TERMINATION_FILE,
    }
    archive = scope.job.spec.code_archive
    if archive is not None and pod.imports:
        arguments["--code-parts"] = names.CODE_PARTS_FOLDER
        arguments["--code-files"] = names.code_files(archive.sha256)
    pairs = [text for pair in arguments.items() for text in pair]
    return ["role", pod.role, *pairs, *pod.flags]


def _environment(scope: Scope, pod: RolePod) -> list[Tree]:
    values = {"HOME": _TMP.path, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    # Only where it is needed, as it hides a PYTHONPATH of the image.
    path = [names.CODE_FOLDER] if scope.job.spec.code else []
    archive = scope.job.spec.code_archive
    path += [names.code_files(archive.sha256)] if archive else []
    path += [names.PACKAGES_FOLDER] if scope.job.spec.requirements else []
    if path and pod.imports:
        values["PYTHONPATH"] = ":".join(path)
    pod_name = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}
    # Rounded up. More threads than CPUs would only wait for each other.
    asked = {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1"}}
    threads = {"valueFrom": asked} if pod.threads else {"value": "1"}
    return [
        {"name": "POD_NAME", "valueFrom": pod_name},
        *({"name": name, "value": value} for name, value in values.items()),
        {"name": "OMP_NUM_THREADS", **threads},
    ]


def _mounts(scope: Scope, pod: RolePod) -> list[Mount]:
    job = {"name": names.job_config(scope.name)}
    mounts = [
        Mount(f"{RESERVED}job", names.JOB_FOLDER, {"configMap": job}, read_only=True),
        Mount(f"{RESERVED}keys", names.KEYS_FOLDER, _keys(scope, pod), read_only=True),
    ]
    if scope.job.spec.code and pod.imports:
        code = {"configMap": {"name": names.code_config(scope.name)}}
        mounts.append(Mount(f"{RESERVED}code", names.CODE_FOLDER, code, read_only=True))
    archive = scope.job.spec.code_archive
    if archive is not None and pod.imports:
        parts = {"projected": {"sources": _parts(scope, archive)}}
        mounts.append(
            Mount(f"{RESERVED}code-parts", names.CODE_PARTS_FOLDER, parts, read_only=True)
        )
        mounts.append(_CODE_FILES)
    if scope.job.spec.requirements and pod.imports:
        mounts.append(_PACKAGES)
    return mounts


def _parts(scope: Scope, archive: CodeArchiveSpec) -> list[Tree]:
    """The ConfigMaps that the client makes after the job; a pod that comes first waits for them."""
    return [
        {
            "configMap": {
                "name": names.code_part(scope.name, archive.sha256, index),
                "items": [{"key": names.PART, "path": str(index)}],
            }
        }
        for index in range(archive.parts)
    ]


def _keys(scope: Scope, pod: RolePod) -> Tree:
    """The folder of `rljob.wire.keys`. Generations to come, and the keys of applications, are named before they exist: they
    appear in pods that run, so that a job changes its keys without a restart."""
    files = [*(f"{role}.public" for role in ROLES), f"{pod.role}.secret"]
    first, *later = mounted_generations(scope.keys)
    oldest = _generation(scope, first, files)
    # The token is the same in all generations.
    oldest["secret"]["items"].append({"key": names.STATE_TOKEN, "path": names.STATE_TOKEN})
    sources: list[Tree] = [{"configMap": {"name": names.keys_in_use(scope.name)}}, oldest]
    for number in later:
        source = _generation(scope, number, files)
        source["secret"]["optional"] = True
        sources.append(source)
    if scope.job.spec.rollout.applications is not None and pod.role in SERVERS:
        sources.append({"configMap": {"name": names.applications(scope.name), "optional": True}})
    return {"projected": {"defaultMode": _READ_ONLY_BY_GROUP, "sources": sources}}


def mounted_generations(keys: KeyOrder) -> range:
    """Generations of keys that pods can get while they run. The range moves when its last one is the only one that is
    accepted: then pods are replaced."""
    moved = (keys.oldest - 1) // (MOUNTED_GENERATIONS - 1)
    first = 1 + moved * (MOUNTED_GENERATIONS - 1)
    return range(first, first + MOUNTED_GENERATIONS)


def _generation(scope: Scope, number: int, files: Sequence[str]) -> Tree:
    items = [{"key": file, "path": f"{number}/{file}"} for file in files]
    return {"secret": {"name": names.keys_secret(scope.name, number), "items": items}}


def _volume_mount(mount: Mount) -> Tree:
    made: Tree = {"name": mount.name, "mountPath": mount.path}
    if mount.read_only:
        made["readOnly"] = True
    if mount.sub_path is not None:
        made["subPath"] = mount.sub_path
    return made


def _probes() -> Tree:
    """Whether the role's loop turns; whether it works with the others is readiness and kills nothing."""

    def get(path: str) -> Tree:
        return {"path": path, "port": "metrics"}

    return {
        "startupProbe": {
            "httpGet": get("/healthz"),
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": _START_SECONDS,
        },
        "livenessProbe": {
            "httpGet": get("/healthz"),
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "readinessProbe": {
            "httpGet": get("/readyz"),
            "periodSeconds": 2,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
    }


def _install(spec: Tree, requirements: list[str]) -> None:
    """Before the role starts, its container with another command: what reaches an index there does here."""
    main = spec["containers"][0]
    ours = {
        f"{RESERVED}{name}" for name in ("job", "keys", "code", "code-parts", "code-files", "data")
    }
    pip = ["python", "-m", "pip", "install", "--no-input", "--no-cache-dir"]
    container = {
        "name": f"{RESERVED}requirements",
        **{
            key: main[key]
            for key in ("image", "imagePullPolicy", "envFrom", "resources", "securityContext")
            if key in main
        },
        "command": [
            *pip,
            "--disable-pip-version-check",
            "--target",
            names.PACKAGES_FOLDER,
            *requirements,
        ],
        "env": [variable for variable in main["env"] if variable["name"] != "PYTHONPATH"],
        "volumeMounts": [mount for mount in main["volumeMounts"] if mount["name"] not in ours],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    spec["initContainers"] = [*spec.get("initContainers", []), container]


def _drop_unused(spec: Tree) -> None:
    """Volumes of ours that the template has put others in place of."""
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    used = {
        mount["name"] for container in containers for mount in container.get("volumeMounts", ())
    }
    spec["volumes"] = [
        volume
        for volume in spec["volumes"]
        if volume["name"] in used or not volume["name"].startswith(RESERVED)
    ]
