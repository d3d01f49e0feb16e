#!/bin/bash
# Bring up the cluster, a control plane and a worker, unless it is up; say how to reach it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

tell() {
    echo "The cluster $CLUSTER is up. To reach it:"
    echo "    export KUBECONFIG=$KUBECONFIG PATH=$CACHE/bin:\$PATH"
}

if is_up; then
    tell
    exit
fi
need_engine
mkdir -p "$STATE"
"$HERE/programs.sh" kind kubectl crane helm
if kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
    kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG" >/dev/null 2>&1 || true
    if is_up; then
        tell
        exit
    fi
    say "a cluster $CLUSTER is there but does not answer: making it anew"
    kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG"
fi

# Images that are built meanwhile go there already.
"$HERE/registry.sh"
if pull "$STOCK_NODE"; then
    kind create cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG" --config "$HERE/kind.yaml" --image "$STOCK_NODE"
else
    image=$("$HERE/node-image.sh")
    # kindnet comes as an image only.
    { cat "$HERE/kind.yaml"; echo 'networking: {disableDefaultCNI: true}'; } |
        kind create cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG" --config - --image "$image"
    "$HERE/bridge.sh"
    # On cgroup v1 a container now and then cannot be started. A volume waits less long for it than two minutes.
    kubectl --namespace local-path-storage get configmap local-path-config --output json |
        jq '.data["config.json"] |= (fromjson | .cmdTimeoutSeconds = 40 | tojson)' |
        kubectl replace --filename - >/dev/null
fi
"$HERE/registry.sh"
kubectl wait --for=condition=Ready node --all --timeout=120s >/dev/null
kubectl --namespace kube-system rollout status deployment/coredns --timeout=120s >/dev/null
tell
