# Makes a host run a system, and has it go back unless somebody says over a new connection that all is well.
#
# It is sent with each activation and installed nowhere: the caller holds this text in $hive_script and evaluates it. All
# that it keeps is below /run. `begin` starts the worker detached from the link, and follows it; `follow` follows one
# whose link was lost; `say` brings the word that the worker waits for; `forget` removes what it kept.
#
#   begin ID PATH TYPE CONFIRM LIMIT WAIT GENERATION OWNER
#   follow ID
#   say ID WORD
#   forget ID
#
# TYPE is a word of switch-to-configuration. CONFIRM, LIMIT and WAIT are seconds: how long the worker waits for the word
# (0: the plain order, which waits for none), how long one switch-to-configuration may take, and how long to wait for
# another activation (0: not at all). GENERATION is one to go back to (0: PATH becomes a new one).
#
# The worker's log holds what the activation says and lines of its own, `nixhive ID KEYWORD …`:
#   holds                     it has the lock, and begins
#   waits WHO                 WHO activates something, and it waits for that
#   tested STATUS             the system runs; it waits for the word
#   back WHY                  it goes back
#   result OUTCOME STATUS WHY done, warned, rolled-back, failed or locked
#   ended                     the last line, also of a worker that was killed
set -u
umask 022
base=/run/nixhive
profile=/nix/var/nix/profiles/system
# By its store path, so that the programs stay when the running system changes.
PATH=$(readlink -f /run/current-system)/sw/bin:/run/wrappers/bin:/nix/var/nix/profiles/default/bin:$PATH:/usr/sbin:/sbin

begin() {
  mkdir -p "$base" && mkdir -m 700 "$dir" && : >"$dir/log" && mkfifo -m 600 "$dir/word" "$dir/ready" || exit 1
  printf '%s\n' "$hive_script" >"$dir/worker" && printf '%s\n' "$8" >"$dir/owner" || exit 1
  remove_old
  # The words for the worker hold nothing that systemd would expand.
  set -- /bin/sh "$dir/worker" worker "$1" "$2" "$3" "$4" "$5" "$6" "$7"
  if [ -d /run/systemd/system ]; then
    systemd-run --quiet --collect --no-ask-password --service-type=exec --unit="nixhive-$id" \
      --description="Activation by nixhive_nb" --setenv=PATH="$PATH" "$@" || exit 1
  else
    setsid "$@" </dev/null >/dev/null 2>&1 &
  fi
  if ! timeout 20 head -n 1 "$dir/ready" >/dev/null; then
    echo "the activation's own process did not start" >&2
    exit 1
  fi
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
  [ -z "$(tail -c 1 "$dir/log")" ] || echo >>"$dir/log"
  printf 'nixhive %s %s\n' "$id" "$*" >>"$dir/log"
}

finish() {
  note "result $*"
  note ended
  rm -f "$base/holder" "$dir/worker"
  exit 0
}

# What is started must keep none of our locks when we are gone.
act() { timeout -k 10 "$limit" "$1/bin/switch-to-configuration" "$2" 7>&- 8>&- 9>&-; }
set_profile() { nix-env --profile "$profile" "$@" 7>&- 8>&- 9>&-; }
# Nothing on a host that never ran a system: `readlink -f` gives a name also where there is no such thing.
running() { [ ! -e /run/current-system ] || readlink -f /run/current-system; }

take_lock() {
  # Nobody else may hold it, and so keep us from activating: a lock needs no more than the right to read.
  umask 077
  exec 9>>"$base/lock"
  umask 022
  # Whoever looks who holds it takes it for a moment.
  flock -w 1 9 && return
  who=$(head -n 1 "$base/holder" 2>/dev/null)
  [ "$wait" != 0 ] || finish locked 0 "$who"
  note "waits $who"
  flock -w "$wait" 9 || finish locked 0 "$who"
}

go_back() { # status, why
  old_status=0
  if [ ! -x "$old/bin/switch-to-configuration" ]; then
    finish failed "$1" "$2; there is no earlier system to go back to"
  elif [ "$old" = "$path" ]; then
    finish failed "$1" "$2; it ran this very system before"
  fi
  note "back $2"
  act "$old" test || old_status=$?
  [ "$(running)" = "$old" ] || finish failed "$1" "$2; going back to $old ended with $old_status, and $(running) runs"
  finish rolled-back "$1" "$2"
}

# Makes the host boot the system; what cannot be finished is undone.
persist() {
  if [ "$generation" = 0 ]; then
    set_profile --set "$path" || return 1
  else
    set_profile --switch-generation "$generation" || return 1
  fi
  [ "$(readlink -f "$profile")" = "$path" ] && act "$path" boot && return
  if [ -n "$old_generation" ]; then
    set_profile --switch-generation "$old_generation" && act "$(readlink -f "$profile")" boot
  fi
  return 1
}

work() {
  exec 8>>"$dir/alive" && flock 8 || exit 1
  # Open for both, so that this never waits for a reader.
  exec 7<>"$dir/ready" && echo ready >&7
  exec </dev/null >>"$dir/log" 2>&1
  take_lock
  cp "$dir/owner" "$base/holder.new" && mv "$base/holder.new" "$base/holder"
  note holds
  old=$(running)
  old_generation=$(readlink "$profile" | sed -n 's/^.*system-\([0-9]*\)-link$/\1/p')
  if [ ! -x "$path/bin/switch-to-configuration" ] || [ ! -e "$path/nixos-version" ]; then
    finish failed 0 "$path is not a NixOS system, or is not on the host any more"
  fi
  case $type in
    switch | test) if [ "$confirm" = 0 ]; then plain; else confirmed; fi ;;
    boot) persist || finish failed 0 "the system profile or the boot loader could not be set; they were put back" ;;
    *) plain ;;
  esac
  finish done 0
}

plain() {
  if [ "$type" = switch ]; then
    if [ "$generation" = 0 ]; then set_profile --set "$path"; else set_profile --switch-generation "$generation"; fi ||
      finish failed 0 "setting the system profile failed"
  fi
  act "$path" "$type"
  status=$?
  case $status in
    0) ;;
    4 | 100) finish warned "$status" ;;
    *) finish failed "$status" "switch-to-configuration $type ended with $status" ;;
  esac
}

confirmed() {
  act "$path" test
  status=$?
  # It has a lock of its own, which somebody who switches without us holds.
  if [ "$status" = 1 ] && grep -q '^Could not acquire lock' "$dir/log"; then
    finish locked 1 "another switch-to-configuration"
  fi
  case $status in
    0 | 4 | 100) ;;
    *) go_back "$status" "switch-to-configuration test ended with $status" ;;
  esac
  note "tested $status"
  word=$(timeout "$confirm" head -n 1 "$dir/word" 7>&- 8>&- 9>&-)
  case $word in
    keep) ;;
    '') go_back "$status" "no word came within $confirm s" ;;
    *) go_back "$status" "$word" ;;
  esac
  if [ "$type" = switch ]; then
    persist || go_back "$status" "the system profile or the boot loader could not be set"
  fi
  [ "$status" = 0 ] || finish warned "$status"
}

mode=$1 id=$2 dir=$base/$2
case $mode in
  begin) shift && begin "$@" ;;
  worker)
    path=$3 type=$4 confirm=$5 limit=$6 wait=$7 generation=$8
    work
    ;;
  follow) follow ;;
  say) shift && say_word "$@" ;;
  forget) rm -rf "$dir" ;;
esac
