#!/bin/bash
# Enforce NetworkPolicies on the test cluster: kube-router on each node, as a service. kind's own network does it by itself.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
need_engine
is_up || fail "No cluster is up: make cluster"

kubectl --namespace kube-system get daemonset kindnet >/dev/null 2>&1 && exit
"$HERE/programs.sh" kube-router
settings=/etc/kubernetes/kube-router.conf
for node in $(kind get nodes --quiet --name "$CLUSTER"); do
    write_on "$node" /usr/local/bin/kube-router 755 <"$CACHE/bin/kube-router"
    kind get kubeconfig --internal --name "$CLUSTER" | write_on "$node" "$settings" 600
    start_service "$node" kube-router "/usr/local/bin/kube-router --run-firewall --run-router=false \
--run-service-proxy=false --kubeconfig=$settings --hostname-override=$node --service-cluster-ip-range=10.96.0.0/16 \
--metrics-port=0 --health-port=0"
    say "$node enforces NetworkPolicies"
done
