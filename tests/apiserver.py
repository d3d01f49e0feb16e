"""A real API server of one's own: etcd and kube-apiserver on loopback, for as long as a `with` lasts.

RBAC is on and every call is in an audit log. Nothing else of a cluster runs: no pod is ever started, nothing
is garbage collected, and a namespace that is deleted stays. Its programs come from `make cluster-tools`, or
from the folder that KUBEBUILDER_ASSETS names (as `setup-envtest` makes it).
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ports import free_port

PROGRAMS = ("etcd", "kube-apiserver", "kubectl")
_START_SECONDS = 180.0
_KEPT_SECONDS = 30.0
"""For which an idle connection is used again; the API server closes it after 90."""
_SET_DEATH_SIGNAL = 1

_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [{"level": "Metadata"}],
}
_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
_LEAF = """\
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = IP:127.0.0.1, DNS:localhost
"""


def programs() -> Path:
    """The folder in which the programs are looked for; it may not exist."""
    return Path(
        os.environ.get("KUBEBUILDER_ASSETS") or Path.home() / ".cache" / "rljob-cluster" / "bin"
    )


def missing() -> str:
    """What these tests need and this machine lacks, in words; empty when nothing is missing."""
    folder = programs()
    absent = [name for name in PROGRAMS if not os.access(folder / name, os.X_OK)]
    if absent:
        return (
            f"{', '.join(absent)} not found in {folder}. `make cluster-tools` puts them there, or set "
            "KUBEBUILDER_ASSETS to a folder that has them, as made by `setup-envtest use -p path`"
        )
    if shutil.which("openssl") is None:
        return "openssl is not installed; the certificates of the tests are made with it"
    return ""


@dataclass(frozen=True)
class Answer:
    """What the API server said: the HTTP status and the JSON."""

    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One request from the audit log, whether it was allowed or not.

    `status` is the HTTP status, None as long as there was no answer.
    """

    user: str
    agent: str
    verb: str
    uri: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    status: int | None


class ApiServer:
    """A running API server; see `start`.

    Attributes:
        folder: its temporary folder; `apiserver.log` and `etcd.log` are in it.
        url: where it is, `https://127.0.0.1:PORT`.
        admin: kubeconfig of a user who may do everything.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"https://127.0.0.1:{port}"
        self._port = port
        self._made = 0
        self.admin = self.user("admin", groups=("system:masters",))
        self._tls = ssl.create_default_context(cafile=folder / "ca.crt")
        self._tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        self._mine = threading.local()
        self._connections: list[http.client.HTTPSConnection] = []

    def user(self, name: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for a user of that name, who may do nothing until a RoleBinding says so."""
        certificate, key = _certificate(self.folder, name, groups)
        credentials = {
            "client-certificate-data": _base64(certificate),
            "client-key-data": _base64(key),
        }
        return self._kubeconfig(name, credentials)

    def service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig for a ServiceAccount that exists, with a token good for an hour."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        answer = self.call("POST", path, {"spec": {"expirationSeconds": 3600}})
        if answer.status != 201:
            raise RuntimeError(f"no token for {namespace}/{name}: {answer.body.get('message')}")
        return self._kubeconfig(f"{namespace}-{name}", {"token": answer.body["status"]["token"]})

    def kubectl(
        self, *arguments: str, stdin: str | None = None, kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl, as the admin unless a kubeconfig says otherwise; never raises for its exit code."""
        environment = {**os.environ, "HOME": str(self.folder)}
        command = [str(programs() / "kubectl"), f"--kubeconfig={kubeconfig or self.admin}"]
        return subprocess.run(
            [*command, *arguments],
            input=stdin or "",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
    ) -> Answer:
        """One HTTP request as the admin; `path` holds the query too."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self._port, context=self._tls, timeout=120
        )
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        with contextlib.closing(connection):
            data = None if body is None else json.dumps(body)
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            text = response.read().decode()
        found = json.loads(text) if text.startswith("{") else {"message": text}
        return Answer(response.status, found)

    def namespace(self, labels: dict[str, str] | None = None) -> str:
        """Make a namespace of a name of its own, and return the name."""
        self._made += 1
        metadata = {"name": f"test-{self._made}", "labels": labels or {}}
        answer = self.call("POST", "/api/v1/namespaces", {"metadata": metadata})
        if answer.status != 201:
            raise RuntimeError(f"no namespace: {answer.body.get('message')}")
        return str(metadata["name"])

    def install(self, crd: Path) -> None:
        """Apply a CustomResourceDefinition (again) and wait until its API answers."""
        command = ("apply", "--server-side", "--force-conflicts", "-o", "json", "-f", str(crd))
        done = self.kubectl(*command)
        if done.returncode:
            raise RuntimeError(f"kubectl apply: {done.stderr}")
        made = json.loads(done.stdout)["spec"]
        path = f"/apis/{made['group']}/{made['versions'][0]['name']}/{made['names']['plural']}"
        deadline = time.monotonic() + _START_SECONDS
        while self.call("GET", path).status != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{path} is not served")
            time.sleep(0.05)

    def calls(self) -> list[Call]:
        """Every request so far, in the order of their arrival.

        A request is here once it was answered; a watch is from its start on.
        """
        newest: dict[str, dict[str, Any]] = {}
        for line in (self.folder / "audit.log").read_text().splitlines(keepends=True):
            # The last line may still be in the making.
            if line.endswith("\n"):
                event = json.loads(line)
                newest[event["auditID"]] = event
        return [_call(event) for event in newest.values()]

    def close(self) -> None:
        """Close the connections of all threads; none may be in use."""
        for connection in self._connections:
            connection.close()

    def _connection(self) -> http.client.HTTPSConnection:
        """This thread's connection; it opens itself when it is closed."""
        if not hasattr(self._mine, "connection"):
            self._mine.connection = http.client.HTTPSConnection(
                "127.0.0.1", self._port, context=self._tls, timeout=60
            )
            self._mine.used = time.monotonic()
            self._connections.append(self._mine.connection)
        connection: http.client.HTTPSConnection = self._mine.connection
        if time.monotonic() - self._mine.used > _KEPT_SECONDS:
            connection.close()
        return connection

    def _kubeconfig(self, name: str, credentials: dict[str, str]) -> Path:
        cluster = {
            "server": self.url,
            "certificate-authority-data": _base64(self.folder / "ca.crt"),
        }
        path = self.folder / f"{_file_name(name)}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": credentials}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config))
        path.chmod(0o600)
        return path


