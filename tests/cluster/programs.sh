#!/bin/bash
# Build programs of programs/go.mod into the cache's bin/: all of them, or those that are named.
# Go's own cache decides what is compiled: a second call takes seconds. `--source MODULE` prints where its source lies.
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
        kube*) echo "k8s.io/kubernetes/cmd/$1" ;;
        coredns) echo ./coredns ;;
        crane) echo github.com/google/go-containerregistry/cmd/crane ;;
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        local-path-provisioner) echo github.com/rancher/local-path-provisioner ;;
        *) fail "No such program: $1" ;;
    esac
}

find_go
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
if [ "${1:-}" = --source ]; then
    go mod download -json "$2" | jq -r .Dir
    exit
fi
[ $# -gt 0 ] || set -- kind kubectl crane coredns etcd local-path-provisioner \
    kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy
minor=${KUBERNETES#v1.}
version=k8s.io/component-base/version
flags="-s -w -X $version.gitVersion=$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
flags+=" -X $version.gitTreeState=clean -X $version.buildDate=1970-01-01T00:00:00Z"
mkdir -p "$CACHE/bin"
say "building $*"
for program; do
    go build -trimpath -ldflags "$flags" -o "$CACHE/bin/$program" "$(package_of "$program")"
done
