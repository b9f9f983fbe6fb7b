"""What is amiss with an instance, by what was found out of it: values in, values out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.sources.flakes import nix_string
from nixhive_nb.plan import advice
from nixhive_nb.plan.examined import KINDS, Diagnosis, Shortcoming
from nixhive_nb.util.text import seconds_text, size_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.plan.examined import HostExamined, ThisMachine
    from nixhive_nb.plan.facts import Wanted

CLOCK_SECONDS = 30.0
"""A clock that is off by more is told of: certificates and the times in logs are wrong with it."""
_OLDEST_NIX = (2, 8)
_NUMBERS = re.compile(r"(\d+)\.(\d+)")
_STARTED_OTHER = 65
_LOUD = re.compile(r"^(?:(?:\S*/)?(?:sudo|doas|run0)(?:-rs)?|timeout: failed to run command \S+): ")
"""Who said it, which is told already."""


def judged(found: Diagnosis, here: ThisMachine, wanted: Wanted | None, platform: str) -> Diagnosis:
    """Return a diagnosis with what follows from it: why pushes are taken, and what is amiss.

    `platform` is that of its system.
    """
    host = found.host
    if host is not None:
        found = msgspec.structs.replace(
            found,
            trust=trust_in(host, here.public_key),
            is_signed=takes_signed(host, here.public_key),
            is_allowed=_is_allowed(host) if found.relay else None,
        )
    each = [*_of_deployment(found, here, wanted, platform), *(_of_host(found, host, here, platform) if host else ())]
    told = dict.fromkeys(one for one in each)
    return msgspec.structs.replace(found, shortcomings=tuple(sorted(told, key=lambda one: KINDS.index(one.kind))))


def _is_allowed(host: HostExamined) -> bool | None:
    if host.takes_from:
        return True
    return None if host.settings is None or host.takes_other else False


def takes_signed(host: HostExamined, public_key: str) -> bool | None:
    """Return whether a host takes what a key has signed; None where there is no key, or that is not known."""
    keys = (host.settings or {}).get("trusted-public-keys")
    return None if keys is None or not public_key else public_key in keys.split()


def trust_in(host: HostExamined, public_key: str) -> str:
    """Return why a host takes what is pushed there: see `Diagnosis.trust`; empty where that is not known."""
    if not host.nix:
        return ""
    if host.facts.root:
        return "root"
    settings = host.settings or {}
    users = settings.get("trusted-users")
    if users is None:
        return ""
    if {"*", *host.names} & {*users.split()}:
        return "trusted user"
    if settings.get("require-sigs") == "false":
        return "unsigned"
    signed = takes_signed(host, public_key)
    return "signature" if signed else "nothing" if signed is False or not public_key else ""


def _of_deployment(found: Diagnosis, here: ThisMachine, wanted: Wanted | None, platform: str) -> Iterator[Shortcoming]:
    """Yield what is amiss whatever the host says."""
    if found.error:
        lines = advice.to_reach(found.instance, found.system, found.way, found.error)
        yield Shortcoming(kind="reach", text=_whole(found.error), lines=lines)
    if wanted is not None and wanted.error:
        yield Shortcoming(kind="system", text=f"System {found.system} cannot be evaluated: {_whole(wanted.error)}")
    if here.key_problem:
        yield Shortcoming(kind="trust", text=here.key_problem, lines=advice.new_signing_key(found.system))
    if platform and not found.builds:
        own = ", ".join(here.platforms)
        builder = f'nix.build.flags = [ "--builders" "ssh://BUILDER {platform}" ];'
        yield Shortcoming(
            kind="build",
            text=f"Nobody builds system {found.system}: it is for {platform}, and this machine builds {own}.",
            lines=(
                *advice.in_deployment(builder),
                "# or, where the host can build it itself: in the deployment",
                advice.of("systems", found.system, "build", '"instance"'),
            ),
        )


def _of_host(found: Diagnosis, host: HostExamined, here: ThisMachine, platform: str) -> Iterator[Shortcoming]:
    yield from _of_nix(found, host)
    yield from _of_root(found, host)
    yield from _of_trust(found, here)
    yield from _of_relay(found, host, here)
    yield from _of_room(found, host)
    yield from _of_machine(found, host, platform)


def _of_nix(found: Diagnosis, host: HostExamined) -> Iterator[Shortcoming]:
    system = found.system
    if not host.nix:
        yield Shortcoming(
            kind="nix",
            text=f"The login of user {found.way.user} finds no Nix: nix-store is not on its PATH.",
            lines=advice.in_system(system, "nix.enable = true;"),
        )
        return
    numbers = _NUMBERS.match(host.nix)
    if numbers and (int(numbers[1]), int(numbers[2])) < _OLDEST_NIX:
        yield Shortcoming(
            kind="nix",
            text=f"Its Nix is {host.nix}; {'.'.join(map(str, _OLDEST_NIX))} or newer is needed.",
            lines=advice.in_system(system, "nix.package = pkgs.nixVersions.stable;"),
        )


def _of_root(found: Diagnosis, host: HostExamined) -> Iterator[Shortcoming]:
    if host.facts.root or host.power == 0:
        return
    user, said = found.way.user, _LOUD.sub("", host.power_said)
    words = " ".join(found.elevate).removesuffix(" --")
    if not found.elevate:
        text = f'User {user} is not root, and `elevate` is "none".'
    elif host.power == _STARTED_OTHER:
        text = f"User {user} does not become root: `{words}` starts programs, and not as root."
    else:
        text = f"User {user} does not become root by `{words}`: {said or 'it said nothing'}."
    lines = advice.to_root(found.instance, found.system, user, found.elevate, said)
    yield Shortcoming(kind="root", text=text, lines=lines)


def _of_trust(found: Diagnosis, here: ThisMachine) -> Iterator[Shortcoming]:
    if found.trust != "nothing" or here.key_problem:
        return
    user = found.way.user
    if not here.public_key:
        yield Shortcoming(
            kind="trust",
            text=f"What is pushed there is refused: Nix there does not trust user {user}, and nothing is signed.",
            lines=advice.new_signing_key(found.system),
        )
        return
    yield Shortcoming(
        kind="trust",
        text=f"What is pushed there is refused: Nix there trusts neither user {user} nor our signing key.",
        lines=advice.trusted_key(found.system, here.public_key),
    )


def _of_relay(found: Diagnosis, host: HostExamined, here: ThisMachine) -> Iterator[Shortcoming]:
    if not found.relay:
        return
    if host.relay is not None and not host.relay.is_reached:
        yield Shortcoming(
            kind="relay",
            text=f"It does not reach its relay {found.relay}: {_whole(host.relay.said)}",
            lines=advice.to_relay(found.system, found.relay, host.relay.said),
        )
    if found.is_allowed is False:
        line = f"nix.settings.substituters = [ {nix_string(found.relay)} ];"
        yield Shortcoming(
            kind="relay",
            text=f"It takes nothing from its relay: {found.relay} is not among the substituters of its Nix.",
            lines=advice.in_system(found.system, line),
        )
    requires = (host.settings or {}).get("require-sigs", "true") == "true"
    if not requires or found.trust == "nothing" or here.key_problem:
        return  # told already, where it is amiss
    if host.settings is not None and not here.public_key:
        yield Shortcoming(
            kind="relay",
            text=f"It takes nothing from its relay {found.relay} that is not signed, and nothing is.",
            lines=advice.new_signing_key(found.system),
        )
    elif found.is_signed is False:
        yield Shortcoming(
            kind="relay",
            text=f"It takes nothing from its relay {found.relay}: it does not trust our signing key.",
            lines=advice.trusted_key(found.system, here.public_key),
        )


def _of_room(found: Diagnosis, host: HostExamined) -> Iterator[Shortcoming]:
    free, lacks = host.facts.free, host.lacks
    if free is not None and lacks is not None and lacks > free:
        text = f"Its store has {size_text(free)} free, and the system needs {size_text(lacks)} more."
        yield Shortcoming(
            kind="store",
            text=text,
            lines=(
                *advice.in_shell(f"nix-hive run --sudo {found.instance} 'nix-collect-garbage --delete-older-than 14d'"),
                *advice.in_system(found.system, 'nix.gc = { automatic = true; options = "--delete-older-than 14d"; };'),
            ),
        )
    needs = found.boot_needs
    if host.boot_free is not None and needs is not None and needs > host.boot_free:
        limit = "configurationLimit = 5;"
        yield Shortcoming(
            kind="boot",
            text=f"{host.boot} has {size_text(host.boot_free)} free, and kernel and initrd need {size_text(needs)}.",
            lines=advice.in_system(
                found.system, f"boot.loader.systemd-boot.{limit}", f"boot.loader.grub.{limit} # whichever it has"
            ),
        )


def _of_machine(found: Diagnosis, host: HostExamined, platform: str) -> Iterator[Shortcoming]:
    offset = host.clock.offset if host.clock else 0.0
    if abs(offset) > CLOCK_SECONDS:
        way = "ahead of" if offset > 0 else "behind"
        yield Shortcoming(
            kind="clock",
            text=f"Its clock is {seconds_text(abs(offset))} {way} this machine's.",
            lines=advice.in_system(found.system, "services.timesyncd.enable = true;"),
        )
    if not host.facts.can_run(platform):
        runs = host.facts.runs
        yield Shortcoming(
            kind="platform",
            text=f"System {found.system} is for {platform}, and its kernel runs {', '.join(runs)}.",
            lines=advice.in_deployment(advice.of("systems", found.system, "system", nix_string(runs[0]))),
        )
    if host.facts.failed_units is None:
        yield Shortcoming(
            kind="systemd",
            text="systemd does not run there: an activation has no unit of its own, and no unit is started.",
            lines=(
                "# NixOS boots with systemd as its first process; so does a container, if it is started to do so:",
                "systemd-nspawn --boot --directory=ROOT",
            ),
        )


def _whole(text: str) -> str:
    return text if text.endswith((".", "!", "?", '"')) else f"{text}."