@contextlib.contextmanager
def start() -> Iterator[ApiServer]:
    """Start etcd and kube-apiserver, and end them for certain, also when this process is killed.

    Raises:
        RuntimeError: a program is missing (see `missing`) or does not come up; its log is in the message.
    """
    lacking = missing()
    if lacking:
        raise RuntimeError(lacking)
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="rljob-api-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _authority(folder)
        stack.enter_context(_running("etcd", _etcd(folder), folder))
        port = free_port()
        server = ApiServer(folder, port)
        stack.callback(server.close)
        _certificate(folder, "server", ())
        process = stack.enter_context(_running("apiserver", _apiserver(folder, port), folder))
        _await_ready(server, process)
        yield server


def _etcd(folder: Path) -> list[str]:
    # Sockets in the folder: no port that another program might have taken. etcd wants a number at the
    # end of what it advertises; it is part of the socket's name.
    peer, client = "unix://peer:1", "unix://client:1"
    return [
        "etcd",
        "--name=test",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(folder: Path, port: int) -> list[str]:
    (folder / "audit.json").write_text(json.dumps(_AUDIT_POLICY))
    (folder / "audit.log").touch()
    return [
        "kube-apiserver",
        f"--etcd-servers=unix://{folder}/client:1",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder}/server.crt",
        f"--tls-private-key-file={folder}/server.key",
        f"--client-ca-file={folder}/ca.crt",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/ca.crt",
        f"--service-account-signing-key-file={folder}/ca.key",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--endpoint-reconciler-type=none",
        "--authorization-mode=RBAC",
        # No controller makes the ServiceAccount `default` that it wants of every pod.
        "--disable-admission-plugins=ServiceAccount",
        f"--audit-policy-file={folder}/audit.json",
        f"--audit-log-path={folder}/audit.log",
        "--audit-log-mode=blocking",
    ]


@contextlib.contextmanager
def _running(name: str, command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(programs() / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            # A session of its own: Ctrl-C is for the tests.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: TID251
        )
    try:
        yield process
    finally:
        # There is nothing that a gentle end would save.
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def _await_ready(server: ApiServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if server.call("GET", "/readyz").status == 200:
                return
        time.sleep(0.05)
    logs = "\n".join(
        (server.folder / f"{name}.log").read_text()[-2000:] for name in ("etcd", "apiserver")
    )
    raise RuntimeError(f"the API server did not come up:\n{logs}")


def _authority(folder: Path) -> None:
    """`ca.crt` and `ca.key`, which sign everything: certificates, and tokens of ServiceAccounts."""
    usage = "-addext keyUsage=critical,keyCertSign,digitalSignature"
    _openssl(folder, f"req -x509 {_NEW_KEY} -days 2 {usage} -keyout ca.key -out ca.crt", "/CN=test")
    (folder / "leaf.cnf").write_text(_LEAF)


def _certificate(folder: Path, name: str, groups: Sequence[str]) -> tuple[Path, Path]:
    """A certificate for a user of that name in those groups, and its key."""
    file = _file_name(name)
    subject = "".join(f"/O={group}" for group in groups) + "/CN=" + name.replace("/", "\\/")
    _openssl(folder, f"req -new {_NEW_KEY} -keyout {file}.key -out {file}.csr", subject)
    signer = "-CA ca.crt -CAkey ca.key -CAcreateserial -extfile leaf.cnf"
    _openssl(folder, f"x509 -req -in {file}.csr -out {file}.crt -days 2 {signer}")
    return folder / f"{file}.crt", folder / f"{file}.key"


def _openssl(folder: Path, command: str, subject: str = "") -> None:
    done = subprocess.run(
        ["openssl", *command.split(), *(["-subj", subject] if subject else [])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"openssl {command}: {done.stderr}")


def _call(event: dict[str, Any]) -> Call:
    object_ = event.get("objectRef", {})
    return Call(
        # A request that ended before it was authenticated has no user.
        user=event.get("user", {}).get("username", ""),
        agent=event.get("userAgent", ""),
        verb=event["verb"],
        uri=event["requestURI"],
        group=object_.get("apiGroup", ""),
        resource=object_.get("resource", ""),
        subresource=object_.get("subresource", ""),
        namespace=object_.get("namespace", ""),
        name=object_.get("name", ""),
        status=event.get("responseStatus", {}).get("code"),
    )


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
