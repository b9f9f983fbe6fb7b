#!/bin/sh
# Our own switch-to-configuration, for practice hosts: the words, the order, the exit codes and the effects of NixOS's,
# on a host with systemd and on one without, where the scripts of units are run in its place.
#   0 done   1 usage, a check before the switch, or the boot loader   11 somebody else has the lock
#   2 an activation script failed   4 units failed, whatever else did
#   100 the new system's init does not go with the running one: nothing was activated, it needs a reboot
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
toplevel=@out@
action=${1:-}
started=/run/nixos/started-units
new=$toplevel/etc/systemd/system
# What the last activation has laid out, which is not always the system that runs.
old=/etc/static/systemd/system
status=0

case $# in 1) ;; *) action= ;; esac
case $action in
  check | switch | boot | test | dry-activate) ;;
  *)
    cat >&2 <<USAGE
Usage: $0 [check|switch|boot|test|dry-activate]
check:        run pre-switch checks and exit
switch:       make the configuration the boot default and activate it now
boot:         make the configuration the boot default
test:         activate the configuration, but do not make it the boot default
dry-activate: show what would be done if this configuration were activated
USAGE
    exit 1
    ;;
esac
export NIXOS_ACTION=$action

if [ "$(id -u)" -ne 0 ]; then
  echo "switch-to-configuration needs root" >&2
  exit 1
fi
[ -d "$started" ] || mkdir -p "$started"
exec 9>>/run/nixos/switch-to-configuration.lock
# Older ones wait.
if [ -e "$toplevel/lock-blocks" ]; then
  flock 9
elif ! flock -n 9; then
  echo "Could not acquire lock - Resource temporarily unavailable" >&2
  exit 11
fi

if [ "${NIXOS_NO_CHECK:-}" != 1 ] && ! "$toplevel/pre-switch-checks" "$toplevel" 9>&-; then
  echo "Pre-switch checks failed" >&2
  exit 1
fi
[ "$action" != check ] || exit 0

if [ "$action" = switch ] || [ "$action" = boot ]; then
  if ! "$toplevel/install-boot-loader" "$toplevel" 9>&-; then
    echo "Failed to install bootloader" >&2
    exit 1
  fi
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

# Units, by a manager: systemd, or else our own notes on whose script has run.

if [ -d /run/systemd/system ]; then manager=systemd; else manager=light; fi

reach_manager() {
  [ "$manager" = light ] || busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus GetId >/dev/null 2>&1 || {
    echo "Error: Failed to open dbus connection" >&2
    exit 1
  }
}
units_in() { (cd "$1" 2>/dev/null && ls -d -- *.service *.socket *.timer *.target *.path *.mount 2>/dev/null); }
is_active() {
  if [ "$manager" = systemd ]; then
    case $(systemctl show --property=ActiveState --value "$1") in active | activating | reloading) ;; *) return 1 ;; esac
  else
    [ -L "$started/$1" ]
  fi
}
file_of() { # folder, unit: of systemd the file, of our own the one whose script has run
  if [ "$manager" = light ] && [ "$1" = "$old" ]; then readlink "$started/$2"; else readlink -f "$1/$2"; fi
}
says() { grep -q "^$2\$" "$1" 2>/dev/null; } # file, line
list() {
  listed=$1
  shift
  for one; do listed="$listed, $one"; done
  echo "$listed"
}
with() { case " $1 " in *" $2 "*) ;; *) set -- "$1${1:+ }$2" ;; esac; echo "$1"; }

stop='' skip='' restart='' reload='' start='' stopped=''
sort_changed() { # unit
  file=$new/$1
  if says "$file" X-ReloadIfChanged=true; then
    reload=$(with "$reload" "$1")
  elif says "$file" X-RestartIfChanged=false || says "$file" RefuseManualStop=true; then
    skip=$(with "$skip" "$1")
  elif [ -n "$stopped" ] || says "$file" X-StopIfChanged=false; then
    restart=$(with "$restart" "$1")
  else
    stop=$(with "$stop" "$1")
    start=$(with "$start" "$1")
  fi
}
compare_units() {
  if [ "$manager" = light ]; then olds=$started; else olds=$old; fi
  for unit in $(units_in "$olds"); do
    is_active "$unit" || continue
    if [ ! -e "$new/$unit" ]; then
      says "$old/$unit" X-StopOnRemoval=false || stop=$(with "$stop" "$unit")
    elif [ "$(file_of "$old" "$unit")" != "$(file_of "$new" "$unit")" ]; then
      case $unit in *.target) ;; *) sort_changed "$unit" ;; esac
    fi
  done
  # systemd starts new ones because targets want them.
  [ "$manager" = systemd ] || for unit in $(units_in "$new"); do
    case $unit in *.service) ;; *) continue ;; esac
    [ -L "$started/$unit" ] || start=$(with "$start" "$unit")
  done
}
reads_again() { [ "$(readlink -f /etc/systemd/system.conf)" != "$(readlink -f "$toplevel/etc/systemd/system.conf")" ] &&
  [ -e "$toplevel/etc/systemd/system.conf" ]; }

