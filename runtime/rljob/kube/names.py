"""Names of the API, labels, children, ports and paths."""

from __future__ import annotations

from rljob.spec.roles import RoleName

GROUP = "rljob.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "RLJob"
PLURAL = "rljobs"
FIELD_MANAGER = "rljob-operator"

JOB_NAME_LABEL = f"{GROUP}/job-name"
"""On every child and every pod: the name of their RLJob."""
ROLE_LABEL = f"{GROUP}/role"
"""On what belongs to one role, and on its pods."""
APPLICATION_LABEL = f"{GROUP}/application-of"
"""On the pods of an application, set by users: the RLJob that it may reach. On what `rljob applications` makes, too."""
OPERATOR_LABELS = {"app.kubernetes.io/name": "rljob-operator"}
"""On the operator's pods."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"

HASH_ANNOTATION = f"{GROUP}/hash"
"""On every child: digest of the manifest that was applied, without this annotation."""
SPEC_HASH_ANNOTATION = f"{GROUP}/spec-hash"
"""On a pod: digest of what its role was told. On the learner's Job: digest of all that cannot be
changed in a Job, so a new one is needed when it differs."""
KEYS_ANNOTATION = f"{GROUP}/keys"
"""On an RLJob, set by users: the generation of keys that it is to have; a higher one than now rotates them."""
HELD_ANNOTATION = f"{GROUP}/held"
"""On a job that its client suspended until its code is there."""
REPLICAS_ANNOTATION = f"{GROUP}/told-replicas"
"""On the ConfigMap with `job.yaml`: the number of rollouts in it, which stays what it was at first."""

METRICS_PORT = 9090
"""`/metrics`, `/healthz`, `/readyz`: open to everyone."""
STATE_PORT = 9091
"""`/state`, and the learner's `/status`: for the operator, which has the token."""
LOOPBACK_PORT = 9092
"""All pages, policy and records included, on the loopback of a pod: for port-forwards."""

JOB_FOLDER = "/etc/rljob/job"
KEYS_FOLDER = "/etc/rljob/keys"
STATE_TOKEN = "state.token"
"""In the Secret with the keys: what the operator shows before a pod tells its state."""
CODE_FOLDER = "/etc/rljob/code"
CODE_PARTS_FOLDER = "/etc/rljob/code-parts"
"""The parts of the archive of the folder that was sent with a job."""
PART = "part"
"""Key of a part in its ConfigMap."""
CODE_FILES_FOLDER = "/var/lib/rljob-code"
"""Where they are unpacked, in a folder with the name of their digest."""
DATA_FOLDER = "/var/lib/rljob"
"""What a role writes; the root of `checkpoint.storage` and `buffer.storage`."""
INITIAL_FOLDER = "/var/lib/rljob-initial"
"""The root of `initFrom.persistentVolumeClaim`."""
PACKAGES_FOLDER = "/var/lib/rljob-packages"
TERMINATION_FILE = "/dev/termination-log"

USER = 65532
"""uid, gid and fsGroup of every pod."""


OURS = "rljob.dev/operator"
"""`spec.managedBy` of a job that the operator manages; so is one without it."""


def workload(job: str, role: RoleName) -> str:
    """Of the Deployment, StatefulSet or Job of a role; of its Service, NetworkPolicy and budget too."""
    return f"{job}-{role}"


def job_config(job: str) -> str:
    """Of the ConfigMap with `job.yaml`."""
    return f"{job}-job"


def code_config(job: str) -> str:
    """Of the ConfigMap with the user's modules."""
    return f"{job}-code"


def code_part(job: str, sha256: str, index: int) -> str:
    """Of the ConfigMap with one part of the folder that was sent with a job."""
    return f"{job}-code-{sha256[:10]}-{index}"


def code_files(sha256: str) -> str:
    """The folder that a pod imports the folder's modules from."""
    return f"{CODE_FILES_FOLDER}/{sha256[:16]}"


def keys_secret(job: str, generation: int = 1) -> str:
    """Of the Secret with one generation of the CURVE keys."""
    return f"{job}-keys" if generation == 1 else f"{job}-keys-{generation}"


def keys_in_use(job: str) -> str:
    """Of the ConfigMap that says which generations of keys are accepted."""
    return f"{job}-keys-in-use"


def applications(job: str) -> str:
    """Of the Service that applications connect to, and of the ConfigMap with their public keys."""
    return f"{job}-applications"


def application_secret(job: str, application: str) -> str:
    """Of the Secret with the key of one application."""
    return f"{job}-application-{application}"


def page(address: str, name: str) -> str:
    """URL of a pod's page: `status` of a learner, `state` of any role."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{STATE_PORT}/{name}"


def checkpoint_claim(job: str) -> str:
    """Of the volume claim that is made for checkpoints."""
    return f"{job}-checkpoints"


def buffer_claim(job: str) -> str:
    """Of the volume claim that is made for experience."""
    return f"{job}-buffer"


def selector(job: str, role: RoleName | None = None) -> dict[str, str]:
    """Labels that select a job's pods, or those of one role."""
    return {JOB_NAME_LABEL: job, **({ROLE_LABEL: role} if role else {})}


def selector_text(job: str, role: RoleName | None = None) -> str:
    """The same as Kubernetes writes it: `rljob.dev/job-name=x,rljob.dev/role=rollout`."""
    return ",".join(f"{key}={value}" for key, value in selector(job, role).items())


def labels(job: str, role: RoleName | None = None) -> dict[str, str]:
    """All labels of a child; of its pods too."""
    component = {"app.kubernetes.io/component": role} if role else {}
    return {
        "app.kubernetes.io/name": "rljob",
        "app.kubernetes.io/instance": job,
        **component,
        MANAGED_BY_LABEL: FIELD_MANAGER,
        **selector(job, role),
    }
