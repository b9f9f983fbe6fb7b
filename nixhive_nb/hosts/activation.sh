# Makes a host run a system, and has it go back unless somebody says over a new connection that all is well. Or reboots
# the host.
#
# It is installed nowhere: the caller holds this text in $hive_script and evaluates it. All that it keeps is below /run:
# this text, too, as $base/script-$hive_name where it was sent (see `scripts.py`), so that it need not be sent again.
# `begin` starts the worker detached from the link, and follows it; `follow` follows one whose link was lost. The word
# that the worker waits for comes by `word.sh`, which also removes what was kept.
#
#   begin ID PATH TYPE CONFIRM LIMIT WAIT GENERATION FORCE RUNS BOOTS OWNER [LOGIN]
#   follow ID
#   reboot ID LIMIT WAIT RUNS BOOTS OWNER
#
# TYPE is a word of switch-to-configuration. CONFIRM, LIMIT and WAIT are seconds: how long the worker waits for the word
# (0: the plain order, which waits for none), how long one switch-to-configuration may take (for a reboot: how long the
# host may take to go down), and how long to wait for whoever else is at work there (0: not at all). GENERATION is one to
# go back to (0: PATH becomes a new one). FORCE is `force` where a host is activated that is so already. RUNS and BOOTS
# are what the host must run and boot, seen when nobody else is at work there: a store path, `none`, or `any`. LOGIN is
# the user that logs in where that is not root: the pipe for the word is his, and what follows reads, so that neither needs
# a right of root.
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
#                             not run and boot what it must), refused (a check before the switch) or locked
#   ended                     the last line of the worker, also of one that was killed
#   facts, told               between them the host says how it is now, as `hive_told` has it
# $base/unclean is there while a host is being changed, and stays where that did not end well: what runs is a mixture then,
# whatever the links say. Before this text stand the functions of `hosts/facts.py`, `is_unclean` and `loads` among them.
set -u
umask 022
base=/run/nixhive
unclean=$base/unclean
profile=/nix/var/nix/profiles/system
switching=/run/nixos/switch-to-configuration.lock
tells=10
# Bytes of what an activation says; of more, the last lines are kept. Our word waits until all of it has come.
most=1000000

# Whatever can be done by the shell itself is, here and below: a program takes a hundred times as long to start. What a
# question answers is `it`.

# The place behind links; nothing where there is no such thing: `readlink -f` gives a name also then.
real() {
  it=
  if cd -P "$1" 2>/dev/null; then
    it=$PWD
    cd /
  elif [ -e "$1" ]; then
    it=$(readlink -f "$1")
  fi
}
CDPATH=
# By its store path, so that the programs stay when the running system changes.
real /run/current-system
PATH=$it/sw/bin:/run/wrappers/bin:/nix/var/nix/profiles/default/bin:$PATH:/usr/sbin:/sbin

# Ends before anything is begun where the host lacks a program that it cannot do without. Each NixOS has them.
look_for_programs() {
  lacks=
  if [ -d /run/systemd/system ]; then starts=systemd-run; else starts=setsid; fi
  for program in cat flock grep head mkdir mkfifo mv readlink rm sed sleep timeout tr wc "$starts"; do
    command -v "$program" >/dev/null || lacks="$lacks $program"
  done
  [ -n "$lacks" ] || return 0
  echo "the host has no$lacks" >&2
  exit 1
}

