#!/bin/sh
# `reboot` of a practice host. The host's first process, sshd, ends, and all others with it; then `power.sh` sees the
# order and starts the host again.
case $* in
  '' | -f | --force) ;;
  *)
    echo "usage: reboot [-f|--force]" >&2
    exit 1
    ;;
esac
if [ "$(id -u)" -ne 0 ]; then
  echo "reboot: must be superuser" >&2
  exit 1
fi
: >/var/lib/reboot-ordered && kill -TERM 1
