"""What a host says of itself: shell words that print it in one round trip, and the reading of what they print.

The words are POSIX, work for any user, and change nothing. They are one line, since not every login shell takes a
quoted newline. Each fact is a line `name=value`; all else that a login may print is passed over.
"""

from __future__ import annotations

import logging
import re
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.hosts.kernels import KERNEL, platforms_of
from nixhive_nb.nix import commands
from nixhive_nb.plan.facts import Generation, HostFacts
from nixhive_nb.util import said
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_log = logging.getLogger(__name__)

LOCK = "/run/nixhive/lock"
"""An activation of ours holds an `flock` on it while it works."""
HOLDER = "/run/nixhive/holder"
"""A line that says who holds the lock, and one with the process that does."""
NAMELESS = "somebody who left no name"
"""The holder of a lock that is held, where the line is missing."""

UNCLEAN = "/run/nixhive/unclean"
"""The system that an activation has begun to make run; where that has ended, also the link `current-system` of then."""
IS_UNCLEAN = (
    f'is_unclean() {{ test -r {UNCLEAN} || return 1; set -- "$(sed -n 2p {UNCLEAN})"; '
    f'test -z "$1" || test "$1" = "$(stat -c "%i %Z" {commands.CURRENT_SYSTEM} 2>/dev/null)"; }}; '
)
"""A shell function: whether an activation did not end well, and nobody has activated anything since."""
_STARTS = (
    # The first line that has one: the shell itself reads up to it, since it stands near the beginning.
    'starts() { while read -r it || test -n "$it"; do case $it in (*init=/nix/store/*) it=${it##*init=/nix/store/}; '
    'one=${it%%[ /]*}; case $it in ("$one"/init*) echo "/nix/store/$one"; return;; esac;; esac; done; }; '
)
LOADS = (
    f"{_STARTS}loads() {{ "
    # Which entry GRUB takes is not certain where it remembers one.
    'for conf in /boot/extlinux/extlinux.conf /boot/grub/grub.cfg; do if test -r "$conf"; then '
    'if test "${conf%.cfg}" = "$conf" || grep -q "^ *set default=.\\{0,1\\}0.\\{0,1\\}$" "$conf"; then '
    'starts <"$conf"; fi; return 0; fi; done; '
    "for esp in /boot /efi /boot/efi; do if test -r $esp/loader/loader.conf; then "
    'entry=; while read -r it one || test -n "$it"; do if test "$it" = default; then entry=$entry$one; fi; '
    "done <$esp/loader/loader.conf; entry=$esp/loader/entries/$entry; "
    'if test -f "$entry"; then starts <"$entry"; fi; return 0; fi; done; }; '
)
"""A shell function that prints the system that the boot loader starts, where it is extlinux, GRUB or systemd-boot."""

_PROFILES, _, _PROFILE = commands.SYSTEM_PROFILE.rpartition("/")
_BOOTED_SYSTEM = "/run/booted-system"
_GENERATION = re.compile(rf"(?:.*/)?{_PROFILE}-(\d+)-link", re.ASCII)
_DF = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+(?:\d+%|-)\s", re.ASCII)
_DF_SAID = re.compile(r"^df=\r?\n(.{0,4000}?)^df_end=", re.MULTILINE | re.DOTALL)
_EACH_LINE = re.compile(r"^[^\n=]{1,40}=[^\n]*", re.MULTILINE)
_HASH_LENGTH = 32
_HASH = re.compile(r"[0-9a-f]{32}")
_STORE_HASH = re.compile(r"/nix/store/([0-9a-z]{32})-")
_MOST_FACTS = 30_000
"""How many lines of an answer are taken in: there may be a million others."""
_LONGEST = 1000
_MOST_UNITS = 500
_MOST_NAME = 255
_MOST_KEPT = 8
_MOST_GENERATIONS = 10_000
_MOST_INHIBITORS = 8_000
"""How many failed units and generations of one host are taken in; what it has no more of than that is all it has."""


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    """What `nixos-version --json` prints of a system."""

    configuration_revision: str | None = None


