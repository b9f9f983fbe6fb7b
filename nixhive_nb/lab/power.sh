#!/bin/sh
# The power of a practice host. It starts the host in fresh mount, UTS, IPC and PID namespaces, and starts it again each
# time that it went down with an order to reboot. When the host went down in any other way, this ends as well.
#
# usage: power.sh FOLDER NAME ADDRESS/PREFIX [daemon]
set -u
folder=$1 name=$2 address=$3 daemon=${4:-}
order=$folder/var/lib/reboot-ordered

while
  rm -f "$order"
  sh "${0%/*}/plug.sh" "$address" || exit
  unshare --mount --propagation=slave --uts --ipc --pid --fork --kill-child sh "${0%/*}/host.sh" "$folder" "$name" $daemon
  [ -e "$order" ]
do :; done