reach_manager
compare_units

if [ "$action" = dry-activate ]; then
  [ -z "$stop" ] || echo "would stop the following units: $(list $stop)" >&2
  [ -z "$skip" ] || echo "would NOT stop the following changed units: $(list $skip)" >&2
  echo "would activate the configuration..." >&2
  [ "$manager" = light ] || ! reads_again || echo "would restart systemd" >&2
  [ -z "$reload" ] || echo "would reload the following units: $(list $reload)" >&2
  [ -z "$restart" ] || echo "would restart the following units: $(list $restart)" >&2
  [ -z "$start" ] || echo "would start the following units: $(list $start)" >&2
  exit 0
fi

failed=
run() { # verb, units: what fails of it is a failure of the switch
  verb=$1
  shift
  if [ "$manager" = systemd ]; then
    systemctl "$verb" -- "$@" 9>&- || status=4
    return
  fi
  for unit in "$@"; do
    if [ "$verb" = stop ]; then
      rm -f "$started/$unit"
      continue
    fi
    file=$(readlink -f "$new/$unit")
    # The script of a unit that is reloaded is not run.
    command=$(sed -n 's|^ExecStart=\(/nix/store/[^ ]*-unit-script-.*\)|\1|p' "$file")
    if [ "$verb" = reload ] || [ -z "$command" ] || "$command" 9>&-; then
      ln -sfn "$file" "$started/$unit"
    else
      failed="$failed $unit"
    fi
  done
}

if [ "$manager" = systemd ]; then again=$(! reads_again || echo yes); fi
if [ -n "$stop" ]; then
  echo "stopping the following units: $(list $stop)" >&2
  run stop $stop
fi
[ -z "$skip" ] || echo "NOT restarting the following changed units: $(list $skip)" >&2

echo "activating the configuration..." >&2
if ! "$toplevel/activate" "$toplevel" 9>&-; then
  echo "Failed to run activate script" >&2
  status=2
fi

# Units that the activation asks for, one a line. It is too late to stop them before.
stopped=yes
asked() {
  [ ! -e "/run/nixos/activation-$1-list" ] || { cat "/run/nixos/activation-$1-list"; rm -f "/run/nixos/activation-$1-list"; }
}
for unit in $(asked restart); do
  if is_active "$unit"; then sort_changed "$unit"; else start=$(with "$start" "$unit"); fi
done
for unit in $(asked reload); do
  ! is_active "$unit" || reload=$(with "$reload" "$unit")
done

reach_manager
if [ "$manager" = systemd ]; then
  if [ -n "$again" ]; then
    echo "restarting systemd..." >&2
    systemctl daemon-reexec 9>&-
  fi
  systemctl reset-failed 9>&-
  systemctl daemon-reload 9>&-
  loginctl list-users --no-legend 2>/dev/null | while read -r uid user _; do
    echo "reloading user units for $user..." >&2
    runuser -s /bin/sh -l "$user" -c "XDG_RUNTIME_DIR=/run/user/$uid systemctl --user daemon-reexec" 9>&- </dev/null
  done
fi
for unit in $reload; do
  is_active "$unit" || { reload=$(echo " $reload " | sed "s/ $unit / /"); start=$(with "$start" "$unit"); }
done
if [ -n "$(echo $reload)" ]; then
  echo "reloading the following units: $(list $reload)" >&2
  run reload $reload
fi
if [ -n "$restart" ]; then
  echo "restarting the following units: $(list $restart)" >&2
  run restart $restart
fi
[ -z "$start" ] || echo "starting the following units: $(list $start)" >&2
if [ "$manager" = systemd ]; then run start multi-user.target $start; else run start $start; fi

# Those that fail just after their start count as well, and those that are started again and again because they do.
if [ "$manager" = systemd ]; then
  sleep 0.3
  failed=$(systemctl list-units --state=failed,auto-restart --all --plain --no-legend --no-pager | while read -r unit _ state _; do
    [ "$state" = failed ] || [ "$(systemctl show --property=ExecMainStatus --value "$unit")" != 0 ] || continue
    printf ' %s' "$unit"
  done)
fi
if [ -n "$failed" ]; then
  echo "warning: the following units failed: $(list $failed)" >&2
  [ "$manager" = light ] || systemctl status --no-pager --full $failed >&2
  status=4
fi
[ ! -e "$toplevel/switch-exit" ] || status=$(cat "$toplevel/switch-exit")
exit "$status"
