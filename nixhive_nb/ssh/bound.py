"""Shell words that end what runs on a host when our side of the link is gone, however that came about.

sshd does not: it closes the input of a command, whose end nobody but a reader of it sees. So one reads, beside it.
"""

from __future__ import annotations

# A group would not do: `timeout` makes one of its own. A session is what sshd makes for each command. No quotation
# mark, backslash or newline stands in these, which login shells understand in different ways.
END_SESSION = (
    "_hive_each() { _hive_some=; for _hive_it in /proc/[0-9]*/stat; do "
    "{ read -r _hive_line <$_hive_it; } 2>/dev/null || continue; "
    "_hive_pid=${_hive_it#/proc/}; _hive_pid=${_hive_pid%/stat}; set -- ${_hive_line##*) }; "
    'if [ "$4" = "$_hive_session" ] && [ "$_hive_pid" != "$_hive_self" ] && [ "$1" != Z ] && '
    'kill "-$_hive_signal" "$_hive_pid"; then _hive_some=yes; fi; done; }; '
    "_hive_end_session() { read -r _hive_line </proc/self/stat; _hive_self=${_hive_line%% *}; "
    "set -- ${_hive_line##*) }; _hive_session=$4; _hive_signal=TERM; _hive_each; _hive_signal=0; "
    'for _hive_left in 5 4 3 2 1; do sleep 1; _hive_each; [ -n "$_hive_some" ] || return 0; done; '
    "_hive_signal=KILL; _hive_each; }; "
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
