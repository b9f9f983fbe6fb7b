"""What a place that builds says of itself, what a system asks of one, and whether both fit. Sizes are bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.util.said import Moment, Whole
from nixhive_nb.util.text import size_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

LEAST_ROOM = 32 * 1024**2
"""With less free space on `/nix` nothing is built: each build has a folder there, or beside it."""
BUILTIN = "builtin"
"""The platform of what Nix does itself, such as a download."""
_ELSEWHERE = "Build elsewhere: --build-on"
_NAMED = 3


class BuildNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What derivations ask of the machine that builds them."""

    platform: str
    features: tuple[str, ...] = ()
    derivation: str = ""
    """One of them; the first need of a system is that of the system itself."""


class BuildPlace(msgspec.Struct, frozen=True, kw_only=True):
    """A store that builds, as its host was when it was asked."""

    store: str
    """Its name in the plan."""
    asked: Moment = 0.0
    """When it was asked, in seconds since the epoch."""
    error: str = ""
    """Why it cannot build anything, in a line with what to do; empty where it can."""
    platforms: tuple[str, ...] = ()
    """Those that its Nix builds; empty where that is not known."""
    features: tuple[str, ...] = ()
    """Its system features, such as `kvm`."""
    delegates: bool = False
    """Whether its Nix has builders of its own, which may have other platforms and features."""
    trusted: bool = False
    """Whether its Nix takes paths that nobody has signed from the login."""
    keys: tuple[str, ...] = ()
    """Names of the keys whose signatures it takes."""
    free: Whole | None = None
    """Free space on `/nix`; None where that is not known."""


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be sent to a place, so that it can build a system."""

    system: str
    store: str
    lacks: Whole
    """Content of what builds it (derivations and their sources) that is not there."""
    refusal: str = ""
    """Why the place does not take it, with what to do."""


def cannot_build(place: BuildPlace, system: str, needs: Sequence[BuildNeed]) -> str:
    """Return why a place cannot build a system, with what to do; empty where it can, or where that is not known."""
    if place.error:
        return f"{place.store} cannot build {system}: {place.error}"
    own = needs[0] if needs else None
    if own is not None and (lacks := _lacks(place, own)):
        return f"{place.store} cannot build {system}: {lacks}. {_advice(own, place)}"
    if place.free is not None and place.free < LEAST_ROOM:
        return (
            f"{place.store} cannot build {system}: it has {size_text(place.free)} free on /nix. Make room there "
            f"(nix-collect-garbage). {_ELSEWHERE}"
        )
    return ""


def no_room(place: BuildPlace, system: str, lacks: int) -> str:
    """Return why what builds a system does not fit on a place, with what to do; empty where it does."""
    if place.free is None or place.free >= lacks:
        return ""
    return (
        f"{place.store} cannot build {system}: what builds it has {size_text(lacks)} that is not there, and "
        f"{size_text(place.free)} are free on /nix. Make room there (nix-collect-garbage). {_ELSEWHERE}"
    )


def ran_out_of_room(free: int | None) -> str:
    """Return what is told, with what to do, of a place on which something broke off for want of room.

    `free` is what is free there since, when what was half done is gone; None where that is not known.
    """
    now = "" if free is None else f": {size_text(free)} are free on /nix now that it has ended"
    return f"No room was left there{now}. Make room there (nix-collect-garbage). {_ELSEWHERE}"


def not_taken(place: BuildPlace, system: str, unsigned: Collection[str]) -> str:
    """Return why a place does not take what builds a system; empty where it does.

    `unsigned` are the paths of it that are not there, and that neither their content nor a key there vouches for.
    """
    if place.trusted or not unsigned:
        return ""
    more = f" and {len(unsigned) - _NAMED} more" if len(unsigned) > _NAMED else ""
    return (
        f"{place.store} does not take what builds {system}: {', '.join(sorted(unsigned)[:_NAMED])}{more} was built and "
        "is not signed by a key that it trusts, and its Nix does not trust the login. Name the login in trusted-users "
        f"there, or sign what is sent (signing.keyFile). {_ELSEWHERE}"
    )


def doubts(place: BuildPlace, system: str, needs: Sequence[BuildNeed]) -> Iterator[str]:
    """Yield what a place may not be able to build of a system, unless it gets that from its caches."""
    for need in needs[1:]:
        if not place.error and (lacks := _lacks(place, need)):
            yield (
                f"{place.store} may fail to build {need.derivation} of {system}: {lacks}. It has to get that from a "
                f"cache. {_advice(need, place)}"
            )


def _lacks(place: BuildPlace, need: BuildNeed) -> str:
    """Return in words what a place lacks to build a derivation itself."""
    if place.delegates or not place.platforms or need.platform == BUILTIN:
        return ""
    if need.platform not in place.platforms:
        return f"it is for {need.platform}, and its Nix builds {', '.join(place.platforms)}"
    missing = [one for one in need.features if one not in place.features]
    return f"its Nix has not the feature {', '.join(missing)}" if missing else ""


def _advice(need: BuildNeed, place: BuildPlace) -> str:
    if need.platform in place.platforms:
        return f"Say it in system-features of its nix.conf, if it has it. {_ELSEWHERE}"
    return f"{_ELSEWHERE}"
