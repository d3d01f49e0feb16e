#!/bin/bash
# build.sh [worker|learner|operator|example]...: build images (all, when none is named), tagged with the version; bring
# them to the test cluster's registry when that runs, and to its nodes when it is up. After a change of code that takes
# seconds.
source "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/common.sh"
cd "$REPO"
need_engine

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
base=$(images/base.sh)
mkdir -p "$STATE"

image_of() { echo "ghcr.io/rljob/rljob-$1:$version"; }

build() { # NAME OPTIONS...: what docker prints is kept, and shown when it fails
    local name=$1 log=$STATE/build-$1.log
    shift
    "$DOCKER" build --progress plain --tag "$(image_of "$name")" "$@" >"$log" 2>&1 || {
        tail -40 "$log" >&2
        fail "The image $name could not be built; all of the output is in $log"
    }
}

build_ours() { # NAME FOLDER
    build "$1" --file "images/$2/Dockerfile" --target "$1" --build-arg "BASE=$base" \
        --build-arg "VERSION=$version" --build-arg "REVISION=$(git describe --always --dirty --abbrev=12)" .
}

# Only layers that the registry lacks are sent to it, and from it only those that the node lacks.
push() {
    local pushed=$REGISTRY_HOST/rljob/rljob-$1:$version
    "$DOCKER" tag "$(image_of "$1")" "$pushed"
    "$DOCKER" push --quiet "$pushed" >/dev/null
}

pull_to_nodes() {
    local node
    for node in $(workers); do
        on_node "$node" images pull --hosts-dir /etc/containerd/certs.d "$(image_of "$1")" >/dev/null
    done
}

is_up && up=yes || up=
[ -z "$up" ] || "$HERE/registry.sh"
[ $# -gt 0 ] || set -- worker learner operator example
for name; do
    started=$SECONDS
    case $name in
        worker | learner) build_ours "$name" runtime ;;
        operator) build_ours operator operator ;;
        example) build example --build-arg "VERSION=$version" examples/image ;;
        *) fail "No such image: $name (worker, learner, operator, example)" ;;
    esac
    ! has_registry || push "$name"
    [ -z "$up" ] || pull_to_nodes "$name"
    # What the build before left without a name.
    "$DOCKER" image prune --force --filter "label=org.opencontainers.image.title=rljob-$name" >/dev/null
    say "$(image_of "$name"): $((SECONDS - started)) s"
done
