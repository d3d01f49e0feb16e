"""A policy that is fetched: nothing in the stream is trusted; the pod that reads it is made to pass anywhere."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rljob.checkpoints import checkpoint
from rljob.checkpoints.checkpoint import Snapshot
from rljob.checkpoints.manifest import DamagedCheckpoint
from rljob.checkpoints.unpack import unpack, unpack_records
from rljob.client.job import JobPod
from rljob.client.logs import Wanted, chosen, split
from rljob.client.reader import Image, image_of, reader_pod
from rljob.errors import RunError
from tests.unit.clusterjobs import cluster_job

Files = dict[str, bytes]
NAME = "checkpoints/000000000003"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What the stream holds, by name."""
    folder = tmp_path_factory.mktemp("run")
    tensors = {"w": np.arange(6, dtype=np.float32)}
    saved = checkpoint.save(
        folder / "checkpoints", Snapshot(3, 0, tensors, tensors, {}, steps=64), keep=1
    )
    found = {f"{NAME}/{path.name}": path.read_bytes() for path in saved.path.iterdir()}
    return {"job.yaml": b"kind: RLJob\n", **found}


def tar(files: Files, odd: tarfile.TarInfo | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if odd is not None:
            archive.addfile(odd)
    return out.getvalue()


def chunks(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 511, 1 << 20])
def test_a_whole_checkpoint_becomes_a_folder(files: Files, tmp_path: Path, size: int) -> None:
    found = unpack(chunks(tar(files), size), tmp_path)
    assert (found.version, found.steps, found.path) == (3, 64, tmp_path / NAME)
    assert checkpoint.load_policy(tmp_path).version == 3
    assert (tmp_path / "checkpoints" / "latest").resolve() == tmp_path / NAME
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) <= there


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_stream_that_breaks_off_is_refused(files: Files, tmp_path: Path, share: float) -> None:
    data = tar(files)
    data = data[: int(len(data.rstrip(b"\0")) * share)]
    with pytest.raises(RunError):
        unpack(chunks(data), tmp_path)


def test_any_byte_that_is_another_is_noticed(files: Files, tmp_path: Path) -> None:
    for index, name in enumerate(sorted(files.keys() - {"job.yaml"})):
        data = bytearray(files[name])
        data[len(data) // 2] ^= 1
        folder = tmp_path / str(index)
        with pytest.raises(DamagedCheckpoint, match=r"^damaged checkpoint checkpoints/0+3: "):
            unpack(chunks(tar({**files, name: bytes(data)})), folder)
        without = {key: value for key, value in files.items() if key != name}
        with pytest.raises(RunError):
            unpack(chunks(tar(without)), tmp_path / f"{index}-without")


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "odd",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("/tmp/evil"),
        tarfile.TarInfo("checkpoints/../../evil"),
        tarfile.TarInfo("checkpoints/000000000003/../evil"),
        tarfile.TarInfo("checkpoints/x/policy.safetensors"),
        tarfile.TarInfo(f"{NAME}/more.py"),
        tarfile.TarInfo("code"),
        tarfile.TarInfo("job.yaml"),
        link("checkpoints/latest", "/"),
        link(f"{NAME}/policy.safetensors", "/etc/passwd"),
        link("job.yaml", "/etc/passwd", tarfile.LNKTYPE),
        link("job.yaml", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.type!r}",
)
def test_what_no_checkpoint_has_is_refused(
    files: Files, tmp_path: Path, odd: tarfile.TarInfo
) -> None:
    with pytest.raises(RunError, match=f"^refused: the stream holds '{odd.name}'"):
        unpack(chunks(tar(files, odd)), tmp_path / "in")
    with pytest.raises(RunError):
        unpack(chunks(tar({}, odd)), tmp_path / "alone")
    assert not list(tmp_path.rglob("evil"))


def test_two_checkpoints_or_no_job_are_refused(files: Files, tmp_path: Path) -> None:
    other = {name.replace("3/", "4/"): data for name, data in files.items()}
    for index, content in enumerate(({**files, **other}, {**files, "job.yaml": None})):
        kept = {name: data for name, data in content.items() if data is not None}
        with pytest.raises(RunError, match=r"not job.yaml and one checkpoint"):
            unpack(chunks(tar(kept)), tmp_path / str(index))


