"""The words by which we and `fetch.sh` on a host understand each other. Nothing is sent here."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.hosts import command
from nixhive_nb.hosts.privilege import SUDO, Elevation
from nixhive_nb.nix import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

FETCH_SECONDS = 6 * 3600
"""How long a host may take to fetch a system in all."""
_HASH = re.compile(r"/nix/store/([0-9a-z]{32})-")
_MOVES = re.compile(r"nixhive moves (-|[0-9]{1,18}) ([0-9]{1,9}) (-|[0-9]{1,9})")
_STALLED = re.compile(r"nixhive (stalled|late) ([0-9]{1,9})")
_ROOTED = "nixhive rooted"
_WORDS = '"$@"'


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """What moved on a host."""

    bytes: int | None
    """All in all; None where that cannot be read."""
    still: int
    """Seconds since the last byte."""
    process: str = ""
    """Another Nix that is waited for, by its number on the host."""


class Stalled(msgspec.Struct, frozen=True):
    """The host ended the transfer: nothing moved for so many seconds, or it took longer than these in all."""

    seconds: int
    late: bool = False


class Rooted(msgspec.Struct, frozen=True):
    """The path is kept on the host from now on."""


def root_name(run: str, path: str, *, relay: bool = False) -> str:
    """Return the name of the root of a path on a host: it has the run and its time; that of a relay is another one."""
    found = _HASH.match(path)
    return f"{run}-{found[1] if found else 'path'}{'-relay' if relay else ''}"


def fetch(
    path: str,
    root: str,
    *,
    stall: float,
    limit: int = FETCH_SECONDS,
    by: Elevation = SUDO,
    words: Sequence[str] = (),
    gone: Sequence[str] = (),
) -> str:
    """Return the shell words that have a host fetch a path, with these words for nix-store besides.

    Roots of runs that are `gone` are removed. It is ended on the host when no byte moves for `stall` seconds, and
    after `limit` seconds in all.
    """
    limits = (str(max(1, round(stall))), str(limit))
    return _command("fetch", path, root, *limits, *commands.QUICK, *words, by=by, gone=gone)


def build(derivation: str, root: str, flags: Sequence[str], *, by: Elevation = SUDO) -> str:
    """Return the shell words that have a host build a derivation, which is kept there meanwhile.

    A build may be silent for long: it is ended after the whole time alone.
    """
    limit = str(FETCH_SECONDS)
    return _command("fetch", derivation, root, limit, limit, "--keep-going", *commands.LOG, *flags, by=by)


def keep(path: str, root: str, *, by: Elevation = SUDO, gone: Sequence[str] = ()) -> str:
    """Return the words that keep a path on a host from being collected, also before it is there."""
    return _command("keep", path, root, by=by, gone=gone)


def release(root: str, *, by: Elevation = SUDO) -> str:
    """Return the words that end that."""
    return _command("release", root, by=by)


def look() -> str:
    """Return the words that say what Nix on a host waits for."""
    return _command("look")


def read(line: str) -> Moves | Stalled | Rooted | None:
    """Return what a line of the script says, None for one of Nix."""
    if line == _ROOTED:
        return Rooted()
    if found := _MOVES.fullmatch(line):
        bytes_, still, process = found.groups()
        return Moves(
            bytes=None if bytes_ == "-" else int(bytes_), still=int(still), process="" if process == "-" else process
        )
    if found := _STALLED.fullmatch(line):
        return Stalled(int(found[2]), late=found[1] == "late")
    return None


def _command(*words: str, by: Elevation = SUDO, gone: Sequence[str] = ()) -> str:
    as_root = f"as_root() {{ {by.before(_WORDS)}; }}"
    settings = f"connect={commands.CONNECT_TIMEOUT} gone={shlex.quote(' '.join(gone))}\n{by.taking}\n{as_root}"
    return f"set -- {shlex.join(words)}\n{settings}\n{command.own_script('nix/fetch.sh')}"