begin() {
  look_for_programs
  { [ -d "$base" ] || mkdir -p "$base"; } && mkdir -m 700 "$dir" && : >"$dir/log" || exit 1
  # Those behind the first two can be made later, or done without.
  mkfifo -m 600 "$dir/word" "$dir/ready" "$dir/reader.$$" "$dir/out.1" "$dir/drained.1" "$dir/out.2" "$dir/drained.2" ||
    [ -p "$dir/ready" ] || exit 1
  if [ -n "${12-}" ] && ! { chmod 600 "$dir/log" && mkdir -m 700 "$dir/at" &&
    chown "${12}" "$dir/word" "$dir/log" "$dir/at" && chmod 711 "$dir"; }; then
    rm -rf "$dir"
    exit 1
  fi
  if ! { printf '%s\n' "$hive_script" >"$dir/worker" && printf '%s\n' "${11}" >"$dir/owner"; } 2>/dev/null; then
    rm -rf "$dir"
    echo "nothing can be written below $base (is /run full?)" >&2
    exit 1
  fi
  remove_old
  # Open before the worker is there: what it says would be gone with it where it has ended before anybody reads.
  exec 4<>"$dir/ready"
  # The words for the worker hold nothing that systemd would expand.
  set -- /bin/sh "$dir/worker" worker "$1" "$2" "$3" "$4" "$5" "$6" "$7" "$8" "$9" "${10}"
  if [ -d /run/systemd/system ]; then
    systemd-run --quiet --collect --no-ask-password --service-type=exec --unit="nixhive-$id" \
      --description="Activation by nixhive_nb" --setenv=PATH="$PATH" "$@" 4>&- || exit 1
  else
    setsid "$@" </dev/null >/dev/null 2>&1 4>&- &
  fi
  # One that is late finds no owner, and does nothing; one that came in the last moment has its lock.
  if ! timeout 20 head -n 1 <&4 >/dev/null && flock -n "$dir/alive" rm -f "$dir/owner"; then
    echo "the activation's own process did not start" >&2
    rm -rf "$dir"
    exit 1
  fi
  exec 4>&-
  printf 'nixhive %s began\n' "$id"
  follow
  keep_scripts
}

