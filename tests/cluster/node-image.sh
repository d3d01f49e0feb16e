#!/bin/bash
# Build the node image of the cluster where none can be pulled, and print its name: Kubernetes and its companions from
# Go modules, everything else from Debian's packages, put together by `kind build node-image`.
# Needs root, an engine that runs privileged containers, Go, mmdebstrap, gcc, jq, pigz and Python.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

NODE_PACKAGES=bash,busybox-static,ca-certificates,conntrack,containerd,containernetworking-plugins,curl,dbus,e2fsprogs
NODE_PACKAGES+=,ethtool,iproute2,ipset,iptables,jq,kmod,libseccomp2,mount,nftables,pigz,procps,rsync,runc,socat,systemd
NODE_PACKAGES+=,systemd-sysv,util-linux

inputs=$(cat "$HERE"/{node-image.sh,name_images.py} "$HERE"/programs/{go.mod,go.sum,coredns/main.go} | sha256sum)
image=rljob/kind-node:$KUBERNETES-${inputs:0:12}
if has_image "$image"; then
    echo "$image"
    exit
fi

[ "$(id -u)" = 0 ] || fail "$STOCK_NODE cannot be pulled, and building a node image needs root:" "    sudo make cluster"
missing=$(for tool in mmdebstrap gcc jq pigz python3; do command -v $tool >/dev/null || echo "$tool"; done)
[ -z "$missing" ] || fail "To build a node image this machine lacks: ${missing//$'\n'/, }. On Debian or Ubuntu as root:" \
    "    make cluster-tools"

root=$CACHE/node
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; kill $(jobs -p) 2>/dev/null || true' EXIT

node_packages() {
    [ "$(cat "$root/.complete" 2>/dev/null)" = "$NODE_PACKAGES" ] && return
    rm -rf "$root"
    debian_root trixie "$NODE_PACKAGES" "$root" >"$CACHE/mmdebstrap.log" 2>&1 ||
        fail "mmdebstrap failed; its output is in $CACHE/mmdebstrap.log"
    echo "$NODE_PACKAGES" >"$root/.complete"
}

# kind's own scripts and units for a node, and what else its base image sets up.
node_root() {
    local program
    cp -r "$kind_files"/{usr,kind,etc} "$root/"
    chmod -R u+w "$root"/{kind,etc,usr/local}
    chmod 755 "$root"/kind{,/bin,/bin/*} "$root"/usr/local/bin/*
    rm -rf "$root"/etc/systemd/system/*.wants/* \
        "$root"/lib/systemd/system/{multi-user,local-fs,basic}.target.wants/* \
        "$root"/lib/systemd/system/sockets.target.wants/*{udev,initctl}* \
        "$root"/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
    for program in containerd ctr containerd-shim-runc-v2; do
        ln -sf "/usr/bin/$program" "$root/usr/local/bin/$program"
    done
    mkdir -p "$root"/opt/cni/bin "$root"/etc/kubernetes/manifests "$root"/etc/systemd
    cp "$root"/usr/lib/cni/{bridge,host-local,loopback,portmap,ptp} "$root/opt/cni/bin/"
    printf '[Journal]\nReadKMsg=no\n' >"$root/etc/systemd/journald.conf"
    # Root without CAP_SYS_RESOURCE may not lower an OOM score, and raises no limit of its own.
    sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
    sed -i '/^OOMScoreAdjust/d' "$root/etc/systemd/system/containerd.service"
    chroot "$root" ctr oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}]
        | del(.process.rlimits)' >"$root/etc/containerd/cri-base.json"
    # It complains on stderr that /proc is not mounted there.
    chroot "$root" systemctl --quiet enable kubelet.service containerd.service undo-mount-hacks.service 2>/dev/null
    chroot "$root" systemctl --quiet mask systemd-binfmt.service 2>/dev/null
    tar -C "$root" --exclude=./.complete --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -c . |
        "$DOCKER" import - rljob/kind-root >/dev/null
    "$DOCKER" build --quiet --tag rljob/kind-base - >/dev/null <<'DOCKERFILE'
FROM rljob/kind-root
ENV container=docker
STOPSIGNAL SIGRTMIN+3
ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]
DOCKERFILE
}

# program_image NAME:TAG PROGRAM: an image of one static program.
program_image() {
    tar -C "$(dirname "$2")" --transform 's|^|usr/local/bin/|' -c "$(basename "$2")" |
        "$DOCKER" import --change 'ENV PATH=/usr/local/bin' \
            --change "ENTRYPOINT [\"/usr/local/bin/$(basename "$2")\"]" - "$1" >/dev/null
}

# kube-proxy and, out of the node's root, the programs that it calls with the libraries that they load.
proxy_image() {
    # shellcheck disable=SC2016  # all of it runs in the root, where links lead to its own files
    chroot "$root" sh -c 'programs="/usr/sbin/nft /usr/sbin/conntrack /usr/sbin/xtables-nft-multi"
        libraries=$(ldd $programs /usr/lib/*/xtables/*.so | grep -oE "[[:space:]]/lib[^ ]+" | sort -u)
        tar --dereference -c $programs $libraries /usr/lib/*/xtables /usr/sbin/iptables* /usr/sbin/ip6tables* 2>/dev/null
    ' >"$scratch/proxy.tar"
    tar -C "$CACHE/bin" --transform 's|^|usr/local/bin/|' -rf "$scratch/proxy.tar" kube-proxy
    "$DOCKER" import --change 'ENV PATH=/usr/local/bin:/usr/sbin' "$scratch/proxy.tar" "$1" >/dev/null
}

# What makes and removes the folders of local volumes.
helper_image() {
    local program
    mkdir -p "$scratch/helper/bin"
    cp "$root/bin/busybox" "$scratch/helper/bin/"
    for program in sh mkdir rm; do ln -s busybox "$scratch/helper/bin/$program"; done
    tar -C "$scratch/helper" -c . | "$DOCKER" import --change 'ENV PATH=/bin' - "$1" >/dev/null
}

pause_image() {
    gcc -static -Os -o "$scratch/pause" -x c - <<'C'
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
static void end(int s) { (void)s; _exit(0); }
static void reap(int s) { (void)s; while (waitpid(-1, 0, WNOHANG) > 0) {} }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); signal(SIGCHLD, reap); for (;;) pause(); }
C
    program_image "$1" "$scratch/pause"
}

