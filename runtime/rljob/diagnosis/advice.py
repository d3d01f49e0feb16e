"""What to change, by what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from rljob.diagnosis import hook_failures, set_aside
from rljob.diagnosis.bottleneck import Bottleneck
from rljob.diagnosis.situation import Situation
from rljob.spec.roles import ROLES, RoleName

_BY_REASON = {
    "Unschedulable": "lower the requests in the role's template (resources.requests), relax its "
    "nodeSelector and tolerations, or add nodes",
    "ErrImagePull": "correct spec.image, or the operator's image settings; a private registry needs "
    "imagePullSecrets in the role's template",
    "InvalidImageName": "correct spec.image",
    "QuotaExceeded": "lower the requests in the roles' templates, or raise the namespace's ResourceQuota",
    "InvalidTemplate": "correct the role's template: the API server's message names the field",
    "InvalidSpec": "correct the field that is named, and apply the file again",
    "CreateContainerConfigError": "create the Secret or ConfigMap that the template names",
    "CrashLoopBackOff": "read its last lines above; `rljob logs` has the rest",
    "OOMKilled": "raise resources.limits.memory in the role's template, or lower buffer.capacity or "
    "rollout.envsPerReplica",
    "FailedMount": "create the Secret, ConfigMap or volume that is named",
    "FailedScheduling": "lower the requests in the role's template, or add nodes",
    "VolumePending": "look at kubectl describe pvc; name a storage class that exists "
    "(volumeClaimTemplate.storageClassName), or a claim that does (persistentVolumeClaim.claimName)",
    "NotScheduled": "look at kubectl describe pod; check the template's schedulerName, and that this "
    "scheduler runs",
    "SchedulingGated": "remove the pod's scheduling gates, or ask for what sets them",
    "ContainerCreating": "look at kubectl describe pod and at the node's kubelet; a large image may take long",
    "InitContainerFailed": "correct what its last line names, such as a package of spec.requirements",
    "FailedCreate": "correct what the message names; the next attempt follows by itself",
    "Forbidden": "correct the role's template for the policies of the namespace, or change these",
    "PodsMissing": "look at kubectl describe of it, and check that kube-controller-manager runs",
    "Terminating": "kubectl delete pod --force, once its node is known to be off",
    "JobSuspended": "set its spec.suspend to false; where Kueue suspended it, add "
    "RLJob.v1alpha1.rljob.dev to integrations.externalFrameworks of Kueue's configuration first",
    "JobQueued": "wait until the queue admits it, or look at kubectl describe workload; to keep Kueue away "
    "from learners, add RLJob.v1alpha1.rljob.dev to integrations.externalFrameworks of its configuration",
    "BackoffLimitExceeded": "read its last lines above, correct the cause, and submit it again",
    "DeadlineExceeded": "raise activeDeadlineSeconds, or lower the limits in stop",
    "PendingDeadlineExceeded": "provide what its pods waited for, or raise pendingDeadlineSeconds",
    "CrashLoop": "read its log, correct the cause, and go on with rljob run --resume",
    "InputError": "correct the field that is named",
    "LearnerStalled": "look at the frame that is named; stall.policy: Restart replaces a learner that "
    "hangs, and it goes on from its checkpoint",
    "EnvironmentHung": "look at the frame that is named; stall.policy: Restart replaces rollouts whose "
    "environment hangs",
    "RolloutStarved": "give it more rollouts, or a faster environment; raise stall.timeout where one "
    "segment may take that long",
    "BufferFull": "raise buffer.capacity, or find out why the learner takes no experience",
    hook_failures.REASON: "correct the method that is named; the learner's log has its traceback",
    set_aside.REASON: "open the file with numpy.load and look for values that the algorithm or the network "
    "cannot take; rljob check tries both",
    "Disconnected": "check that the pods reach each other: NetworkPolicies, DNS, keys of another job",
}
APPLICATION = "start a program that acts with rljob.Agent; `rljob applications list` has those that have a key"
_MEMORY: dict[RoleName, str] = {
    "rollout": ", or lower rollout.envsPerReplica",
    "buffer": ", or lower buffer.capacity",
}
_SAME = {
    "FailedAttachVolume": "FailedMount",
    "FailedMapVolume": "FailedMount",
    "FailedCreatePodSandBox": "ContainerCreating",
    "CreateContainerError": "ContainerCreating",
    "RunContainerError": "ContainerCreating",
    "ImagePullBackOff": "ErrImagePull",
    "ErrImageNeverPull": "ErrImagePull",
}


def for_reason(reason: str, role: RoleName | None = None) -> str:
    """What to do about it; empty when there is nothing general to say.

    Args:
        role: the role that it is about, if it is one.
    """
    if reason == "OOMKilled" and role is not None:
        where = f"container {role} in spec.{ROLES[role].section}.template"
        return f"raise resources.limits.memory of the {where}{_MEMORY.get(role, '')}"
    return _BY_REASON.get(_SAME.get(reason, reason), "")


def for_bottleneck(found: Bottleneck, situation: Situation) -> Iterator[str]:
    """What would make it faster."""
    spec = situation.spec
    if found.bound == "rollouts":
        replicas = spec.rollout.replicas if spec is not None else 1
        if situation.local:
            yield f"use more rollouts if cores are free: --set rollout.replicas={2 * replicas}"
        else:
            yield f"use more rollouts: rljob scale {situation.name} --replicas {2 * replicas}"
        if found.stage == "acting" and spec is not None:
            more = 2 * spec.rollout.envs_per_replica
            yield f"use more environments for each network call: rollout.envsPerReplica: {more}"
        if found.stage == "environment":
            yield "use a vectorised or faster environment: its steps take most of the time"
    elif found.bound == "learner":
        yield "make the learner faster: more CPU or a GPU in learner.template, larger minibatches, "
        "fewer epochs"
        yield "use fewer rollouts: they wait already, so the rate stays the same"
    elif found.bound == "lag":
        yield "raise buffer.maxPolicyLag: rollouts wait less, and experience is older"
    elif found.stage == "checkpoint":
        yield "raise checkpoint.interval, or use faster storage"
    elif found.stage == "hooks":
        yield "make the methods of hooks.entryPoint faster, or move their work to a thread: training waits for them"
    elif found.stage == "publish":
        yield "publish less often, in larger batches: the network is large for its updates"
