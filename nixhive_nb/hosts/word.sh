# Brings the word that the worker of an activation waits for, or removes what it kept: see `activation.sh`, of which this
# needs nothing, as each host is sent it at each activation.
#
#   say ID WORD
#   forget ID ROOT    also a root of that name that kept the system from being collected until now; or ROOT is empty
set -u
PATH=$(readlink -f /run/current-system)/sw/bin:/run/wrappers/bin:/nix/var/nix/profiles/default/bin:$PATH:/usr/sbin:/sbin
dir=/run/nixhive/$2
case $1 in
  # Nobody reads any more once the worker has given up: then the pipe has no other end.
  say) timeout 10 /bin/sh -c 'printf "%s\n" "$1" >"$2"' sh "$3" "$dir/word" ;;
  forget)
    rm -rf "$dir"
    for root in ${3:+"/nix/var/nix/gcroots/nixhive/$3" /nix/var/nix/gcroots/per-user/*/nixhive/"$3"}; do
      [ ! -L "$root" ] || rm -f "$root"
    done
    ;;
esac
