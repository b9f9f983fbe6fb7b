#!/bin/sh
# The first process of a practice host. It starts inside fresh mount, UTS, IPC and PID namespaces and the host's own
# network namespace, lays the host's folders over the machine's, and becomes its sshd.
#
# usage: host.sh FOLDER NAME [daemon]
set -eu
# This is what `reboot` sends. The first process of a namespace hears only what it asked for, and so does sshd later.
trap 'exit 0' TERM
folder=$1 name=$2 daemon=${3:-}

hostname "$name"

# By way of /tmp, because the folder itself may lie below one of the places that are about to be covered.
mount --rbind "$folder" /tmp
if [ -d /etc/alternatives ]; then
  mount -o bind,ro /etc/alternatives /tmp/etc/alternatives
fi
for place in boot nix etc root home var; do
  mount --rbind "/tmp/$place" "/$place"
done
# What the host has of its own there, as its `reboot`, goes before the machine's. Whatever else the machine has in that folder stays.
for program in /usr/local/sbin/*; do
  own=/tmp/sbin/${program##*/}
  if [ -f "$program" ] && [ ! -s "$own" ]; then
    : >"$own"
    mount -o bind,ro "$program" "$own"
  fi
done
mount --rbind /tmp/sbin /usr/local/sbin
umount -l /tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/lock /run/nixos
mount -t proc -o nosuid,nodev,noexec proc /proc
# Each start is a boot of its own.
cat /proc/sys/kernel/random/uuid >/run/boot_id
chmod 444 /run/boot_id
mount -o bind,ro /run/boot_id /proc/sys/kernel/random/boot_id
rm /run/boot_id
# All that is not the host's own is the machine's: look, do not touch.
mount -o remount,bind,ro /

sh /usr/local/sbin/practice-stage-2

rm -f /var/lib/sshd.pid /nix/var/nix/daemon-socket/socket
if [ -n "$daemon" ]; then
  NIX_REMOTE='' nix-daemon >>/var/log/nix-daemon.log 2>&1 &
fi
# -r: without starting itself anew for each login, a tenth of what the tests of logins take. OpenSSH 10 lets it pass.
exec "$(command -v sshd)" -r -D -f /etc/ssh/sshd_config -E /var/log/sshd.log
