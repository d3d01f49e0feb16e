#!/bin/bash
# Start the registry that images reach the cluster through, and tell the nodes that there are to look there for ghcr.io's.
# Of an image that was built again, only the layers that changed travel.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if ! has_registry; then
    "$DOCKER" rm --force "$REGISTRY" >/dev/null 2>&1 || true
    mkdir -p "$CACHE/registry"
    has_image rljob/registry || tar -C "$CACHE/bin" -c crane |
        "$DOCKER" import --change 'ENTRYPOINT ["/crane", "registry", "serve"]' - rljob/registry >/dev/null
    "$DOCKER" run --detach --name "$REGISTRY" --publish "$REGISTRY_HOST:5000" \
        --user "$(id -u)" --volume "$CACHE/registry:/blobs" \
        rljob/registry --address 0.0.0.0:5000 --disk /blobs >/dev/null
fi
nodes=$(kind get nodes --quiet --name "$CLUSTER")
[ -n "$nodes" ] || exit 0
"$DOCKER" inspect --format '{{json .NetworkSettings.Networks}}' "$REGISTRY" | grep -q '"kind"' ||
    "$DOCKER" network connect kind "$REGISTRY"
for node in $nodes; do
    "$DOCKER" exec "$node" mkdir -p /etc/containerd/certs.d/ghcr.io
    "$DOCKER" exec -i "$node" tee /etc/containerd/certs.d/ghcr.io/hosts.toml >/dev/null <<TOML
[host."http://$REGISTRY:5000"]
  capabilities = ["pull", "resolve"]
TOML
done
