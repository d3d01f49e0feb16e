# shellcheck shell=bash disable=SC2034  # the scripts that source this file use the names
# Names, versions and the few helpers that the scripts beside this file share.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
CACHE=${RLJOB_CACHE:-$HOME/.cache/rljob-cluster}
STATE=$REPO/.cluster
export KUBECONFIG=$STATE/kubeconfig
export PATH=$CACHE/bin:$PATH
export DOCKER_BUILDKIT=1

CLUSTER=rljob
REGISTRY=$CLUSTER-registry   # the container, and its name on the network of kind's nodes
REGISTRY_HOST=127.0.0.1:5001 # the same from this machine

# kind's own node image, for the release of kind in programs/go.mod; taken where it can be pulled.
STOCK_NODE=kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5
# Kubernetes of the node image that is built here otherwise.
KUBERNETES=$(sed -n 's|^\tk8s.io/kubernetes \(v[^ ]*\).*|\1|p' "$HERE/programs/go.mod")

say() { echo "==> $*" >&2; }
fail() { printf '%s\n' "$@" >&2; exit 1; }

# The first client on the PATH that can build with BuildKit: one with buildx, or one old enough not to need it.
docker_client() {
    local client version
    for client in $(type -ap docker); do
        version=$("$client" version --format '{{.Client.Version}}' 2>/dev/null) || true
        if "$client" buildx version >/dev/null 2>&1 || [ "${version%%.*}" -lt 23 ] 2>/dev/null; then
            echo "$client"
            return
        fi
    done
}
DOCKER=$(docker_client)

engine_answers() { [ -n "$DOCKER" ] && "$DOCKER" info >/dev/null 2>&1; }

need_engine() {
    engine_answers || fail \
        "No Docker engine answers on this machine; kind runs its nodes as containers of one." \
        "Install and start one (https://docs.docker.com/engine/install/) or, on Debian or Ubuntu as root:" \
        "    make cluster-tools"
}

has_image() { "$DOCKER" image inspect "$1" >/dev/null 2>&1; }

# Whether an image is here, or could be had from its registry.
pull() { has_image "$1" || timeout 600 "$DOCKER" pull --quiet "$1" >/dev/null 2>&1; }

has_registry() { [ "$("$DOCKER" container inspect --format '{{.State.Running}}' "$REGISTRY" 2>/dev/null)" = true ]; }

is_up() { [ -s "$KUBECONFIG" ] && kubectl get --raw /readyz --request-timeout=3s >/dev/null 2>&1; }

# debian_root RELEASE PACKAGES FOLDER: a root file system in a new folder. Nothing in it has to outlast a power cut.
debian_root() { mmdebstrap --variant=minbase --dpkgopt=force-unsafe-io --include="$2" "$1" "$3"; }

# The nodes that run pods of ours: the control plane takes none.
workers() {
    kubectl get nodes --selector '!node-role.kubernetes.io/control-plane' --output jsonpath='{.items[*].metadata.name}'
}

# write_on NODE FILE [MODE]: a file there, from stdin.
write_on() {
    "$DOCKER" exec -i "$1" sh -c 'cat >"$0.new" && chmod "$1" "$0.new" && mv "$0.new" "$0"' "$2" "${3:-644}"
}

# start_service NODE NAME COMMAND: run it there from now on, also after a restart of the node.
start_service() {
    printf '%s\n' '[Service]' "ExecStart=$3" Restart=always RestartSec=1 '[Install]' WantedBy=multi-user.target |
        write_on "$1" "/etc/systemd/system/$2.service"
    "$DOCKER" exec "$1" sh -c "systemctl daemon-reload && systemctl --quiet enable $2 && systemctl restart $2" </dev/null
}

# on_node NODE ARGUMENT...: containerd's client there, in the part of its store that Kubernetes uses.
on_node() { "$DOCKER" exec -i "$1" ctr --namespace k8s.io "${@:2}"; }
