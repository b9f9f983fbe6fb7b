"""Shell words that end what runs on a host when our side of the link is gone, however that came about.

sshd does not: it closes the input of a command, whose end nobody but a reader of it sees. So one reads, beside it.
"""

from __future__ import annotations

# A group would not do: `timeout` makes one of its own. A session is what sshd makes for each command. No quotation
# mark, backslash or newline stands in these, which login shells understand in different ways.
#
# Who has started others is told before them: a shell whose `sleep` ends first would go on with what comes after that.
# And what is killed may have begun something while we looked, so that we look again.
END_SESSION = (
    "_hive_look() { _hive_found=; for _hive_it in /proc/[0-9]*/stat; do "
    "{ read -r _hive_line <$_hive_it; } 2>/dev/null || continue; "
    "_hive_pid=${_hive_it#/proc/}; _hive_pid=${_hive_pid%/stat}; set -- ${_hive_line##*) }; "
    'if [ "$4" = "$_hive_session" ] && [ "$_hive_pid" != "$_hive_self" ] && [ "$1" != Z ]; '
    'then _hive_found="$_hive_found $_hive_pid:$2"; fi; done; }; '
    '_hive_tell() { ! kill "-$_hive_signal" "$1" || _hive_some=yes; for _hive_it in $_hive_found; do '
    '[ "${_hive_it#*:}" != "$1" ] || _hive_tell "${_hive_it%:*}"; done; }; '
    "_hive_each() { _hive_some=; _hive_look; for _hive_one in $_hive_found; do case $_hive_found in "
    '*" ${_hive_one#*:}:"*) ;; *) _hive_tell "${_hive_one%:*}";; esac; done; }; '
    "_hive_end_session() { read -r _hive_line </proc/self/stat; _hive_self=${_hive_line%% *}; "
    "set -- ${_hive_line##*) }; _hive_session=$4; _hive_signal=TERM; _hive_each; _hive_signal=0; "
    'for _hive_left in 5 4 3 2 1; do sleep 1; _hive_each; [ -n "$_hive_some" ] || return 0; done; '
    '_hive_signal=KILL; for _hive_left in 9 8 7 6 5 4 3 2 1; do _hive_each; [ -n "$_hive_some" ] || return 0; done; }; '
)
"""Defines `_hive_end_session`, which ends all of its session but itself: SIGTERM, and SIGKILL after 5 seconds."""
_BOUND = (
    f'exec 5<&0 </dev/null; {{ trap "" TERM HUP INT; {END_SESSION}while read -r _hive_it; do :; done; '
    "_hive_end_session; } <&5 >/dev/null 2>&1 & _hive_watch=$!; exec 5<&-; "
)


def bound(command: str) -> str:
    """Return words of /bin/sh that run a command, and end it when our side of the link is gone.

    Its standard input is what tells: it has to be left open, and the command itself gets none. What the command starts
    in a session of its own stays.
    """
    return f"{_BOUND}( {command} ); _hive_status=$?; kill -KILL $_hive_watch 2>/dev/null; exit $_hive_status"
