#!/bin/bash
# Print the name of the Python image that ours are built on: the pinned one where it can be pulled, else one that is made
# here of Debian's packages and trusts the certificates that this machine trusts.
source "$(dirname "${BASH_SOURCE[0]}")/../tests/cluster/common.sh"

pinned=$(sed -n 's/^ARG BASE=//p' "$REPO/images/runtime/Dockerfile")
built=rljob/python:3.11
certificates=/etc/ssl/certs/ca-certificates.crt

if has_image "$built"; then
    echo "$built"
    exit
fi
if pull "$pinned"; then
    echo "$pinned"
    exit
fi
[ "$(id -u)" = 0 ] || fail "$pinned cannot be pulled, and making one of Debian's packages needs root:" "    sudo make images"
command -v mmdebstrap >/dev/null || fail "$pinned cannot be pulled, and making one needs mmdebstrap:" "    make cluster-tools"
say "$pinned cannot be pulled: making $built of Debian's packages"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debian_root bookworm ca-certificates,python3,python3-venv "$root" >&2
cp "${SSL_CERT_FILE:-$certificates}" "$root$certificates"
tar -C "$root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc/*' \
    --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' -c . |
    "$DOCKER" import --change "ENV SSL_CERT_FILE=$certificates PIP_CERT=$certificates" - "$built" >/dev/null
echo "$built"
