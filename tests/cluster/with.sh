#!/bin/bash
# with.sh COMMAND...: run the command with the cluster's kubeconfig and programs in its environment. A cluster that was
# up stays up; one that is brought up for the command goes with it.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

if ! is_up; then
    trap '"$HERE/down.sh"' EXIT
    "$HERE/up.sh"
fi
"$@"
