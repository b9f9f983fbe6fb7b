# Has a host fetch a path from its own substituters, keeps it from being collected, says what moves, and ends what stalls.
#
# It is sent each time and installed nowhere; $connect is how many seconds ssh may take to connect, $gone are runs that
# were killed, whose roots are removed, and as_root has what root is become by. Its words:
#
#   fetch PATH ROOT STALL LIMIT WORD…   fetch it; WORDs are for nix-store. The status is that of nix-store
#   keep PATH ROOT                      make the root, or make it as new
#   release ROOT                        remove it
#   look                                say what Nix waits for on this host, and how much there is of what comes in
#
# ROOT is a name for the root; one that nobody has made as new for a day is removed, whosoever it is. STALL and LIMIT are
# seconds: without a byte that moves, and in all.
#
# What it says are lines `nixhive KEYWORD …` between those of Nix:
#   rooted                       the path is kept from now on; not said where no root can be made
#   moves BYTES STILL PROCESS    so many bytes have moved, none for STILL seconds; PROCESS is another Nix that is waited
#                                for, else `-`. BYTES is `-` where that cannot be read: then LIMIT alone holds
#   stalled STILL                it is ended, since nothing moves
#   late LIMIT                   it is ended, since it takes too long
set -u
glance=2 # seconds between two looks
grace=1 # seconds to end in, each of three times that it is told to, before it is killed
PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/sbin
gcroots=/nix/var/nix/gcroots

now() { read -r up _ </proc/uptime && echo "${up%%.*}"; }

# A link in the folder of roots counts at once, also to a path that is still to come: no collector comes between.
keep() { # path, name
  ! keep_in "$gcroots/nixhive" "$1" "$2" || return 0
  ! keep_in "$gcroots/per-user/$(id -un 2>/dev/null)/nixhive" "$1" "$2" || return 0
  as_root /bin/sh -c "$as_root" nixhive "$gcroots/nixhive" "$1" "$2" "$gone" >/dev/null 2>&1 && echo "nixhive rooted"
}
keep_in() { # folder, path, name
  { [ -d "$1" ] || mkdir -p "$1" 2>/dev/null; } && ln -sfn "$2" "$1/$3" 2>/dev/null || return
  for run in $gone; do rm -f "$1/$run-"*; done 2>/dev/null
  for one in "$1"/*; do
    [ "$one" != "$1/$3" ] || continue
    find "$1" -mindepth 1 -maxdepth 1 -type l -mmin +1440 -exec rm -f {} + 2>/dev/null
    break
  done
  echo "nixhive rooted"
}
as_root='mkdir -p "$1" && ln -sfn "$2" "$1/$3" && for run in $4; do rm -f "$1/$run-"*; done &&
  find "$1" -mindepth 1 -maxdepth 1 -type l -mmin +1440 -exec rm -f {} +'

release() { # name
  root=$gcroots/nixhive/$1
  [ -L "$root" ] || root=$gcroots/per-user/$(id -un 2>/dev/null)/nixhive/$1
  [ ! -L "$root" ] || rm -f "$root" 2>/dev/null || as_root rm -f "$root" >/dev/null 2>&1
}

# Bytes that a process has read and written.
io_of() {
  sum=0
  while read -r name value; do
    case $name in rchar: | wchar:) sum=$((sum + value)) ;; esac
  done 2>/dev/null <"/proc/$1/io" || return 1
  echo "$sum"
}

# The process that Nix waits for: whoever has the lock of a path that comes in.
waited_for() {
  holder=''
  while read -r _ kind one two three four _; do
    if [ "$kind" != '->' ]; then
      holder=$three
    elif is_ours "$four"; then
      echo "$holder"
      return
    fi
  done 2>/dev/null </proc/locks
}
# Whether a process waits for us: the one that we started, or where a daemon works for us, any Nix.
is_ours() {
  [ "$1" != "$nix" ] || return 0
  [ -z "$nix" ] || [ "$uid" != 0 ] || return 1
  case $(cat "/proc/$1/comm" 2>/dev/null) in nix*) ;; *) return 1 ;; esac
}

# How much there is of the paths that come in: Nix has a lock beside each. It tells also what a daemon does for us.
coming_in() {
  set -- /nix/store/*.lock
  [ -e "$1" ] || { echo 0; return; }
  for lock; do echo "${lock%.lock}"; done | head -n 20 | tr '\n' '\0' |
    timeout 20 xargs -0 du -s -k -c 2>/dev/null | { size=0; while read -r size _; do :; done; echo "$((size * 1024))"; }
}

# Bytes of all that works for us.
moved() { # the process that is waited for
  total=''
  for one in "$nix" ${1:+"$1"}; do
    ! read_of=$(io_of "$one") || total=$((${total:-0} + read_of))
  done
  [ "$uid" = 0 ] || total=$((${total:-0} + $(coming_in)))
  echo "${total:--}"
}

# Nothing catches what ends it: bash (5.2) has lost a handler that came while it read a `$( )`, and went on for ever.
watch() {
  trap '' PIPE
  began=$(now) seen='' other=''
  still_since=$began first=$(moved '')
  while :; do
    sleep "$glance" >/dev/null 2>&1
    at=$(now) other=$(waited_for)
    bytes=$(moved "$other")
    if [ "$bytes" = - ] || [ "$bytes" != "$seen" ]; then seen=$bytes still_since=$at; fi
    still=$((at - still_since))
    [ "$bytes" = - ] || [ "$first" = - ] || bytes=$((bytes - first))
    # When nobody hears us, nobody wants it any more.
    printf 'nixhive moves %s %s %s\n' "$bytes" "$still" "${other:--}" || end
    if [ "$still" -ge "$stall" ]; then
      printf 'nixhive stalled %s\n' "$still"
      end
    elif [ "$((at - began))" -ge "$limit" ]; then
      printf 'nixhive late %s\n' "$limit"
      end
    fi
  done
}

end() {
  trap '' TERM
  # Nix does not hear a signal that comes just before it waits, and a build would go on without it.
  for _ in 1 2 3; do
    kill -TERM "-$nix"
    sleep "$grace"
  done
  kill -KILL "-$nix"
  exit 0
} 2>/dev/null

fetch() {
  path=$1 name=$2 stall=$3 limit=$4
  shift 4
  keep "$path" "$name"
  # An `ssh://` substituter is reached by ssh, which does not know of Nix's time-out.
  export NIX_SSHOPTS="${NIX_SSHOPTS-} -o BatchMode=yes -o ConnectTimeout=$connect"
  # A group of its own, so that all of it can be ended.
  setsid nix-store --realise "$path" "$@" </dev/null &
  nix=$!
  # Before there is a trap: a watcher that was forked after it has outlived its end, with dash.
  watch 2>/dev/null &
  watcher=$!
  # What ends our session, since nobody hears us any more, does not reach that group.
  trap end TERM HUP INT
  wait "$nix" 2>/dev/null
  status=$?
  { kill "$watcher" && wait "$watcher"; } 2>/dev/null
  exit "$status"
}

mode=$1 uid='' nix=''
while read -r name _ one _; do
  if [ "$name" = Uid: ]; then uid=$one; fi
done 2>/dev/null </proc/self/status
uid=${uid:-$(id -u)}
shift
case $mode in
  fetch) fetch "$@" ;;
  keep) keep "$@" ;;
  release) release "$@" ;;
  look)
    other=$(waited_for)
    if [ "$uid" != 0 ] || [ -z "$other" ] || ! bytes=$(io_of "$other"); then bytes=$(coming_in); fi
    printf 'nixhive moves %s 0 %s\n' "$bytes" "${other:--}"
    ;;
esac
