#!/bin/bash
# Build programs into the cache's bin/: those that are named, or all that the cluster is made of. What was built from
# the same sources is kept. `--source MODULE` prints where the source of a module lies.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$HERE/programs"

# Go from 1.21 on fetches the release that go.mod asks for; an older one is made to download it.
find_go() {
    local minor toolchain
    command -v go >/dev/null || fail \
        "Go is needed, to build kind and kubectl: install it (https://go.dev/doc/install) or, on Debian or" \
        "Ubuntu as root:" "    make cluster-tools"
    minor=$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -lt 21 ]; then
        toolchain=$(sed -n 's/^toolchain //p' go.mod).$(go env GOOS)-$(go env GOARCH)
        toolchain=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-$toolchain" | jq -r .Dir)
        chmod -R u+w,+x "$toolchain"/{bin,pkg/tool}
        export GOROOT=$toolchain PATH=$toolchain/bin:$PATH
    fi
}

package_of() {
    case $1 in
        kind) echo sigs.k8s.io/kind ;;
        kube-router) echo github.com/cloudnativelabs/kube-router/v2/cmd/kube-router ;;
        kube*) echo "k8s.io/kubernetes/cmd/$1" ;;
        coredns) echo ./coredns ;;
        crane) echo github.com/google/go-containerregistry/cmd/crane ;;
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        local-path-provisioner) echo github.com/rancher/local-path-provisioner ;;
        helm) echo helm.sh/helm/v3/cmd/helm ;;
        prometheus-operator) echo github.com/prometheus-operator/prometheus-operator/cmd/operator ;;
        prometheus-server) echo github.com/prometheus/prometheus/cmd/prometheus ;;
        prometheus-config-reloader) echo "github.com/prometheus-operator/prometheus-operator/cmd/$1" ;;
        *) fail "No such program: $1" ;;
    esac
}

# The folder with the go.mod of a package or a module.
home_of() {
    case $1 in
        github.com/prometheus-operator/*) echo prometheus-operator ;;
        github.com/cloudnativelabs/*) echo kube-router ;;
        *) echo . ;;
    esac
}

# -X sets a variable of a package; a program without that package ignores it.
linker_flags() {
    local version minor=${KUBERNETES#v1.} k8s=k8s.io/component-base/version helm=helm.sh/helm/v3
    version=$(sed -n "s|^\t$helm \(v[^ ]*\).*|\1|p" go.mod)
    echo "-s -w -X $k8s.gitVersion=$KUBERNETES -X $k8s.gitMajor=1 -X $k8s.gitMinor=${minor%%.*}" \
        "-X $k8s.gitTreeState=clean -X $k8s.buildDate=1970-01-01T00:00:00Z -X $helm/internal/version.version=$version"
    # What `helm template` takes for the cluster.
    printf -- " -X $helm/pkg/%s.k8sVersionMajor=1 -X $helm/pkg/%s.k8sVersionMinor=${minor%%.*}" \
        chartutil chartutil lint/rules lint/rules
}

# One hash of all that a package's program is made from.
inputs_of() { { echo "$flags"; cat "$(home_of "$1")"/go.{mod,sum} coredns/main.go; } | sha256sum | cut -d' ' -f1; }

# build PROGRAM...: of one module, by one `go build`, so that packages are compiled and programs linked side by side.
build() {
    local program package packages=()
    for program; do packages+=("$(package_of "$program")"); done
    (
        cd "$(home_of "${packages[0]}")"
        # Prometheus finds its targets through Kubernetes only: without the clients of twenty clouds.
        go build -trimpath -tags remove_all_sd,enable_kubernetes_sd -ldflags "$flags" -o "$built/" "${packages[@]}"
    )
    # Renamed when whole: a program that runs is not overwritten, and one that is there can be run.
    for program; do
        package=$(package_of "$program")
        mv "$built/$(basename "${package%/v3}")" "$CACHE/bin/$program"
        inputs_of "$package" >"$CACHE/built/$program"
    done
}

if [ "${1:-}" = --source ]; then
    find_go
    cd "$(home_of "$2")"
    go mod download -json "$2" | jq -r .Dir
    exit
fi
[ $# -gt 0 ] || set -- kind kubectl crane coredns etcd local-path-provisioner \
    kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy
mkdir -p "$CACHE"/{bin,built}
exec {lock}>"$CACHE/built/.lock"
flock --nonblock "$lock" || { say "waiting for another build of programs"; flock "$lock"; }
flags=$(linker_flags)
main=() operator=() router=() alone=()
for program; do
    package=$(package_of "$program")
    [ "$(cat "$CACHE/built/$program" 2>/dev/null)" != "$(inputs_of "$package")" ] || [ ! -x "$CACHE/bin/$program" ] ||
        continue
    case $program in
        prometheus-operator | prometheus-config-reloader) operator+=("$program") ;;
        kube-router) router+=("$program") ;;
        # It cannot be in one build with others: its logrus differs from theirs by a capital letter.
        local-path-provisioner) alone+=("$program") ;;
        *) main+=("$program") ;;
    esac
done
all=("${main[@]}" "${operator[@]}" "${router[@]}" "${alone[@]}")
[ ${#all[@]} -gt 0 ] || exit 0
say "building" "${all[@]}"
find_go
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
built=$(mktemp -d "$CACHE/built/XXXXXX")
trap 'rm -rf "$built"' EXIT
for group in main operator router alone; do
    declare -n programs=$group
    [ ${#programs[@]} -eq 0 ] || build "${programs[@]}"
done
