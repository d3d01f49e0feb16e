#!/bin/bash
# Bring the Prometheus Operator's images and Prometheus' own to the nodes of the test cluster. They are made here, from Go
# modules: Debian's Prometheus, which the other tests use, cannot ask Kubernetes what to scrape.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_engine
is_up || fail "No cluster is up: make cluster"

programs=(prometheus-operator prometheus-config-reloader prometheus-server)
"$HERE/programs.sh" "${programs[@]}"
"$HERE/registry.sh"

for program in "${programs[@]}"; do
    image=rljob/test-$program:1
    tar -C "$CACHE/bin" --transform 's|^|bin/|' -c "$program" |
        "$DOCKER" import --change "ENTRYPOINT [\"/bin/$program\"]" - "$REGISTRY_HOST/$image" >/dev/null
    "$DOCKER" push --quiet "$REGISTRY_HOST/$image" >/dev/null
    for node in $(kubectl get nodes --selector '!node-role.kubernetes.io/control-plane' \
        --output jsonpath='{.items[*].metadata.name}'); do
        "$DOCKER" exec "$node" ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d \
            "ghcr.io/$image" >/dev/null
    done
    "$DOCKER" rmi "$REGISTRY_HOST/$image" >/dev/null
    say "the nodes have ghcr.io/$image"
done