_SAY = 'say() { printf "%s=%s\\n" "$1" "$2"; }; '
# Whatever can be done by the shell itself is: a process that it starts takes as long as all else.
_LINE = 'line() { it=; { read -r it <"$1"; } 2>/dev/null; }; '
_WHERE = (
    'where() { it=; if cd -P "$1" 2>/dev/null; then it=$PWD; '
    'elif test -e "$1"; then cd /; it=$(readlink -f "$1"); fi; }; '
)
# One program for both, but where it is one that takes no two. No path of a store has a space.
_FILES = (
    'files() { set -- "$1" $(readlink -f kernel initrd 2>/dev/null); '
    'test "$#" = 3 || set -- "$1" $(readlink -f kernel) $(readlink -f initrd); '
    'test -e initrd || set -- "$1" "${2-}"; say "${1}_kernel" "${2-}"; say "${1}_initrd" "${3-}"; }; '
)
_HASHED = 'hash() { if test -r "$2"; then printf "%s=" "$1"; sha256sum <"$2"; fi; }; '
# The kernel of what was booted is told where that is another system. What is in a path of the store stays as it is, so
# that who asks may know it, and says so by the hash of the path. `where` leaves us in the system.
_SYSTEM = (
    'system() { where "$2"; say "$1" "$it"; if test "$it" = "$told"; then return; fi; told=$it; '
    'one=${it##*/}; case " ${hive_known-} " in (*" ${one%%-*} "*) if test -n "$it"; then return; fi;; esac; '
    'if test -n "$it" && test -e kernel; then files "$1"; '
    'hash "${1}_params" kernel-params; where kernel-modules; say "${1}_modules" "$it"; fi; }; '
)
_UNITS = (
    "if test -d /run/systemd/system && "
    "units=$(SYSTEMD_COLORS=0 systemctl list-units --state=failed,auto-restart --plain --no-legend --no-pager "
    '2>/dev/null); then say systemd yes; test -z "$units" || printf "%s\\n" "$units" | '
    "while read -r unit _ _ state _; do "
    # One that ends well is started anew as well. As NixOS does, it is told by how its main process ended.
    'if test "$state" = auto-restart && '
    'test "$(systemctl show --property=ExecMainStatus "$unit" 2>/dev/null)" = ExecMainStatus=0; then :; '
    'else say failed "$unit"; fi; done; fi; '
)
# Which system a running specialisation is one of: of its generations, what the next boot starts first.
_SPECIALISATION = (
    f"for one in {commands.SYSTEM_PROFILE}/specialisation/* {commands.SYSTEM_PROFILE}-*-link/specialisation/*; do "
    f'if test "$one" -ef {commands.CURRENT_SYSTEM}; then say specialisation "${{one##*/}}"; '
    'where "${one%/specialisation/*}"; say base "$it"; break; fi; done; '
)
# A conflict is status 1; a lock that cannot be looked at is another one. It is let go of when the brace is closed.
_HOLDER = (
    f"if test -r {LOCK}; then it=; {{ flock -s -n 9; it=$?; }} 9<{LOCK} 2>/dev/null; "
    f'if test "$it" = 1; then say held yes; line {HOLDER}; say holder "$it"; fi; '
    # The lock is root's alone. Whoever was killed left the line.
    f'elif test -r {HOLDER} && test -d "/proc/$(sed -n 2p {HOLDER})"; then '
    f'say held yes; line {HOLDER}; say holder "$it"; fi; '
)


def inhibitors(name: str, system: str) -> str:
    """Return shell words that print the switch inhibitors of a system, which `read_inhibitors` reads, as a fact.

    They are the file `switch-inhibitors` of NixOS 26.05: an object of strings, as JSON.
    """
    file = f"{system}/switch-inhibitors"
    # It is short, so that the shell itself is faster than a program.
    return (
        f"if test -r {file}; then text=; "
        f'while test "${{#text}}" -lt {_MOST_INHIBITORS} && {{ IFS= read -r it || test -n "$it"; }}; do text=$text$it; '
        f'done <{file}; say {name} "$text"; fi; '
    )


FAILED_UNITS = f"LC_ALL=C; export LC_ALL; {_SAY}{_UNITS}true"
"""Shell words that print what `parse_failed_units` reads."""

_UID = (
    'it=; while read -r one _ two _; do if test "$one" = Uid:; then it=$two; break; fi; done 2>/dev/null '
    '</proc/self/status; say uid "${it:-$(id -u)}"; '
)
# The program that tells it is a script of the system, with what it tells in a line: reading that takes no process.
_REVISION = (
    f'{{ while IFS= read -r one; do case $one in {{*) say version "$one"; break;; esac; done; }} '
    f"2>/dev/null <{commands.CURRENT_SYSTEM}/sw/bin/nixos-version; "
)
_KEPT = 'for one in /run/nixhive/script-*; do say kept "${one##*-}"; done; '

