#!/bin/bash
# Remove the cluster and the registry beside it. The cache stays: the next cluster is up in a minute.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if engine_answers; then
    ! command -v kind >/dev/null || kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
    "$DOCKER" rm --force "$REGISTRY" >/dev/null 2>&1 || true
fi
rm -f "$KUBECONFIG"