say "building $image: some minutes the first time"
mkdir -p "$CACHE"
node_packages &
"$HERE/programs.sh"
wait $! || exit

kind_source=$("$HERE/programs.sh" --source sigs.k8s.io/kind)
kind_files=$kind_source/images/base/files
say "root file system of a node"
node_root

say "images that a node starts with"
named() { grep -rhoE "docker.io/kindest/$1:[^\"\`]*" "$kind_source/pkg/build/nodeimage" | head -1; }
kubeadm_names=$(kubeadm config images list --kubernetes-version "$KUBERNETES" 2>/dev/null)
etcd=$(grep /etcd: <<<"$kubeadm_names")
coredns=$(grep /coredns: <<<"$kubeadm_names")
pause=$(grep -oE 'registry.k8s.io/pause:[0-9.]+' "$kind_files/etc/containerd/config.toml")
servers=(registry.k8s.io/kube-{apiserver,controller-manager,scheduler})
for server in "${servers[@]}"; do program_image "$server:$KUBERNETES" "$CACHE/bin/${server##*/}"; done
proxy=registry.k8s.io/kube-proxy:$KUBERNETES
proxy_image "$proxy"
program_image "$etcd" "$CACHE/bin/etcd"
program_image "$coredns" "$CACHE/bin/coredns"
program_image "$(named local-path-provisioner)" "$CACHE/bin/local-path-provisioner"
helper_image "$(named local-path-helper)"
pause_image "$pause"
# Never run, as the cluster is made without kindnet; but kind would pull it.
"$DOCKER" tag "$pause" "$(named kindnetd)"

say "node image"
programs=$scratch/kubernetes/server/bin
mkdir -p "$programs"
cp "$CACHE"/bin/{kubeadm,kubelet,kubectl} "$programs/"
echo "$KUBERNETES" >"$scratch/kubernetes/version"
for server in "${servers[@]}"; do "$DOCKER" save "$server:$KUBERNETES" >"$programs/${server##*/}.tar"; done
# kind pulls every image that it does not find in these four archives: the last of them holds all the others.
others=("$proxy" "$etcd" "$coredns" "$pause" "$(named kindnetd)" "$(named local-path-provisioner)" "$(named local-path-helper)")
"$DOCKER" save "${others[@]}" >"$scratch/others.tar"
python3 "$HERE/name_images.py" "$scratch/others.tar" "$programs/kube-proxy.tar"
tar -C "$scratch" -c kubernetes | pigz -1 >"$scratch/server.tar.gz"
TMPDIR=$scratch kind build node-image --type file --base-image rljob/kind-base --image "$image" "$scratch/server.tar.gz" >&2
"$DOCKER" rmi rljob/kind-{base,root} "${servers[@]/%/:$KUBERNETES}" "${others[@]}" >/dev/null
echo "$image"
