#!/bin/sh
# What a practice host does at its boot, in the place of NixOS's stage 2: it asks the boot loader which system is to be
# started, and activates that.
#
# The boot loader is the folder /boot: it starts what extlinux would by its configuration, or what `once` names, which is
# good for one boot. Without them it is the system profile, as on a host that nobody has deployed to yet.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

chosen() {
  if [ -e /boot/once ]; then
    entry=$(cat /boot/once)
    rm -f /boot/once
    if [ -d "$entry" ]; then
      echo "$entry"
      return
    fi
  fi
  entry=$(sed -n 's|^ *APPEND init=\(/nix/[^ ]*\)/init.*|\1|p' /boot/extlinux/extlinux.conf 2>/dev/null | head -n 1)
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
