#!/bin/sh
# Our own switch-to-configuration, for practice hosts: the words, the exit codes and the effects of NixOS's.
#   0 done   1 usage or boot loader   11 somebody else has the lock   2 an activation script failed   4 units failed
#   100 the new system's init does not go with the running one: nothing was activated, it needs a reboot
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
toplevel=@out@
action=${1:-}
boot_entry=/var/lib/practice-boot/default
started=/run/nixos/started-units
status=0

case $# in 1) ;; *) action= ;; esac
case $action in
  switch | boot | test | dry-activate) ;;
  *)
    cat >&2 <<USAGE
Usage: $0 [switch|boot|test|dry-activate]

switch:       make the configuration the boot default and activate it now
boot:         make the configuration the boot default
test:         activate the configuration, but do not make it the boot default
dry-activate: show what would be done if this configuration were activated
USAGE
    exit 1
    ;;
esac

if [ "$(id -u)" -ne 0 ]; then
  echo "switch-to-configuration needs root" >&2
  exit 1
fi
mkdir -p /run/nixos "$started"
exec 9>/run/nixos/switch-to-configuration.lock
if ! flock -n 9; then
  echo "Could not acquire lock - Resource temporarily unavailable" >&2
  exit 11
fi

# The units whose script has to run: new and changed ones, and those that failed the last time.
units_to_start() {
  for file in "$toplevel"/etc/systemd/system/*.service; do
    [ -e "$file" ] || continue
    unit=${file##*/}
    [ "$(readlink -f "$file")" = "$(readlink "$started/$unit")" ] || echo "$unit"
  done
}
gone_units() {
  for record in "$started"/*.service; do
    [ -L "$record" ] || continue
    [ -e "$toplevel/etc/systemd/system/${record##*/}" ] || echo "${record##*/}"
  done
}

if [ "$action" = dry-activate ]; then
  echo "would activate the configuration..." >&2
  for unit in $(gone_units); do echo "would stop the following units: $unit" >&2; done
  for unit in $(units_to_start); do echo "would start the following units: $unit" >&2; done
  exit 0
fi

# What a practice system is told to end with (practice.switchExit); 1 is a refusal, before anything is changed.
told=0
[ "$action" = boot ] || [ ! -e "$toplevel/switch-exit" ] || told=$(cat "$toplevel/switch-exit")
if [ "$told" = 1 ]; then
  echo "a pre-switch check failed" >&2
  exit 1
fi

if [ "$action" = switch ] || [ "$action" = boot ]; then
  echo "updating the boot loader..." >&2
  echo "$toplevel" >"$boot_entry.new" && mv "$boot_entry.new" "$boot_entry" || exit 1
  [ "$action" = switch ] || exit 0
fi

# As in NixOS, which leaves all the rest alone then.
running=/run/current-system/init-interface-version
if [ -e "$running" ] && ! cmp -s "$running" "$toplevel/init-interface-version"; then
  cat >&2 <<WARNING
Warning: the new NixOS configuration has an 'init' that is
incompatible with the current configuration.  The new configuration
won't take effect until you reboot the system.
WARNING
  exit 100
fi

for unit in $(gone_units); do
  echo "stopping the following units: $unit" >&2
  rm -f "$started/$unit"
done

echo "activating the configuration..." >&2
"$toplevel/activate" 9>&- || status=2

failed=
for unit in $(units_to_start); do
  file=$(readlink -f "$toplevel/etc/systemd/system/$unit")
  command=$(sed -n 's|^ExecStart=\(/nix/store/[^ ]*-unit-script-.*\)|\1|p' "$file")
  echo "starting the following units: $unit" >&2
  if [ -z "$command" ] || "$command" 9>&-; then
    ln -sfn "$file" "$started/$unit"
  else
    failed="$failed $unit"
  fi
done
if [ -n "$failed" ]; then
  echo "warning: the following units failed:$failed" >&2
  status=4
fi
[ "$told" = 0 ] || status=$told
exit "$status"