DEFINED = f"CDPATH=; {_SAY}{_LINE}{_WHERE}{_FILES}{_HASHED}{_SYSTEM}{IS_UNCLEAN}{LOADS}"
"""Shell functions that `TOLD` uses."""
TOLD = (
    f"told=; system current {commands.CURRENT_SYSTEM}; system booted {_BOOTED_SYSTEM}; "
    f'where {commands.SYSTEM_PROFILE}; say profile "$it"; cd /; '
    f"printf generation=; readlink {commands.SYSTEM_PROFILE} || echo; "
    'line /proc/sys/kernel/random/boot_id; say boot_id "$it"; '
    'line /proc/uptime; say uptime "$it"; '
    "echo df=; df -P -k /nix 2>/dev/null; echo df_end=; "
    f"{_UID}"
    # Not the id itself, which systemd wants to be kept from others.
    "hash machine_id /etc/machine-id; "
    "printf loader=; loads; echo; "
    f'if is_unclean; then line {UNCLEAN}; say unclean "$it"; fi; '
    f"{inhibitors('inhibitors', commands.CURRENT_SYSTEM)}"
    f"{KERNEL}{_SPECIALISATION}{_UNITS}{_HOLDER}{_REVISION}{_KEPT}true"
)
"""Shell words that print what `parse_facts` reads, by these functions."""
FACTS = f"LC_ALL=C; export LC_ALL; {DEFINED}{TOLD}"
"""Both: the words that a host is asked with."""

GENERATIONS = (
    f"{_SAY}"
    f'say current "$(readlink {commands.SYSTEM_PROFILE})"; say running "$(readlink -f {commands.CURRENT_SYSTEM})"; '
    f"if cd {_PROFILES} 2>/dev/null; then for link in {_PROFILE}-*-link; do "
    'if test -L "$link"; then path=$(readlink -f "$link"); version=; '
    'if test -r "$path/nixos-version"; then read -r version <"$path/nixos-version"; fi; '
    'say generation "$link $(stat -c %Y "$link") $path $version"; fi; done; fi; true'
)
"""Shell words that print what `parse_generations` reads."""


def kernels_of(facts: HostFacts) -> dict[str, tuple[str, ...]]:
    """Return the kernels that a host has told, by the systems that have them: it need not tell them again."""
    told = {facts.current: facts.current_kernel, facts.booted: facts.booted_kernel}
    return {system: kernel for system, kernel in told.items() if system and kernel}


def known_words(systems: Iterable[str]) -> str:
    """Return shell words before those of `FACTS`: whoever asks knows the kernels of these systems."""
    hashes = (found[1] for system in systems if (found := _STORE_HASH.match(system)))
    return f"hive_known='{' '.join(hashes)}'; "


def parse_facts(stdout: str, known: Mapping[str, tuple[str, ...]] | None = None) -> HostFacts:
    """Read what `FACTS` printed. What is missing or makes no sense is left unknown.

    `known` has the kernels of the systems that were given to `known_words`.
    """
    pairs = _pairs(stdout)
    found = dict(pairs)
    base = said.host_path(found.get("base", ""))
    told = _DF_SAID.search(stdout)
    free = _DF.search((told[1].strip().splitlines() or [""])[-1] + " ") if told else None
    kernels = known or {}
    current_kernel = _kernel(found, "current") or kernels.get(found.get("current", ""), ())
    booted_kernel = _kernel(found, "booted") or kernels.get(found.get("booted", ""), ())
    is_booted = found.get("booted") == found.get("current")
    return HostFacts(
        current=said.host_path(found.get("current", "")),
        booted=said.host_path(found.get("booted", "")),
        profile=said.host_path(found.get("profile", "")),
        generation=_number(found.get("generation", "")),
        boot_id=said.boot_id(found.get("boot_id", "")),
        uptime=_seconds(found.get("uptime", "")),
        free=_bytes(free[1]) if free else None,
        booted_kernel=current_kernel if is_booted else booted_kernel,
        current_kernel=current_kernel,
        specialisation=found.get("specialisation", "")[:_MOST_NAME] if base else "",
        base=base,
        failed_units=_failed_units(pairs),
        root=found.get("uid") == "0",
        machine_id=_hash(found.get("machine_id", "")),
        runs=platforms_of(
            found.get("machine", ""),
            found.get("bits", ""),
            [value for name, value in pairs if name == "binfmt"],
        ),
        # While somebody is at it, nothing is known of how it will end.
        unclean="" if "held" in found else said.host_path(found.get("unclean", "")),
        loader=said.host_path(found.get("loader", "")),
        inhibitors=read_inhibitors(stdout, "inhibitors"),
        holder=(found.get("holder") or NAMELESS) if "held" in found else "",
        revision=_revision(found.get("version", "")),
        kept=tuple(value for name, value in pairs if name == "kept" and _HASH.fullmatch(value))[:_MOST_KEPT],
    )