# What activations left whose operator never came back for the result.
remove_old() {
  for old in "$base"/*/; do
    [ "${old%/}" != "$dir" ] || continue
    find "$base" -mindepth 1 -maxdepth 1 -type d -mmin +60 | while IFS= read -r old; do
      flock -n "$old/alive" rm -rf "$old"
    done
    return
  done
}

# Root alone can write here. What it costs is told to nobody: they are sent again where they are not kept.
keep_scripts() {
  if [ -n "$hive_name" ]; then
    keep_script "$hive_name" "$hive_script"
  elif [ -e "$base/script-$hive_facts" ]; then
    return
  fi
  keep_script "$hive_facts" "LC_ALL=C; export LC_ALL; $hive_defined$hive_told
"
  find "$base" -mindepth 1 -maxdepth 1 -name 'script-*' -mtime +7 -exec rm -f {} +
} 2>/dev/null
keep_script() { # hash, text
  printf '%s' "$2" >"$base/new-$id" && mv -f "$base/new-$id" "$base/script-$1" || rm -f "$base/new-$id"
}

follow() {
  if [ ! -e "$dir/alive" ]; then
    printf 'nixhive %s gone\n' "$id"
    exit 0
  fi
  last="nixhive $id ended" reader=$dir/reader.$$
  [ -w "$dir" ] || reader=$dir/at/reader.$$
  # Without what it takes to read along (no room in /run, no `tail`), all of it is told at the end.
  if ! command -v tail >/dev/null || ! { [ -p "$reader" ] || mkfifo -m 600 "$reader"; }; then
    flock "$dir/alive" cat "$dir/log"
    printf '\n%s\n' "$last"
    exit 0
  fi
  tail -n +1 -f "$dir/log" >"$reader" &
  tail=$!
  # The kernel gives the lock away when the worker is dead, however it died.
  # Where /run is full its end is told past the log.
  { flock 3; printf '%s\n' "$last" >>"$dir/log" || printf '\n%s\n' "$last" >"$reader"; } \
    3<"$dir/alive" >/dev/null 2>&1 &
  sed -u "/^$last\$/q" <"$reader"
  kill "$tail" 2>/dev/null
  printf 'nixhive %s facts\n' "$id"
  (
    LC_ALL=C
    export LC_ALL
    eval "$hive_told"
  ) 2>/dev/null
  printf 'nixhive %s told\n' "$id"
}

note() {
  # What another program said last may lack its end of line.
  [ -z "$unended" ] || [ ! -e "$dir/log" ] || [ -z "$(tail -c 1 "$dir/log")" ] || echo
  unended=
  printf 'nixhive %s %s\n' "$id" "$*"
}

finish() {
  note "result $*"
  note ended
  # Who was refused leaves the name of the one who holds it.
  rm -f "$dir/worker" ${mine:+"$base/holder"}
  exit 0
}

# Of this boot, in seconds; the time of day may be set anew.
now() { read -r it _ </proc/uptime && it=${it%%.*}; }
left() {
  now
  it=$((until - it))
  it=$((it > 0 ? it : 0))
}

running() { real /run/current-system; }
boots() { real "$profile"; }
runs() { running && [ "$it" = "$1" ]; }
does_boot() { boots && [ "$it" = "$1" ]; }
runs_now() { running && echo "$it"; }
boots_now() { boots && echo "$it"; }
# Whether it is what was expected.
fits() { [ "$1" = any ] || [ "$1" = "${2:-none}" ]; }

take_lock() { # owner
  now
  until=$((it + wait))
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
  left
  take_turn "$it" || finish locked 0 "another switch-to-configuration"
  running
  old=$it
  boots
  old_profile=$it
  note "holds ${old:-none} ${old_profile:-none}"
}

is_switching() {
  [ -e "$switching" ] || return 1
  held=0
  { flock -s -n 3 || held=$?; } 2>/dev/null 3<"$switching"
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

release_turn() { exec 6>&-; }

# Says what a switch-to-configuration waits for that takes long, each time that it has taken twice as long, and at least
# every five minutes. It ends when it is told to. After USR1 it gives up waiting for what was said, in place of that.
tell_of_it() {
  trap 'kill "$nap" 2>/dev/null; exit 0' TERM
  trap 'over=yes' USR1
  exec 6>&- 7>&- 8>&- 9>&-
  nap='' over=''
  now
  since=$it
  while :; do
    sleep "$tells" &
    nap=$!
    wait "$nap"
    [ -z "$over" ] || wait "$nap"
    kill -0 "$$" 2>/dev/null || exit 0 # the worker was killed
    tells=$((tells < 300 ? tells * 2 : tells))
    if [ -n "$over" ]; then
      echo late 1<>"$drained"
      continue
    fi
    now
    unended=yes
    # By a shell of its own, which has no handlers: bash (5.2) has lost one that came while it read a `$( )`.
    (note "busy $((it - since)) $(awaited)")
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
  tr '\0\n' '  ' 2>/dev/null <"/proc/${last:-0}/cmdline" | head -c 300
}
children() { cat "/proc/$1/task/$1/children" 2>/dev/null; }

# What is started must keep none of our locks when we are gone.
switch_to() { # system, word
  acts=$((acts + 1)) out=$dir/out.$acts drained=$dir/drained.$acts
  tell_of_it &
  teller=$!
  bounded timeout -k 10 "$limit" "$1/bin/switch-to-configuration" "$2" 6>&- 7>&- 8>&- 9>&-
  { kill "$teller" && wait "$teller"; } 2>/dev/null
}
set_profile() {
  unended=yes
  nix-env --profile "$profile" "$@" 6>&- 7>&- 8>&- 9>&-
}
# Nix makes no generation of what the profile has already, and takes long to see that.
make_profile() {
  if [ "$generation" != 0 ]; then
    set_profile --switch-generation "$generation"
  elif [ -z "$old_generation" ] || ! does_boot "$path"; then
    set_profile --set "$path"
  fi
}

# Runs something whose output is bounded; `status` is how it ended, and what it said is for `hears`. Whatever it has
# started may go on to write.
bounded() {
  end="end of $id.$$" heard='' whys=''
  # mawk reads ahead unless it is told not to, which others do not know.
  if command -v gawk >/dev/null; then reads=gawk; elif command -v mawk >/dev/null; then reads='mawk -W interactive'; else reads=awk; fi
  if ! command -v awk >/dev/null || ! { [ -p "$drained" ] || mkfifo -m 600 "$out" "$drained" 2>/dev/null; }; then
    size=$(wc -c <"$dir/log")
    "$@"
    status=$?
    unended=yes
    hear_log
    return
  fi
  drain 6>&- 7>&- 8>&- 9>&- &
  exec 5<>"$out" 4<>"$drained"
  "$@" >&5 2>&1 4>&- 5>&-
  status=$?
  printf '\n%s\n' "$end" >&5
  kill -USR1 "$teller" 2>/dev/null
  while IFS= read -r it <&4; do
    case $it in
      heard*) heard=${it#heard} ;;
      whys*) whys=${it#whys} ;;
      drained | late) break ;;
    esac
  done
  exec 4>&- 5>&-
  [ -z "$heard" ] || return 0
  # Nobody has read it to its end.
  unended=yes size=
  hear_log
}
drain() {
  exec 4>&- 5>&-
  {
    # Open for both, as the worker may be dead: nobody would ever read, and this holds its locks.
    $reads -v end="$end" -v most="$most" '
      $0 == end { exit }
      waits { waits = 0; say("") }
      $0 == "" { waits = 1; next }
      /^(stopping the following units|activating the configuration)/ { hear("activating") }
      /^Pre-switch check/ { hear("checking") }
      /^Could not acquire lock/ { hear("locked") }
      /^(Failed to run activate script|Activation script snippet .* failed)/ { hear("script") }
      (/^[^ ].* : .* -> / || /^Pre-switch check .* failed/) && many++ < 8 { whys = whys substr($0, 1, 2000) ";" }
      { say($0) }
      function hear(word) { if (!index(heard, word)) heard = heard word " " }
      function say(line) {
        size += length(line) + 1
        if (size <= most) { print line; fflush(); return }
        kept[left++ % 100] = line
      }
      END {
        if (left > 100) print "… " left - 100 " lines left out"
        for (at = left > 100 ? left - 100 : 0; at < left; at++) print kept[at % 100]
        print "heard " heard "\nwhys" whys >"/dev/stderr"
      }' 2>&3
    echo drained >&3
    exec 3>&-
    # Mostly there is no more to read.
    read -r it && exec cat >/dev/null
  } <"$out" 3<>"$drained"
}
hears() {
  case " $heard " in *" $1 "*) ;; *) return 1 ;; esac
}
# The same, from the log behind its first `size` bytes, or where that is empty behind the last word of ours before.
hear_log() {
  heard=' '
  ! said '^stopping the following units\|^activating the configuration' || heard="$heard activating"
  ! said '^Pre-switch check' || heard="$heard checking"
  ! said '^Could not acquire lock' || heard="$heard locked"
  ! said "^Failed to run activate script\|^Activation script snippet '.*' failed" || heard="$heard script"
  whys=$(new_words | sed -n '/^[^ ].* : .* -> /p; /^Pre-switch check .* failed/p' | head -n 8 | tr '\n' ';')
}
new_words() {
  if [ -n "$size" ]; then
    tail -c "+$((size + 1))" "$dir/log"
  else
    sed -n "H; /^nixhive $id \\(holds\\|tested\\|back\\) /h; \${ x; p; }" "$dir/log"
  fi
}
said() { new_words | grep -q "$1"; }

# Switches when nobody else does: status is that of switch-to-configuration. `crowded` is set where another one was at
# work, `refused` where a pre-switch check failed: nothing was changed in both cases.
act() { # system, word, how long to wait for others
  crowded='' refused='' activated='' tries=0 status=0 turn=''
  while take_turn "$3"; do
    turn=yes
    running
    ran=$it
    begins "$1" "$2"
    switch_to "$1" "$2"
    ! hears activating || activated=yes
    runs "$ran" || activated=yes
    # What an activation says decides nothing: it comes after that line.
    [ -z "$activated" ] || break
    ends_clean "$2" "$before"
    case $status in 124 | 137) break ;; esac
    if hears checking; then
      refused=${whys:-a check before the switch failed}
      status=1
      return 1
    fi
    [ "$status" != 0 ] && hears locked || break
    # Somebody may have come in the moment between our look and its own. It is tried again when the lock is free.
    tries=$((tries + 1))
    [ "$tries" -lt 3 ] || is_switching || break
    turn=
  done
  [ -n "$turn" ] || { crowded=yes; return 1; }
  # Units that fail as well take the place of the script's own status.
  [ "$status" != 4 ] || ! hears script || status=2
  [ -z "$activated" ] || ends_activation "$1"
  return "$status"
}

# The link of what runs, as a thing of its own: each activation makes it anew.
link_of() { stat -c '%i %Z' /run/current-system 2>/dev/null; }
begins() { # system, word
  case $2 in switch | test) ;; *) return 0 ;; esac
  before=
  [ ! -e "$unclean" ] || before=$(cat "$unclean" 2>/dev/null)
  echo "$1" >"$unclean"
}
ends_clean() { # word, what the mark was before
  case $1 in switch | test) ;; *) return 0 ;; esac
  if [ -n "$2" ]; then printf '%s\n' "$2" >"$unclean"; else rm -f "$unclean"; fi
}
ends_activation() { # system
  case $status in
    0 | 4) ! runs "$1" || { rm -f "$unclean"; return; } ;;
  esac
  printf '%s\n%s\n' "$1" "$(link_of)" >"$unclean"
}

go_back() { # status, why
  if [ ! -x "$old/bin/switch-to-configuration" ]; then
    finish failed "$1" "$2; there is no earlier system to go back to"
  elif [ "$old" = "$path" ]; then
    finish failed "$1" "$2; it ran this very system before"
  fi
  note "back $2"
  release_turn
  take_turn "$limit" || finish failed "$1" "$2; going back was not possible for another switch-to-configuration; $(runs_now) runs"
  runs "$trial" || finish failed "$1" "$2; somebody else has made it run $(runs_now) meanwhile, and it was left so"
  act_unchecked "$old" test
  back=$status
  case $back in
    0 | 4 | 100) ;;
    *) finish failed "$1" "$2; going back to $old ended with $back: what it runs is a mixture" ;;
  esac
  runs "$old" || finish failed "$1" "$2; going back to $old ended with $back, and $(runs_now) runs"
  [ -z "$broken" ] || does_boot "$old_profile" ||
    finish failed "$1" "$2; it runs $old again, and boots $(boots_now)"
  finish rolled-back "$1" "$2"
}

# Makes the host boot the system; what cannot be finished is undone. `broken` then says what failed, and what was undone.
persist() {
  make_profile
  if ! does_boot "$path"; then
    broken="the system profile could not be set"
  else
    act "$path" boot "$limit" && return
    broken="switch-to-configuration boot ended with $status"
    [ -z "$crowded" ] || broken="the boot loader could not be set: another switch-to-configuration is at work"
    [ -z "$refused" ] || broken="a check before the switch refused to set the boot loader: $refused"
  fi
  put_back
  return 1
}

put_back() {
  if does_boot "$old_profile"; then
    broken="$broken, and is as it was"
  elif [ -z "$old_generation" ]; then
    broken="$broken; there is no earlier generation to put back, and the system profile is $(boots_now)"
  elif ! set_profile --switch-generation "$old_generation" || ! does_boot "$old_profile"; then
    broken="$broken; the system profile could not be put back, and is $(boots_now)"
  elif [ -n "$crowded$refused" ]; then
    broken="$broken; the system profile was put back"
  elif ! act_unchecked "$old_profile" boot; then
    if [ "$(loads)" = "$old_profile" ]; then
      broken="$broken; the system profile was put back, and the boot loader still starts that"
    else
      broken="$broken; the system profile was put back, but not the boot loader (status $status)"
    fi
  else
    broken="$broken; the system profile and the boot loader were put back"
  fi
}

# On the way back a check of the old system would only be in the way.
act_unchecked() { # system, word
  NIXOS_NO_CHECK=1 && export NIXOS_NO_CHECK
  act "$1" "$2" "$limit"
  unset NIXOS_NO_CHECK
  return "$status"
}

work() {
  exec 8>>"$dir/alive" && flock 8 && [ -e "$dir/owner" ] || exit 1
  # Open for both, so that this never waits for a reader.
  exec 7<>"$dir/ready" && echo ready >&7
  exec </dev/null >>"$dir/log" 2>&1
  IFS= read -r owner <"$dir/owner"
  take_lock "$owner"
  old_generation=$(readlink "$profile")
  case $old_generation in
    *system-*-link) old_generation=${old_generation##*system-} old_generation=${old_generation%-link} ;;
    *) old_generation= ;;
  esac
  case $old_generation in *[!0-9]*) old_generation= ;; esac
  [ -e "$path" ] || finish gone 0
  if [ ! -x "$path/bin/switch-to-configuration" ] || [ ! -e "$path/nixos-version" ]; then
    finish failed 0 "$path is not a NixOS system"
  fi
  [ "$force" = force ] || ! is_done || finish unchanged 0
  # Whoever waits for somebody wants to come after what that one does.
  [ -n "$waited" ] || { fits "$must_run" "$old" && fits "$must_boot" "$old_profile"; } || finish changed 0
  case $type in
    switch | test) if [ "$confirm" = 0 ]; then plain; else confirmed; fi ;;
    boot) persist || { refuse_where_unchanged; finish failed 0 "$broken"; } ;;
    *) plain ;;
  esac
  finish done 0
}

# Whether there is nothing to do.
is_done() {
  case $type in
    switch) runs_it && boots_it ;;
    test) runs_it ;;
    boot) boots_it ;;
    *) return 1 ;;
  esac
}
runs_it() { [ "$old" = "$path" ] && ! is_unclean; }
# A boot loader that cannot be asked starts what the profile says.
boots_it() {
  [ "$old_profile" = "$path" ] || return 1
  loaded=$(loads)
  [ "${loaded:-$path}" = "$path" ]
}

refuse_where_unchanged() {
  [ -z "$refused" ] || ! does_boot "$old_profile" || finish refused 1 "$refused"
}

# Whether it ended well, though nothing was seen to be activated.
came_through() { [ "$status" = 100 ] || { [ "$status" = 0 ] && runs "$path"; }; }

plain() {
  if [ "$type" = switch ]; then
    make_profile || finish failed 0 "setting the system profile failed"
  fi
  left
  act "$path" "$type" "$it"
  if [ -n "$crowded" ]; then
    broken="another switch-to-configuration is at work"
    put_back
    ! does_boot "$old_profile" || finish locked 0 "another switch-to-configuration"
    finish failed 0 "$broken"
  fi
  ended="switch-to-configuration $type ended with $status"
  if [ "$type" = switch ] && [ -z "$activated" ] && ! came_through; then
    # It has got no further than the boot loader.
    broken=${refused:-$ended}
    put_back
    refuse_where_unchanged
    finish failed "$status" "$broken"
  fi
  [ -z "$refused" ] || finish refused 1 "$refused"
  case $status in
    0 | 4)
      [ -z "$activated" ] || runs "$path" ||
        finish failed "$status" "$ended, and $(runs_now) runs: what it runs may be a mixture"
      ;;
  esac
  case $status in
    0) ;;
    4 | 100) finish warned "$status" ;;
    *) finish failed "$status" "$ended" ;;
  esac
}

confirmed() {
  left
  act "$path" test "$it"
  running
  trial=$it tested=$status
  if [ -n "$crowded" ]; then
    [ "$trial" != "$old" ] || finish locked 0 "another switch-to-configuration"
    finish failed "$tested" "another switch-to-configuration came between; $trial runs, and was left so"
  fi
  [ -z "$refused" ] || finish refused 1 "$refused"
  ended="switch-to-configuration test ended with $tested"
  case $tested in
    0 | 4) [ "$trial" = "$path" ] || go_back "$tested" "$ended, and ${trial:-nothing} runs" ;;
    100) ;;
    *)
      # Nothing to go back from, and going back would start what somebody has stopped.
      [ -n "$activated" ] || finish failed "$tested" "$ended; it had activated nothing yet, and nothing was changed"
      go_back "$tested" "$ended"
      ;;
  esac
  # Nobody switches while the word is waited for: it is about this system.
  if [ -e "$switching" ]; then
    exec 6>>"$switching"
    flock -n 6
  fi
  # Open for both, so that whoever brings it need not wait until it is read.
  exec 5<>"$dir/word"
  note "tested $tested"
  word=$(timeout "$confirm" head -n 1 <&5 6>&- 7>&- 8>&- 9>&-)
  exec 5>&-
  release_turn
  case $word in
    keep) ;;
    '') go_back "$tested" "not confirmed within $confirm s" ;;
    *) go_back "$tested" "$word" ;;
  esac
  runs "$trial" ||
    finish failed "$tested" "somebody else has made it run $(runs_now) meanwhile, and it was left so"
  if [ "$type" = switch ]; then
    persist || go_back "$tested" "$broken"
  fi
  [ "$tested" = 0 ] || finish warned "$tested"
}

reboot_host() { # owner
  look_for_programs
  [ -d "$base" ] || mkdir -p "$base" || exit 1
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
mine='' waited='' broken='' crowded='' refused='' activated='' before='' unended='' acts=0
case $mode in
  begin) shift && begin "$@" ;;
  worker)
    path=$3 type=$4 confirm=$5 limit=$6 wait=$7 generation=$8 force=$9 must_run=${10} must_boot=${11}
    work
    ;;
  follow) follow ;;
  reboot)
    limit=$3 wait=$4 must_run=$5 must_boot=$6
    reboot_host "$7"
    ;;
esac
