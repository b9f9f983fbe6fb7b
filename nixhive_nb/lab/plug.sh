#!/bin/sh
# Plug a practice host in: its address, and no way through it. It runs in the host's network namespace.
#
# usage: plug.sh ADDRESS/PREFIX
set -eu
if [ -e /proc/sys/net/ipv6/conf/eth0/disable_ipv6 ]; then
  echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
fi
# A new network namespace may inherit this from the machine; here every way inward leads through the jump host's sshd.
echo 0 >/proc/sys/net/ipv4/ip_forward
ip -batch - <<COMMANDS
link set lo up
addr replace $1 dev eth0
link set eth0 up
COMMANDS
