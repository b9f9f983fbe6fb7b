# Makes a host run a system, and has it go back unless somebody says over a new connection that all is well. Or reboots
# the host.
#
# It is sent each time and installed nowhere: the caller holds this text in $hive_script and evaluates it. All that it
# keeps is below /run. `begin` starts the worker detached from the link, and follows it; `follow` follows one whose link
# was lost; `say` brings the word that the worker waits for; `forget` removes what it kept.
#
#   begin ID PATH TYPE CONFIRM LIMIT WAIT GENERATION FORCE RUNS BOOTS OWNER
#   follow ID
#   say ID WORD
#   forget ID
#   reboot ID LIMIT WAIT RUNS BOOTS OWNER
#
# TYPE is a word of switch-to-configuration. CONFIRM, LIMIT and WAIT are seconds: how long the worker waits for the word
# (0: the plain order, which waits for none), how long one switch-to-configuration may take (for a reboot: how long the
# host may take to go down), and how long to wait for whoever else is at work there (0: not at all). GENERATION is one to
# go back to (0: PATH becomes a new one). FORCE is `force` where a host is activated that is so already. RUNS and BOOTS
# are what the host must run and boot, seen when nobody else is at work there: a store path, `none`, or `any`.
#
# One lock of ours, $base/lock, is held for all that changes a host; $base/holder says who holds it, with the process. Somebody who
# switches without us holds the lock of switch-to-configuration: its turn is waited for as well.
#
# What it says are lines `nixhive ID KEYWORD …`, among those of the activation itself:
#   began                     the worker runs
#   holds RUNS BOOTS          it has the lock, and this is what the host runs and boots
#   waits WHO                 WHO is at work there, and it waits for that
#   busy SECONDS WHAT         switch-to-configuration has run for so long, and waits for WHAT
#   tested STATUS             the system runs; it waits for the word
#   back WHY                  it goes back
#   ordered                   the host is told to reboot
#   result OUTCOME STATUS WHY done, unchanged, warned, rolled-back, failed, gone (PATH is not there), changed (it does
#                             not run and boot what it must) or locked
#   ended                     the last line, also of a worker that was killed
set -u
umask 022
base=/run/nixhive
profile=/nix/var/nix/profiles/system
switching=/run/nixos/switch-to-configuration.lock
tells=10
# By its store path, so that the programs stay when the running system changes.
PATH=$(readlink -f /run/current-system)/sw/bin:/run/wrappers/bin:/nix/var/nix/profiles/default/bin:$PATH:/usr/sbin:/sbin

begin() {
  mkdir -p "$base" && mkdir -m 700 "$dir" && : >"$dir/log" && mkfifo -m 600 "$dir/word" "$dir/ready" || exit 1
  printf '%s\n' "$hive_script" >"$dir/worker" && printf '%s\n' "${11}" >"$dir/owner" || exit 1
  remove_old
  # The words for the worker hold nothing that systemd would expand.
  set -- /bin/sh "$dir/worker" worker "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" "${10}"
  if [ -d /run/systemd/system ]; then
    systemd-run --quiet --collect --no-ask-password --service-type=exec --unit="nixhive-$id" \
      --description="Activation by nixhive_nb" --setenv=PATH="$PATH" "$@" || exit 1
  else
    setsid "$@" </dev/null >/dev/null 2>&1 &
  fi
  # One that is late finds no owner, and does nothing; one that came in the last moment has its lock.
  if ! timeout 20 head -n 1 "$dir/ready" >/dev/null && flock -n "$dir/alive" rm -f "$dir/owner"; then
    echo "the activation's own process did not start" >&2
    exit 1
  fi
  printf 'nixhive %s began\n' "$id"
  follow
}

# What activations left whose operator never came back for the result.
remove_old() {
  find "$base" -mindepth 1 -maxdepth 1 -type d -mmin +60 | while IFS= read -r old; do
    flock -n "$old/alive" rm -rf "$old"
  done
}

