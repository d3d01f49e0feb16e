#!/bin/bash
# Build programs of programs/*/go.mod into the cache's bin/: those that are named, or all that the cluster is made of.
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
        helm) echo helm.sh/helm/v3/cmd/helm ;;
        prometheus-operator) echo github.com/prometheus-operator/prometheus-operator/cmd/operator ;;
        prometheus-server) echo github.com/prometheus/prometheus/cmd/prometheus ;;
        prometheus-config-reloader) echo "github.com/prometheus-operator/prometheus-operator/cmd/$1" ;;
        *) fail "No such program: $1" ;;
    esac
}

# The folder with the go.mod of a program or a module.
home_of() {
    case $1 in
        helm | helm.sh/*) echo helm ;;
        prometheus-server) echo prometheus ;;
        prometheus-* | github.com/prometheus-operator/*) echo prometheus-operator ;;
        *) echo . ;;
    esac
}

flags_of() {
    local minor=${KUBERNETES#v1.} version=k8s.io/component-base/version helm=helm.sh/helm/v3
    if [ "$1" = helm ]; then
        # What `helm template` takes for the cluster: the Kubernetes that helm was made from.
        minor=$(go list -m -f '{{.Version}}' k8s.io/client-go | cut -d. -f2)
        echo "-s -w -X $helm/internal/version.version=$(go list -m -f '{{.Version}}' $helm)"
        printf -- "-X $helm/pkg/%s.k8sVersionMajor=1 -X $helm/pkg/%s.k8sVersionMinor=$minor " \
            chartutil chartutil lint/rules lint/rules
        return
    fi
    echo "-s -w -X $version.gitVersion=$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}"
    echo "-X $version.gitTreeState=clean -X $version.buildDate=1970-01-01T00:00:00Z"
}

find_go
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
if [ "${1:-}" = --source ]; then
    cd "$(home_of "$2")"
    go mod download -json "$2" | jq -r .Dir
    exit
fi
[ $# -gt 0 ] || set -- kind kubectl crane coredns etcd local-path-provisioner \
    kubeadm kubelet kube-apiserver kube-controller-manager kube-scheduler kube-proxy
mkdir -p "$CACHE/bin"
say "building $*"
for program; do
    cd "$HERE/programs/$(home_of "$program")"
    go build -trimpath -ldflags "$(flags_of "$program" | tr '\n' ' ')" -o "$CACHE/bin/$program" "$(package_of "$program")"
done