# ---- records


def test_records_become_files(tmp_path: Path) -> None:
    unpack_records(chunks(tar({"metrics.jsonl": b"{}\n", "job.yaml": b"a"}), 7), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "metrics.jsonl": b"{}\n",
        "job.yaml": b"a",
    }


@pytest.mark.parametrize(
    "odd",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("/tmp/evil"),
        tarfile.TarInfo("evil.py"),
        link("metrics.jsonl", "/etc/passwd"),
        link("job.yaml", "", tarfile.FIFOTYPE),
    ],
    ids=lambda member: f"{member.name}-{member.type!r}",
)
def test_what_is_no_record_is_refused(tmp_path: Path, odd: tarfile.TarInfo) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(RunError, match=f"^refused: the stream holds '{odd.name}'"):
        unpack_records(chunks(tar({}, odd)), tmp_path / "in")
    assert not list(tmp_path.rglob("*evil*"))


def test_records_that_break_off_are_refused(tmp_path: Path) -> None:
    data = tar({"metrics.jsonl": b"x" * 4000})
    with pytest.raises(RunError):
        unpack_records(chunks(data[:2000]), tmp_path)


# ---- the pod that reads


def made(**spec: Any) -> dict[str, Any]:
    job = cluster_job(**spec)
    return reader_pod(job, job.job(), Image("a/learner:1", "Never", ("pull",)))


def template(spec: dict[str, Any], **container: Any) -> dict[str, Any]:
    return {"template": {"spec": {**spec, "containers": [{"name": "learner", **container}]}}}


def test_the_reader_is_restricted_and_short_lived() -> None:
    pod = made()
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert pod["metadata"]["name"].startswith("test-get-policy-")
    assert spec["restartPolicy"] == "Never"
    assert 0 < spec["activeDeadlineSeconds"] <= 900
    assert spec["automountServiceAccountToken"] is False
    security = {**spec["securityContext"], **container["securityContext"]}
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert (container["image"], container["imagePullPolicy"]) == ("a/learner:1", "Never")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    owner = pod["metadata"]["ownerReferences"][0]
    # The job's controller is not to take it for one of its own, but it goes with the job.
    assert (owner["uid"], owner.get("controller")) == ("1-2", None)
    assert not any(key.startswith("rljob.dev/") for key in pod["metadata"]["labels"])


def test_the_reader_has_the_learners_volume_and_none_of_its_secrets() -> None:
    spec = made()["spec"]
    claims = [volume.get("persistentVolumeClaim") for volume in spec["volumes"]]
    assert {"claimName": "test-checkpoints"} in claims
    assert not any("secret" in volume or "configMap" in volume for volume in spec["volumes"])
    mounted = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert sorted(mounted.values()) == ["/tmp", "/var/lib/rljob"]
    assert {volume["name"] for volume in spec["volumes"]} == set(mounted)
    assert spec["containers"][0]["args"][:3] == ["serve-checkpoint", "--dir", "/var/lib/rljob"]


def test_a_shared_claim_is_read_where_this_job_writes() -> None:
    storage = {"persistentVolumeClaim": {"claimName": "shared"}}
    (container,) = made(checkpoint={"storage": storage})["spec"]["containers"]
    data = next(one for one in container["volumeMounts"] if one["mountPath"] == "/var/lib/rljob")
    assert data["subPath"] == "test"


def test_checkpoints_elsewhere_are_read_there() -> None:
    volume = {"volumes": [{"name": "nfs", "nfs": {"server": "a", "path": "/b"}}]}
    learner = template(volume, volumeMounts=[{"name": "nfs", "mountPath": "/data"}])
    spec = made(checkpoint={"storage": {"path": "/data/x"}}, learner=learner)["spec"]
    arguments = spec["containers"][0]["args"]
    assert arguments[:3] == ["serve-checkpoint", "--dir", "/data/x"]
    assert arguments[-2:] == ["--job", "/etc/rljob/job/job.yaml"]
    paths = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert paths == {"/data", "/tmp", "/etc/rljob/job"}
    assert {"name": "nfs", "nfs": {"server": "a", "path": "/b"}} in spec["volumes"]


