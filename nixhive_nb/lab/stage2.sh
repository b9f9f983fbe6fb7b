#!/bin/sh
# What a practice host does at its boot, in the place of NixOS's stage 2: it asks the boot loader which system is to be
# started, and activates that.
#
# The boot loader is a folder of its own: `default` names a system, and so does `once`, which is good for one boot.
# Without them it is the system profile that starts, as on a host that nobody has deployed to yet.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
loader=/var/lib/practice-boot

chosen() {
  if [ -e "$loader/once" ]; then
    entry=$(cat "$loader/once")
    rm -f "$loader/once"
    if [ -d "$entry" ]; then
      echo "$entry"
      return
    fi
  fi
  entry=$(cat "$loader/default" 2>/dev/null)
  if [ -d "$entry" ]; then
    echo "$entry"
  else
    readlink -f /nix/var/nix/profiles/system
  fi
}

system=$(chosen)
[ -n "$system" ] && [ -d "$system" ] || exit 0
ln -sfn "$system" /run/booted-system
if [ -x "$system/activate" ]; then
  "$system/activate" >>/var/log/boot.log 2>&1 || echo "activation at boot failed" >>/var/log/boot.log
else
  ln -sfn "$system" /run/current-system
fi
