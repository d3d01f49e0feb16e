#!/bin/bash
# Bring the Prometheus Operator's images and Prometheus' own to the nodes of the test cluster. They are made here: the
# operator and its reloader from a Go module, Prometheus from Debian's program, which needs a C library around it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_engine
is_up || fail "No cluster is up: make cluster"

[ -x "$CACHE/bin/prometheus" ] || fail "prometheus is not in $CACHE/bin: make cluster-tools"
"$HERE/programs.sh" prometheus-operator prometheus-config-reloader
"$HERE/registry.sh"

# bring NAME: the image rljob/test-NAME to the nodes, which know it as ghcr.io's.
bring() {
    local image=rljob/test-$1:1 node
    "$DOCKER" tag "rljob/test-$1" "$REGISTRY_HOST/$image"
    "$DOCKER" push --quiet "$REGISTRY_HOST/$image" >/dev/null
    for node in $(kubectl get nodes --selector '!node-role.kubernetes.io/control-plane' \
        --output jsonpath='{.items[*].metadata.name}'); do
        "$DOCKER" exec "$node" ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d \
            "ghcr.io/$image" >/dev/null
    done
    "$DOCKER" rmi "$REGISTRY_HOST/$image" "rljob/test-$1" >/dev/null
}

for program in prometheus-operator prometheus-config-reloader; do
    tar -C "$CACHE/bin" --transform 's|^|bin/|' -c "$program" |
        "$DOCKER" import --change "ENTRYPOINT [\"/bin/$program\"]" - "rljob/test-$program" >/dev/null
    bring "$program"
done
base=$("$REPO/images/base.sh")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp "$CACHE/bin/prometheus" "$folder/"
"$DOCKER" build --quiet --tag rljob/test-prometheus --file - "$folder" >/dev/null <<DOCKERFILE
FROM $base
COPY prometheus /bin/prometheus
ENTRYPOINT ["/bin/prometheus"]
DOCKERFILE
bring prometheus
say "the nodes have ghcr.io/rljob/test-{prometheus,prometheus-operator,prometheus-config-reloader}:1"
