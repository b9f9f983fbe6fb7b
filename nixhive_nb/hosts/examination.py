"""Examining a host: in one round trip what it says of itself, of its Nix, its way to root, its relay and its room."""

from __future__ import annotations

import functools
import re
import shlex
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.hosts.command import own_script
from nixhive_nb.hosts.facts import DEFINED, TOLD, parse_facts
from nixhive_nb.plan.examined import ClockSpan, HostExamined, RelayTried
from nixhive_nb.util import said
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.ssh.link import HostLink

SECONDS = 75
"""How long a host may take: longer than sudo, its relay and its store take together to give up."""
_CLOCK, _LAST = "clock=", "examined="
_MOST = 400
_MOST_LINES = 20_000
_LONG = 4_000
"""Characters of a setting: a list of keys may be long."""
_VERSION = re.compile(r"[0-9][0-9A-Za-z._+-]{0,40}")
_DF = re.compile(r"\s\d+\s+\d+\s+(\d+)\s+(?:\d+%|-)\s", re.ASCII)


class ToExamine(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is examined for."""

    elevate: tuple[str, ...] = ()
    """The words that have root run a program; none where nothing does."""
    relay: str = ""
    """The URL of the store that it fetches from, which has no secret; empty for none."""
    relay_hosts: tuple[str, ...] = ()
    """The names of that store's host."""
    sizes: Mapping[str, int] | None = None
    """The closure of the wanted system, with the bytes of each path; None where it is not known."""


@functools.cache
def _script() -> str:
    return own_script("hosts/examine.sh")


def words(asked: ToExamine) -> str:
    """Return the shell words that print what `parse` reads. They change nothing."""
    variables = {
        "hive_elevate": shlex.join(asked.elevate),
        "hive_relay": asked.relay,
        "hive_hosts": " ".join(asked.relay_hosts),
        "hive_paths": "\n".join(asked.sizes or ()),
    }
    given = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    # A shell that has no nanoseconds prints them as they are written.
    clock = 'say clock "$(date +%s.%N)"'
    return f"LC_ALL=C; export LC_ALL; {DEFINED}{clock}; {TOLD}\n{given}{_script()}"


async def examine(link: HostLink, asked: ToExamine) -> HostExamined:
    """Examine a host. Raises `ConnectionFailed`, `LinkLost` or `NoAnswer`."""
    heard: dict[str, float] = {}

    def on_line(line: str) -> None:
        if line.startswith((_CLOCK, _LAST)):
            heard.setdefault(line.partition("=")[0], time.time())

    ended = await link.run(words(asked), seconds=SECONDS, on_line=on_line)
    # The login comes before it, and is no part of the round trip. Here it may be later by the time that others take.
    now = time.time()
    sent = heard.get(_LAST.rstrip("="), now) - ended.seconds
    # Of an answer that was cut, not all that it lacks is there.
    return parse(
        ended.stdout, {} if ended.is_cut else asked.sizes or {}, sent=sent, heard=heard.get(_CLOCK.rstrip("="), now)
    )


def parse(stdout: str, sizes: Mapping[str, int], *, sent: float, heard: float) -> HostExamined:
    """Read what `words` printed; `sent` and `heard` are when they were sent, and when the host's time came.

    What is missing or makes no sense is left unknown.
    """
    pairs = [
        (name, strip_control(value).strip()[:_LONG])
        for name, mark, value in (line.partition("=") for line in stdout.splitlines()[:_MOST_LINES])
        if mark
    ]
    found = dict(pairs)
    facts = parse_facts(stdout)
    settings = dict(_setting(value) for name, value in pairs if name == "setting")
    boot = _DF.search(f"{found.get('boot_df', '')} ")
    return HostExamined(
        facts=facts,
        clock=_clock(found.get("clock", ""), sent, heard),
        nix=found["nix"] if _VERSION.fullmatch(found.get("nix", "")) else "",
        settings=settings or None,
        names=tuple(found.get("names", "").split()[:100]),
        power=said.whole(found.get("power", "")),
        power_said=found.get("power_said", "")[:_MOST],
        relay=_relay(found, [value for name, value in pairs if name == "relay_said"]),
        takes_from=found.get("relay_allowed", "")[:_MOST],
        takes_other=found.get("relay_other", "")[:_MOST] if "relay_allowed" not in found else "",
        boot=found.get("boot", "")[:_MOST],
        boot_free=_bytes(boot[1]) if boot else None,
        lacks=_bytes_of([value for name, value in pairs if name == "lacks"], sizes) if sizes else None,
    )


def _setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition(" ")
    return name, value.strip()


def _clock(text: str, sent: float, heard: float) -> ClockSpan | None:
    seconds, _, rest = text.partition(".")
    whole = said.moment(seconds)
    if whole is None:
        return None
    exact = said.moment(text) if rest.isdigit() else None
    return ClockSpan(said=exact or whole, grain=0.0 if exact else 1.0, asked=min(sent, heard), heard=heard)


def _relay(found: Mapping[str, str], told: Sequence[str]) -> RelayTried | None:
    status = said.whole(found.get("relay", ""))
    if status is None:
        return None
    # ssh says why, and Nix only that it did not come about.
    why = [line for line in told if line and not line.startswith(("error:", "warning:", "Store URL", "Version"))]
    text = (why or [line for line in told if line] or ["it said nothing"])[-1]
    return RelayTried(is_reached=status == 0, said="" if status == 0 else said.one_line(text, _MOST))


def _bytes_of(paths: Sequence[str], sizes: Mapping[str, int]) -> int:
    return sum(sizes.get(path, 0) for path in dict.fromkeys(paths))


def _bytes(kilobytes: str) -> int | None:
    number = said.whole(kilobytes)
    return None if number is None else said.clamped(number * 1024)