def read_inhibitors(stdout: str, name: str) -> tuple[tuple[str, str], ...]:
    """Read what `inhibitors` printed under a name; nothing where that makes no sense."""
    text = next((line.partition("=")[2] for line in stdout.splitlines() if line.startswith(f"{name}=")), "")
    return inhibitors_in(text)


def inhibitors_in(text: str) -> tuple[tuple[str, str], ...]:
    """Read switch inhibitors, with their names in order; nothing where the text is no object of strings."""
    with swallowed(_log, "reading switch inhibitors", msgspec.DecodeError):
        found = msgspec.json.decode(text or "{}", type=dict[str, str])
        return tuple(sorted((_line(name), _line(value)) for name, value in found.items()))
    return ()


def parse_failed_units(stdout: str) -> tuple[str, ...] | None:
    """Read what `FAILED_UNITS` printed: the names of failed units, None where systemd does not run or answer."""
    return _failed_units(_pairs(stdout))


def _failed_units(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...] | None:
    if ("systemd", "yes") not in pairs:
        return None
    return tuple(value[:_MOST_NAME] for name, value in pairs if name == "failed" and value)[:_MOST_UNITS]


def parse_generations(stdout: str) -> tuple[Generation, ...]:
    """Read what `GENERATIONS` printed, newest first. Each one that has the path that runs counts as running."""
    pairs = _pairs(stdout)
    found = dict(pairs)
    current, running = _number(found.get("current", "")), said.host_path(found.get("running", ""))
    generations = []
    for name, value in pairs:
        link, created, path, version = [*value.split(" ", 3), "", "", ""][:4]
        number = _number(link)
        if name == "generation" and number is not None and created.isdigit() and said.host_path(path):
            generations.append(
                Generation(
                    number=number,
                    path=path,
                    created=said.moment(created),
                    current=number == current,
                    running=path == running,
                    version=version,
                )
            )
    return tuple(sorted(generations, key=lambda one: -one.number))[:_MOST_GENERATIONS]


def _pairs(stdout: str) -> list[tuple[str, str]]:
    lines = (line[0].partition("=") for line in islice(_EACH_LINE.finditer(stdout), _MOST_FACTS))
    return [(name, _line(value)) for name, _, value in lines]


def _line(text: str) -> str:
    """Return one harmless line of text that came from a host, shortened where it is endless."""
    return strip_control(text).strip()[:_LONGEST]


def _kernel(found: Mapping[str, str], which: str) -> tuple[str, ...]:
    """Return kernel, initrd, modules, and a hash of the parameters; nothing for a system without, as in a container."""
    files = [said.host_path(found.get(f"{which}_{name}", "")) for name in ("kernel", "initrd", "modules")]
    return (*files, _hash(found.get(f"{which}_params", ""))) if files[0] else ()


def _revision(text: str) -> str:
    """Return `configurationRevision` of what `nixos-version --json` prints; empty where it has none."""
    with swallowed(_log, "reading what nixos-version tells", msgspec.DecodeError):
        return _line(msgspec.json.decode(text or "{}", type=_Version).configuration_revision or "")[:_MOST_NAME]
    return ""


def _hash(text: str) -> str:
    """Return the first half of the hash that `sha256sum` printed, empty where it did not."""
    return text[:_HASH_LENGTH] if _HASH.fullmatch(text[:_HASH_LENGTH]) else ""


def _number(link: str) -> int | None:
    """Return the number in the name of a generation's link."""
    named = _GENERATION.fullmatch(link)
    return said.whole(named[1]) if named else None


def _bytes(kilobytes: str) -> int | None:
    found = said.whole(kilobytes)
    return None if found is None else said.clamped(found * 1024)


def _seconds(text: str) -> float | None:
    return said.seconds(text.partition(" ")[0])
