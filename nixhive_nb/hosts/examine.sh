# What a host is examined with, behind the words of `facts.py`, whose functions it uses. It changes nothing.
#
# $hive_elevate: the words that make root; $hive_relay: the store to reach, $hive_hosts: the names of its host;
# $hive_paths: the store paths of the wanted system, a line each. All may be empty.
within() { if command -v timeout >/dev/null 2>&1; then timeout -k 2 "$@"; else shift; "$@"; fi; }
last() { while IFS= read -r it || test -n "$it"; do case $it in *[![:space:]]*) one=$it ;; esac; done; printf '%.400s' "$one"; }
new_nix() { within 10 nix --extra-experimental-features nix-command "$@" </dev/null 2>/dev/null; }

version=$(nix-store --version 2>/dev/null </dev/null)
say nix "${version##* }"

uid=$(id -u)
power=0 is_root='test "$(id -u)" = 0 || exit 65'
if test "$uid" != 0; then
  if test -n "$hive_elevate"; then
    said=$(eval "within 15 $hive_elevate /bin/sh -c \"\$is_root\"" 2>&1 >/dev/null </dev/null)
    power=$?
    say power "$power"
    say power_said "$(one=; printf '%s\n' "$said" | last)"
  else
    power=1
  fi
fi

# Up to here by the PATH of the login, as a deploy has it.
PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/usr/sbin:/sbin
settings=$(new_nix config show || new_nix show-config)
printf '%s\n' "$settings" | while IFS= read -r one; do
  case $one in
    'require-sigs = '* | 'substituters = '* | 'trusted-public-keys = '* | 'trusted-substituters = '* | 'trusted-users = '*)
      say setting "${one%% = *} ${one#* = }" ;;
  esac
done
say names "$(id -un 2>/dev/null) $(for one in $(id -Gn 2>/dev/null); do printf '@%s ' "$one"; done)"

# As root, whose keys and caches a daemon uses; what Nix would keep of it goes with the folder.
ping='hive_dir=$(mktemp -d) || exit 70; trap "rm -rf \"$hive_dir\"" EXIT
  PATH=$PATH:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin
  export XDG_CACHE_HOME="$hive_dir" XDG_STATE_HOME="$hive_dir" XDG_DATA_HOME="$hive_dir"
  export NIX_SSHOPTS="-o BatchMode=yes -o ConnectTimeout=5"
  within=; ! command -v timeout >/dev/null || within="timeout -k 2 15"
  ping() { $within nix --extra-experimental-features nix-command store ping --store "$1" </dev/null 2>&1; }
  # An sshd drops some of many that come at once.
  for pause in 1 2 3 0; do
    said=$(ping "$1"); status=$?
    case $status:$said in 0:*) break ;; *"closed by remote host"* | *"Connection reset"*) sleep "$pause" ;; *) break ;; esac
  done
  printf "%s\n" "$said" >&2; exit "$status"'
if test -n "$hive_relay"; then
  at=$hive_relay
  substituters=$(printf '%s\n' "$settings" | while IFS= read -r one; do
    case $one in 'substituters = '*) printf '%s' "${one#* = }" ;; esac
  done)
  for one in $substituters; do
    host=${one#*://} host=${host%%[/?]*} host=${host#*@}
    case " $hive_hosts " in *" ${host%%:*} "*) at=$one; say relay_allowed "$one"; break ;; esac
    if test "${one%/}" = "${hive_relay%/}"; then at=$one; say relay_allowed "$one"; break; fi
    # From the other side of a jump host it may have another name.
    case $hive_relay:$one in ssh*:ssh://* | ssh*:ssh-ng://*) at=$one; say relay_other "$one" ;; esac
  done
  if test "$power" = 0; then
    if test "$uid" = 0; then
      said=$(/bin/sh -c "$ping" nixhive "$at" 2>&1)
    else
      said=$(eval "$hive_elevate /bin/sh -c \"\$ping\" nixhive \"\$at\"" 2>&1 </dev/null)
    fi
    say relay "$?"
    printf '%s\n' "$said" | tail -n 12 | while IFS= read -r one; do say relay_said "$one"; done
  fi
fi

for one in /boot /efi /boot/efi; do
  free=$(df -P -k "$one" 2>/dev/null | tail -n 1)
  case $free in
    *" $one")
      if test "$one" = /boot || test -d "$one/EFI/nixos"; then say boot "$one"; say boot_df "$free"; break; fi ;;
  esac
done

# No Nix is asked for them: a daemon would make folders of its own for a user whom it has not seen yet.
printf '%s\n' "$hive_paths" | while IFS= read -r one; do
  test -z "$one" || test -e "$one" || say lacks "$one"
done
say examined yes
