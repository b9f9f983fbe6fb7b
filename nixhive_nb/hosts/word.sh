# Brings the word that the worker of an activation waits for, or removes what it kept: see `activation.sh`, of which this
# needs nothing, as each host is sent it at each activation.
#
#   say ID WORD
#   forget ID ROOT    also a root of that name that kept the system from being collected until now; or ROOT is empty
set -u
PATH=/run/current-system/sw/bin:/run/wrappers/bin:/nix/var/nix/profiles/default/bin:$PATH:/usr/sbin:/sbin
dir=/run/nixhive/$2
case $1 in
  # Open for both, as nobody may read any more: then this must not wait.
  say) [ ! -p "$dir/word" ] || printf "%s\n" "$3" 1<>"$dir/word" ;;
  forget)
    name=$3
    set -- "$dir"
    for root in ${name:+"/nix/var/nix/gcroots/nixhive/$name" /nix/var/nix/gcroots/per-user/*/nixhive/"$name"}; do
      [ ! -L "$root" ] || set -- "$@" "$root"
    done
    rm -rf "$@"
    ;;
esac