follow() {
  if [ ! -e "$dir/alive" ]; then
    printf 'nixhive %s gone\n' "$id"
    exit 0
  fi
  last="nixhive $id ended"
  mkfifo -m 600 "$dir/reader.$$" || exit 1
  tail -n +1 -f "$dir/log" >"$dir/reader.$$" &
  tail=$!
  # The kernel gives the lock away when the worker is dead, however it died.
  { flock "$dir/alive" true; printf '%s\n' "$last" >>"$dir/log"; } >/dev/null 2>&1 &
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [ "$line" != "$last" ] || break
  done <"$dir/reader.$$"
  kill "$tail" 2>/dev/null
  rm -f "$dir/reader.$$"
}

say_word() {
  # Nobody reads any more once the worker has given up: then the pipe has no other end.
  timeout 10 /bin/sh -c 'printf "%s\n" "$1" >"$2"' sh "$2" "$dir/word"
}

note() {
  # What an activation said last may lack its end of line.
  [ ! -e "$dir/log" ] || [ -z "$(tail -c 1 "$dir/log")" ] || echo
  printf 'nixhive %s %s\n' "$id" "$*"
}

finish() {
  note "result $*"
  note ended
  # Who was refused leaves the name of the one who holds it.
  [ -z "$mine" ] || rm -f "$base/holder"
  rm -f "$dir/worker"
  exit 0
}

# Of this boot, in seconds; the time of day may be set anew.
now() { read -r up _ </proc/uptime && echo "${up%%.*}"; }
left() {
  rest=$((until - $(now)))
  echo "$((rest > 0 ? rest : 0))"
}

# Nothing where there is no such thing: `readlink -f` gives a name also then.
real() { [ ! -e "$1" ] || readlink -f "$1"; }
running() { real /run/current-system; }
boots() { real "$profile"; }
# Whether it is what was expected.
fits() { [ "$1" = any ] || [ "$1" = "${2:-none}" ]; }

take_lock() { # owner
  until=$(($(now) + wait))
  # Nobody else may hold it, and so keep us from activating: a lock needs no more than the right to read.
  umask 077
  exec 9>>"$base/lock"
  umask 022
  # Whoever looks who holds it takes it for a moment.
  if ! flock -w 1 9; then
    [ "$wait" != 0 ] || finish locked 0 "$(head -n 1 "$base/holder" 2>/dev/null)"
    note "waits $(head -n 1 "$base/holder" 2>/dev/null)"
    waited=yes
    flock -w "$wait" 9 || finish locked 0 "$(head -n 1 "$base/holder" 2>/dev/null)"
  fi
  mine=yes
  printf '%s\n' "$1" "$$" >"$base/holder.new" && mv "$base/holder.new" "$base/holder"
  take_turn "$(left)" || finish locked 0 "another switch-to-configuration"
  old=$(running) old_profile=$(boots)
  note "holds ${old:-none} ${old_profile:-none}"
}

is_switching() {
  [ -e "$switching" ] || return 1
  held=0
  flock -s -n "$switching" true 2>/dev/null || held=$?
  [ "$held" = 1 ]
}

# Waits until nobody switches without us, at most so many seconds.
take_turn() {
  is_switching || return 0
  [ "$1" -gt 0 ] || return 1
  note "waits another switch-to-configuration"
  waited=yes
  flock -s -w "$1" "$switching" true
}

# Says what a switch-to-configuration waits for that takes long, each time that it has taken twice as long, and at least
# every five minutes. It ends when it is told to.
tell_of_it() {
  exec 7>&- 8>&- 9>&-
  trap 'kill "$nap" 2>/dev/null; exit 0' TERM
  nap='' since=$(now)
  while :; do
    sleep "$tells" &
    nap=$!
    wait "$nap"
    tells=$((tells < 300 ? tells * 2 : tells))
    note "busy $(($(now) - since)) $(awaited)"
  done
}

# The units that systemd works on, or else the program that runs at the end of the chain.
awaited() {
  if [ -d /run/systemd/system ]; then
    SYSTEMD_COLORS=0 systemctl list-jobs --no-legend --no-pager --plain 2>/dev/null |
      while read -r _ unit type state _; do
        [ "$state" != running ] || printf '%s (%s) ' "$unit" "$type"
      done | head -c 300
    return
  fi
  last=
  for child in $(children "$$"); do
    case $(cat "/proc/$child/comm" 2>/dev/null) in timeout) last=$child ;; esac
  done
  while next=$(children "${last:-0}") && [ -n "$next" ]; do last=${next%% *}; done
  tr '\0\n' '  ' <"/proc/${last:-0}/cmdline" 2>/dev/null | head -c 300
}
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }

