#!/bin/bash
# Give each node of the cluster a plain bridge for its pods, and a route to every other node's pods.
# It stands in for kindnet, which comes as an image only. It enforces no NetworkPolicy.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes() { # name, range of pods and address of each node
    kubectl get nodes --output \
        jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
}

for node in $(nodes | cut -d' ' -f1); do
    kubectl wait --for=jsonpath='{.spec.podCIDR}' "node/$node" --timeout=60s >/dev/null
done
nodes | while read -r node range _; do
    "$DOCKER" exec -i "$node" tee /etc/cni/net.d/10-bridge.conflist >/dev/null <<JSON
{"cniVersion": "1.0.0", "name": "bridge", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$range"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
    nodes | while read -r other others_range address; do
        [ "$other" = "$node" ] ||
            "$DOCKER" exec "$node" ip route replace "$others_range" via "$address" </dev/null
    done
done
