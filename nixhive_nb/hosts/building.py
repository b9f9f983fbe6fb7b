"""What the host of a store says of itself as one that builds: shell words that print it, and the reading of these.

The words are POSIX, work for any user, and change nothing. Each fact is a line `name=value`.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from nixhive_nb.plan.places import BuildPlace
from nixhive_nb.util import said
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NOTHING = "/nix/store/00000000000000000000000000000000-nixhive"
"""A path that no store has."""
_SETTINGS = "system|extra-platforms|system-features|trusted-users|trusted-public-keys|max-jobs|builders"
_MOST_NAMES = 100
_LONGEST = 2000
_LINE = re.compile(r"([a-z-]{1,40})=(.*)", re.DOTALL)
_DF = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+(?:\d+%|-)\s", re.ASCII)
_ELSEWHERE = "or build elsewhere (--build-on)"

ABILITY = (
    "LC_ALL=C; export LC_ALL; "
    "PATH=$PATH:/run/wrappers/bin:/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin; "
    'say() { printf "%s=%s\\n" "$1" "$2"; }; '
    'say uid "$(id -u)"; say user "$(id -un 2>/dev/null)"; say groups "$(id -Gn 2>/dev/null)"; '
    'say free "$(df -P -k /nix 2>/dev/null | tail -n 1)"; '
    "test ! -s /etc/nix/machines || say machines yes; "
    "if command -v nix-store >/dev/null 2>&1; then say nix yes; fi; "
    # Whether the daemon, or the store itself, lets the login in.
    f"said=$(nix-store --check-validity --print-invalid {_NOTHING} 2>&1) && say store yes || "
    'say closed "$(printf "%s\\n" "$said" | tail -n 1)"; '
    'settings() { nix --extra-experimental-features nix-command "$@" 2>/dev/null; }; '
    "{ settings show-config || settings config show; } | while read -r name _ value; do "
    f'case $name in ({_SETTINGS}) say "$name" "$value";; esac; done; true'
)
"""Shell words that print what `read_place` reads."""


def read_place(store: str, lines: Iterable[str]) -> BuildPlace:
    """Read what `ABILITY` printed on the host of a store. What is missing is not known."""
    found = {match[1]: _clean(match[2]) for line in lines if (match := _LINE.fullmatch(line))}
    user, uid = found.get("user", ""), found.get("uid", "")
    free = _DF.search(f"{found.get('free', '')} ")
    kilobytes = said.whole(free[1]) if free else None
    machines = found.get("builders", "").strip()
    delegates = bool(machines) if not machines.startswith("@") else "machines" in found
    return BuildPlace(
        store=store,
        asked=time.time(),
        error=_error(found, delegates=delegates),
        platforms=_names(found, "system", "extra-platforms"),
        features=_names(found, "system-features"),
        delegates=delegates,
        trusted=uid == "0" or _is_among(user, found.get("groups", "").split(), found.get("trusted-users", "").split()),
        keys=tuple(key.partition(":")[0] for key in found.get("trusted-public-keys", "").split()),
        free=None if kilobytes is None else said.clamped(kilobytes * 1024),
    )


def _error(found: Mapping[str, str], *, delegates: bool) -> str:
    if "uid" not in found:
        return f"its login runs no commands. Name a login that does, {_ELSEWHERE}."
    if "nix" not in found:
        return f"it has no nix-store. Install Nix there, {_ELSEWHERE}."
    if "store" not in found:
        who = found.get("user") or "the login"
        return (
            f"its Nix does not let {who} in: {found.get('closed') or 'it said nothing'}. "
            f"Name {who} in allowed-users there (and let it use the socket of the daemon), {_ELSEWHERE}."
        )
    if found.get("max-jobs") == "0" and not delegates:
        return f"its Nix builds nothing (max-jobs = 0) and has no builders. Set one of both there, {_ELSEWHERE}."
    return ""


def _is_among(user: str, groups: Iterable[str], names: Iterable[str]) -> bool:
    """Return whether a list of users of Nix, such as `root @wheel`, names a login."""
    return any(name in ("*", user) or (name.startswith("@") and name[1:] in groups) for name in names if name)


def _names(found: Mapping[str, str], *settings: str) -> tuple[str, ...]:
    names = [name for setting in settings for name in found.get(setting, "").split()]
    return tuple(dict.fromkeys(names))[:_MOST_NAMES]


def _clean(text: str) -> str:
    return strip_control(text).strip()[:_LONGEST]