# What is started must keep none of our locks when we are gone.
switch_to() { # system, word
  tell_of_it &
  teller=$!
  timeout -k 10 "$limit" "$1/bin/switch-to-configuration" "$2" 7>&- 8>&- 9>&-
  status=$?
  { kill "$teller" && wait "$teller"; } 2>/dev/null
}
set_profile() { nix-env --profile "$profile" "$@" 7>&- 8>&- 9>&-; }

# Switches when nobody else does: status is that of switch-to-configuration, and `crowded` is set where it was refused.
act() { # system, word, how long to wait for others
  crowded='' tries=0 status=0 size=''
  while take_turn "$3"; do
    size=$(wc -c <"$dir/log")
    switch_to "$1" "$2"
    case $status in 0 | 2 | 4 | 100 | 124 | 137) break ;; esac
    tries=$((tries + 1))
    # Somebody may have come in the moment between our look and its own. What an activation says decides nothing: it is
    # tried again when the lock is free.
    tail -c "+$((size + 1))" "$dir/log" | grep -q '^Could not acquire lock' || break
    [ "$tries" -lt 3 ] || is_switching || break
    size=
  done
  [ -n "$size" ] || { crowded=yes; return 1; }
  return "$status"
}

go_back() { # status, why
  if [ ! -x "$old/bin/switch-to-configuration" ]; then
    finish failed "$1" "$2; there is no earlier system to go back to"
  elif [ "$old" = "$path" ]; then
    finish failed "$1" "$2; it ran this very system before"
  fi
  note "back $2"
  take_turn "$limit" || finish failed "$1" "$2; going back was not possible for another switch-to-configuration; $(running) runs"
  [ "$(running)" = "$trial" ] || finish failed "$1" "$2; somebody else has made it run $(running) meanwhile, and it was left so"
  act "$old" test "$limit"
  back=$status
  case $back in
    0 | 4 | 100) ;;
    *) finish failed "$1" "$2; going back to $old ended with $back, and $(running) runs: it may be a mixture of both" ;;
  esac
  [ "$(running)" = "$old" ] || finish failed "$1" "$2; going back to $old ended with $back, and $(running) runs"
  [ -z "$broken" ] || [ "$(boots)" = "$old_profile" ] ||
    finish failed "$1" "$2; it runs $old again, and boots $(boots)"
  finish rolled-back "$1" "$2"
}

# Makes the host boot the system; what cannot be finished is undone. `broken` then says what failed, and what was undone.
persist() {
  if [ "$generation" = 0 ]; then
    set_profile --set "$path"
  else
    set_profile --switch-generation "$generation"
  fi
  if [ "$(boots)" != "$path" ]; then
    broken="the system profile could not be set"
  else
    act "$path" boot "$limit" && return
    broken="switch-to-configuration boot ended with $status"
    [ -z "$crowded" ] || broken="the boot loader could not be set: another switch-to-configuration is at work"
  fi
  put_back
  return 1
}

put_back() {
  if [ "$(boots)" = "$old_profile" ]; then
    broken="$broken, and is as it was"
  elif [ -z "$old_generation" ]; then
    broken="$broken; there is no earlier generation to put back, and the system profile is $(boots)"
  elif ! set_profile --switch-generation "$old_generation" || [ "$(boots)" != "$old_profile" ]; then
    broken="$broken; the system profile could not be put back, and is $(boots)"
  elif [ -z "$crowded" ] && ! act "$old_profile" boot "$limit"; then
    broken="$broken; the system profile was put back, but not the boot loader (status $status)"
  else
    broken="$broken; they were put back"
  fi
}

