#!/bin/sh
# Makes this system the running one, on a practice host. Exit code 1 if an activation script fails; the rest is done.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
toplevel=@out@
host_name='@hostName@'
managed=/etc/.managed-by-activation
status=0

# Every file of environment.etc by its name below /etc.
names_of() { find "$1/." ! -type d -printf '%P\n' 2>/dev/null | sort; }

set_up_etc() {
  ln -s "$toplevel/etc" /etc/.static.new && mv -T /etc/.static.new /etc/static
  names_of "$toplevel/etc" >"$managed.new"
  while read -r name; do
    place=/etc/$name
    [ -d "${place%/*}" ] || mkdir -p "${place%/*}"
    if [ -e "$toplevel/etc-modes/$name" ]; then
      cp -L "/etc/static/$name" "$place.new"
      chmod "$(cat "$toplevel/etc-modes/$name")" "$place.new"
    elif [ -L "$place" ] && [ "$place" -ef "/etc/static/$name" ]; then
      continue
    elif [ ! -e "$place" ] && [ ! -L "$place" ]; then
      ln -s "/etc/static/$name" "$place" || status=1
      continue
    else
      ln -sfn "/etc/static/$name" "$place.new"
    fi
    mv -T "$place.new" "$place" || status=1
  done <"$managed.new"
  if [ -e "$managed" ]; then
    comm -23 "$managed" "$managed.new" | while read -r name; do
      rm -f "/etc/$name"
      rmdir -p --ignore-fail-on-non-empty "$(dirname "/etc/$name")" 2>/dev/null
    done
  fi
  mv "$managed.new" "$managed"
}

set_host_name() {
  [ -n "$host_name" ] && [ "$(hostname)" != "$host_name" ] || return 0
  hostname "$host_name" || status=1
  # The host must be able to look up its own name, or each sudo complains.
  grep -qw "$host_name" /etc/hosts || echo "127.0.1.1 $host_name" >>/etc/hosts
}

run_snippets() {
  for snippet in "$toplevel"/activation-scripts/*; do
    [ -e "$snippet" ] || continue
    code=0
    systemConfig=$toplevel sh -e "$snippet" || code=$?
    if [ "$code" -ne 0 ]; then
      echo "Activation script snippet '${snippet##*/[0-9][0-9][0-9]-}' failed ($code)" >&2
      status=1
    fi
  done
}

echo "setting up /etc..." >&2
set_up_etc
set_host_name
run_snippets
# The name must at no moment be gone.
ln -sfn "$toplevel" /run/.current-system.new && mv -T /run/.current-system.new /run/current-system || status=1
exit "$status"
