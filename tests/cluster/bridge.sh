#!/bin/bash
# Give each node of the cluster a plain bridge for its pods, and routes to every other node's pods.
# It stands in for kindnet, which comes as an image only. It enforces no NetworkPolicy; policies.sh does.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

nodes() { # name and range of pods of each node
    kubectl get nodes --output jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR}{"\n"}{end}'
}

bridge() { # RANGE
    cat <<JSON
{"cniVersion": "1.0.0", "name": "bridge", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$1"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

# A node that restarts has lost its routes, and may have another address: each node looks for the others again and again.
routes() { # NODE
    echo '#!/bin/bash'
    echo 'while true; do'
    nodes | while read -r other range; do
        [ "$other" = "$1" ] || echo "    ip route replace $range via \"\$(getent ahostsv4 $other | head -1 | cut -d' ' -f1)\""
    done
    echo '    sleep 2'
    echo 'done'
}

for node in $(nodes | cut -d' ' -f1); do
    kubectl wait --for=jsonpath='{.spec.podCIDR}' "node/$node" --timeout=60s >/dev/null
done
nodes | while read -r node range; do
    bridge "$range" | write_on "$node" /etc/cni/net.d/10-bridge.conflist
    routes "$node" | write_on "$node" /usr/local/bin/pod-routes 755
    start_service "$node" pod-routes /usr/local/bin/pod-routes
done