work() {
  exec 8>>"$dir/alive" && flock 8 && [ -e "$dir/owner" ] || exit 1
  # Open for both, so that this never waits for a reader.
  exec 7<>"$dir/ready" && echo ready >&7
  exec </dev/null >>"$dir/log" 2>&1
  take_lock "$(cat "$dir/owner")"
  old_generation=$(readlink "$profile" | sed -n 's/^.*system-\([0-9]*\)-link$/\1/p')
  [ -e "$path" ] || finish gone 0
  if [ ! -x "$path/bin/switch-to-configuration" ] || [ ! -e "$path/nixos-version" ]; then
    finish failed 0 "$path is not a NixOS system"
  fi
  [ "$force" = force ] || ! is_done || finish unchanged 0
  # Whoever waits for somebody wants to come after what that one does.
  [ -n "$waited" ] || { fits "$must_run" "$old" && fits "$must_boot" "$old_profile"; } || finish changed 0
  case $type in
    switch | test) if [ "$confirm" = 0 ]; then plain; else confirmed; fi ;;
    boot) persist || finish failed 0 "$broken" ;;
    *) plain ;;
  esac
  finish done 0
}

# Whether there is nothing to do.
is_done() {
  case $type in
    switch) [ "$old" = "$path" ] && [ "$old_profile" = "$path" ] ;;
    test) [ "$old" = "$path" ] ;;
    boot) [ "$old_profile" = "$path" ] ;;
    *) return 1 ;;
  esac
}

plain() {
  if [ "$type" = switch ]; then
    if [ "$generation" = 0 ]; then set_profile --set "$path"; else set_profile --switch-generation "$generation"; fi ||
      finish failed 0 "setting the system profile failed"
  fi
  act "$path" "$type" "$(left)"
  if [ -n "$crowded" ]; then
    broken="another switch-to-configuration is at work"
    put_back
    [ "$(boots)" != "$old_profile" ] || finish locked 0 "another switch-to-configuration"
    finish failed 0 "$broken"
  fi
  case $status in
    0) ;;
    4 | 100) finish warned "$status" ;;
    *) finish failed "$status" "switch-to-configuration $type ended with $status" ;;
  esac
}

confirmed() {
  act "$path" test "$(left)"
  trial=$(running) tested=$status
  if [ -n "$crowded" ]; then
    [ "$trial" != "$old" ] || finish locked 0 "another switch-to-configuration"
    finish failed "$tested" "another switch-to-configuration came between; $trial runs, and was left so"
  fi
  case $tested in
    0 | 4 | 100) ;;
    *) go_back "$tested" "switch-to-configuration test ended with $tested" ;;
  esac
  note "tested $tested"
  word=$(timeout "$confirm" head -n 1 "$dir/word" 7>&- 8>&- 9>&-)
  case $word in
    keep) ;;
    '') go_back "$tested" "no word came within $confirm s" ;;
    *) go_back "$tested" "$word" ;;
  esac
  [ "$(running)" = "$trial" ] ||
    finish failed "$tested" "somebody else has made it run $(running) meanwhile, and it was left so"
  if [ "$type" = switch ]; then
    persist || go_back "$tested" "$broken"
  fi
  [ "$tested" = 0 ] || finish warned "$tested"
}

reboot_host() { # owner
  mkdir -p "$base" || exit 1
  take_lock "$1"
  fits "$must_run" "$old" && fits "$must_boot" "$old_profile" || finish changed 0
  note ordered
  if [ -d /run/systemd/system ]; then systemctl reboot; else reboot; fi || finish failed "$?"
  note "result done 0"
  # Nobody begins anything until it is down.
  sleep "$limit"
  rm -f "$base/holder"
}

mode=$1 id=$2 dir=$base/$2
mine='' waited='' broken='' crowded=''
case $mode in
  begin) shift && begin "$@" ;;
  worker)
    path=$3 type=$4 confirm=$5 limit=$6 wait=$7 generation=$8 force=$9 must_run=${10} must_boot=${11}
    work
    ;;
  follow) follow ;;
  say) shift && say_word "$@" ;;
  forget) rm -rf "$dir" ;;
  reboot)
    limit=$3 wait=$4 must_run=$5 must_boot=$6
    reboot_host "$7"
    ;;
esac
