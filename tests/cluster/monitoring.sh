#!/bin/bash
# Bring the Prometheus Operator's images and Prometheus' own to the nodes of the test cluster, unless they are there. They
# are made here, from Go modules: Debian's Prometheus, which the other tests use, cannot ask Kubernetes what to scrape.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_engine
is_up || fail "No cluster is up: make cluster"

programs=(prometheus-operator prometheus-config-reloader prometheus-server)
"$HERE/programs.sh" "${programs[@]}"

for program in "${programs[@]}"; do
    image=ghcr.io/rljob/test-$program:1
    inputs=$(cat "$CACHE/built/$program")
    for node in $(workers); do
        [ -z "$(on_node "$node" images list --quiet "name==\"$image\",labels.inputs==\"$inputs\"")" ] || continue
        tar -C "$CACHE/bin" --transform 's|^|bin/|' -c "$program" |
            "$DOCKER" import --change "ENTRYPOINT [\"/bin/$program\"]" - "$image" >/dev/null
        "$DOCKER" save "$image" | on_node "$node" images import - >/dev/null
        "$DOCKER" rmi "$image" >/dev/null
        on_node "$node" images label "$image" "inputs=$inputs" >/dev/null
        say "$node has $image"
    done
done
