#!/bin/sh
# The power of a practice host with systemd. It starts the host as a container, and starts it again each time that the
# host rebooted. When the host went down in any other way, this ends as well. It runs in a mount namespace of its own.
#
# usage: container.sh ROOT NAME ADDRESS/PREFIX MACHINE CGROUP
set -u
root=$1 name=$2 address=$3 machine=$4 cgroup=$5
echo $$ >"$cgroup/power/cgroup.procs" || exit
# What nspawn leaves there when it is killed goes with us.
mkdir -p /run/systemd/nspawn && mount -t tmpfs -o mode=755 tmpfs /run/systemd/nspawn || exit

# Two containers in one group, or one in what it left, would take each other's units for their own.
start() {
  find "$cgroup/box" -mindepth 1 -depth -type d -exec rmdir {} +
  # shellcheck disable=SC2016 # the inner shell reads them
  env SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_LOCK=0 \
    sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup/box" \
    systemd-nspawn --quiet --settings=no --register=no --keep-unit --machine="$machine" --hostname="$name" \
    --network-namespace-path=/proc/self/ns/net --capability=CAP_NET_ADMIN \
    --resolv-conf=off --timezone=off --link-journal=no --console=pipe --directory="$root" --boot
}

while
  sh "${0%/*}/plug.sh" "$address" || exit
  start
  [ $? = 133 ] # what nspawn ends with at a reboot
do :; done
