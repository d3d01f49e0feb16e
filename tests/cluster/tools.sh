#!/bin/bash
# Install what the cluster needs from Debian's (or Ubuntu's) packages, and start the Docker engine if none runs.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ "$(id -u)" = 0 ] || fail "Installing packages and starting an engine needs root:" "    sudo make cluster-tools"
command -v apt-get >/dev/null || fail \
    "There is no apt-get here. Install Docker (https://docs.docker.com/engine/install/), Go 1.21 or newer" \
    "(https://go.dev/doc/install) and Prometheus (https://prometheus.io/download); where images cannot be pulled," \
    "mmdebstrap, gcc, jq, pigz and Python as well."

install_packages() {
    local package missing=() wanted=(gcc jq libc6-dev mmdebstrap pigz)
    command -v go >/dev/null || wanted+=(golang-go)
    # What reports are looked at with.
    command -v chromium >/dev/null || wanted+=(chromium fonts-dejavu-core)
    # Since 26 Debian has the client and its builder in packages of their own.
    engine_answers || wanted+=(docker.io docker-buildx docker-cli iptables)
    for package in "${wanted[@]}"; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet=2
    mapfile -t missing < <(apt-cache --no-all-versions show "${missing[@]}" 2>/dev/null | sed -n 's/^Package: //p' | sort -u)
    [ ${#missing[@]} -eq 0 ] || apt-get install --quiet=2 --yes --no-install-recommends "${missing[@]}"
}

# Their programs only, out of Debian's package: installed, it would start a service.
get_prometheus() {
    local folder
    [ ! -x "$CACHE/bin/promtool" ] || return 0
    say "getting Prometheus"
    folder=$(mktemp -d)
    apt-cache --quiet=2 show prometheus >/dev/null 2>&1 || apt-get update --quiet=2
    (cd "$folder" && apt-get --quiet=2 --option APT::Sandbox::User=root download prometheus)
    dpkg-deb --extract "$folder"/prometheus_*.deb "$folder"
    install -D --target-directory "$CACHE/bin" "$folder"/usr/bin/{prometheus,promtool}
    rm -rf "$folder"
}

# Bit 24 of the capabilities that a process here can ever hold.
may_raise_limits() { (((0x$(awk '/^CapBnd/ { print $2 }' /proc/self/status) >> 24) & 1)); }

use_available_capabilities() {
    local wrapper=/usr/local/lib/rljob/runc-available-caps settings=/etc/docker/daemon.json
    install -D --mode 755 "$HERE/runc-available-caps" "$wrapper"
    mkdir -p /etc/docker
    [ -s "$settings" ] || echo '{}' >"$settings"
    jq --arg path "$wrapper" '.runtimes["available-caps"] = {$path} | .["default-runtime"] = "available-caps"' \
        "$settings" >"$settings.new"
    mv "$settings.new" "$settings"
}

start_engine() {
    may_raise_limits || use_available_capabilities
    if [ -d /run/systemd/system ]; then
        systemctl restart docker
    else
        mkdir -p "$CACHE"
        setsid dockerd >"$CACHE/dockerd.log" 2>&1 </dev/null &
    fi
    timeout 60 sh -c "until '$DOCKER' info >/dev/null 2>&1; do sleep 1; done" ||
        fail "The Docker engine did not start; see $CACHE/dockerd.log, or journalctl -u docker."
}

install_packages
get_prometheus
DOCKER=$(docker_client)
engine_answers || start_engine
say "the Docker engine answers: $("$DOCKER" version --format '{{.Server.Version}}')"
