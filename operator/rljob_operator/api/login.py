"""Address and credentials of the API server, for our own calls and for kopf's watches."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio import config as kubeconfig
from kubernetes.aio.client import Configuration

from rljob.errors import InputError
from rljob_operator.config import Config


async def load(config: Config) -> Configuration:
    """The pod's ServiceAccount inside a cluster, else a kubeconfig chosen as kubectl does.

    Raises:
        InputError: neither exists, or it cannot be read.
    """
    found = Configuration()
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ
    try:
        if config.kubeconfig is None and config.context is None and in_cluster:
            kubeconfig.load_incluster_config(found)  # type: ignore[no-untyped-call]
        else:
            files = config.kubeconfig or kubeconfig.KUBE_CONFIG_DEFAULT_LOCATION
            _check_there_is_one(files)
            await kubeconfig.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=files,
                context=config.context,
                client_configuration=found,
                persist_config=False,
            )
    except (kubeconfig.ConfigException, OSError) as error:
        raise InputError(f"cannot connect to Kubernetes: {error}", path="--kubeconfig") from error
    return found


def _check_there_is_one(files: str) -> None:
    paths = [Path(file).expanduser() for file in files.split(os.pathsep)]
    if not any(path.is_file() for path in paths):
        raise OSError(f"{files} is not a file")


async def for_kopf(found: Configuration) -> kopf.ConnectionInfo:
    """The same for kopf, with the current token. kopf calls this again when the token is rejected."""
    header = await found.get_api_key_with_prefix("BearerToken")
    scheme, _, token = (header or "").strip().partition(" ")
    given: dict[str, Any] = {}
    if header:
        # The loader writes `bearer` or `Bearer`, and keeps a trailing newline of the token file.
        given = {"scheme": scheme.capitalize(), "token": token.strip()}
    return kopf.ConnectionInfo(
        server=found.host,
        ca_path=found.ssl_ca_cert,
        insecure=not found.verify_ssl,
        certificate_path=found.cert_file,
        private_key_path=found.key_file,
        proxy_url=found.proxy,
        **given,
    )