def test_the_reader_goes_where_the_learner_went_but_takes_little() -> None:
    limits = {"nvidia.com/gpu": 8, "memory": "64Gi"}
    placed = {"nodeSelector": {"zone": "a"}, "tolerations": [{"operator": "Exists"}]}
    learner = template(placed, resources={"limits": limits, "requests": {"cpu": "32"}})
    learner["template"]["spec"]["containers"].append({"name": "side", "image": "b"})
    learner["template"]["spec"]["initContainers"] = [{"name": "first", "image": "c"}]
    spec = made(learner=learner, requirements=["a"])["spec"]
    assert (spec["nodeSelector"], spec["tolerations"]) == tuple(placed.values())
    assert [one["name"] for one in spec["containers"]] == ["get-policy"]
    assert "initContainers" not in spec
    resources = spec["containers"][0]["resources"]
    assert resources["limits"] == {"memory": "64Gi"}
    assert resources["requests"] == {"cpu": "50m", "memory": "128Mi"}


def pod(name: str, role: str = "learner", restarts: int = 0, **spec: Any) -> JobPod:
    containers = [{"name": role, "image": f"image-of-{name}", "imagePullPolicy": "Never"}]
    status = {"containerStatuses": [{"name": role, "restartCount": restarts, "state": {}}]}
    metadata = {"name": name}
    return JobPod.of(
        {"metadata": metadata, "spec": {"containers": containers, **spec}, "status": status}, role
    )


def test_the_image_is_the_learners_whatever_is_left_of_it() -> None:
    ran = {"provenance": {"images": {"learner": "here:1@sha256:ab"}}}
    pulled = {"provenance": {"images": {"learner": "r.io:5000/here@sha256:ab"}}}
    workload = {"spec": {"template": {"spec": pod("job").raw["spec"]}}}
    both = [pod("old"), pod("new", imagePullSecrets=[{"name": "s"}])]
    assert image_of(cluster_job(), both, workload, None) == Image("image-of-new", "Never", ("s",))
    assert image_of(cluster_job(), [], workload, None) == Image("image-of-job", "Never")
    assert image_of(cluster_job(ran), [], None, None) == Image("here:1")
    assert image_of(cluster_job(pulled), [], None, None) == Image("r.io:5000/here@sha256:ab")
    assert image_of(cluster_job(ran, image="mine:2"), [], None, None) == Image("mine:2")
    assert image_of(cluster_job(), [], None, None).name.startswith("ghcr.io/rljob/rljob-learner:")
    assert image_of(cluster_job(), both, None, "chosen") == Image("chosen", "Never", ("s",))


# ---- logs


@pytest.mark.parametrize(
    ("role", "previous", "restarts", "expected"),
    [
        ("learner", False, (0, 0), [("b", False)]),
        # A learner's successor is another pod.
        ("learner", True, (0, 0), [("a", False)]),
        ("learner", True, (0, 1), [("b", True)]),
        ("rollout", False, (0, 2), [("a", False), ("b", False)]),
        ("rollout", True, (0, 2), [("b", True)]),
        ("rollout", True, (0, 0), []),
    ],
)
def test_the_pods_that_are_meant(
    role: Any, previous: bool, restarts: tuple[int, int], expected: list[tuple[str, bool]]
) -> None:
    pods = [pod(name, role, count) for name, count in zip("ab", restarts, strict=True)]
    found = chosen(pods, Wanted(role, previous))
    assert [(one.name, before) for one, before in found] == expected
    assert chosen([], Wanted(role, previous)) == []


def test_lines_are_whole_however_they_come() -> None:
    text = "a\nbé\n\nlast".encode()
    for size in (1, 2, 3, 100):
        assert list(split(chunks(text, size))) == ["a", "bé", "", "last"]
    assert list(split([b"bad \xff\n"])) == ["bad �"]
