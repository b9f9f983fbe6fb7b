"""Where each system is built for a push or a deploy: here, on the instance, on its relay, or at a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.routes import ALL
from nixhive_nb.plan.step import Step, step_id
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Options, Target

_UNSIGNED = (
    "{where} builds for {count}, and the key of this machine cannot sign what is there: have Nix there sign what it "
    "builds (secret-key-files in its nix.conf, with the public key in trusted-public-keys of the instances). What they "
    "do not take from their relay goes to them through this machine."
)


def is_elsewhere(inventory: Inventory, system: str, options: Options) -> bool:
    """Return whether a system is built on another machine."""
    return _word(inventory, system, options) != "here"


def places_of(
    inventory: Inventory, targets: Iterable[Target], options: Options, known: Mapping[str, str]
) -> dict[str, str]:
    """Return the store that builds for each of the instances whose system is not built here.

    What is known is built nowhere. Raises `OptionError` for an instance that has no relay to build on.
    """
    found = {}
    for target in targets:
        word = _word(inventory, target.system, options)
        if word == "here" or known.get(target.system):
            continue
        if word == "relay" and not store_host(target.store):
            raise OptionError(
                f"System {target.system} is to be built on the relay of {target.instance}, which has "
                f"{target.store or 'none'}: give it a `store` that is reached by ssh, or say --build-on here."
            )
        found[target.instance] = {"instance": f"ssh://{target.instance}", "relay": target.store}.get(word, word)
    return found


def builds_elsewhere(targets: Iterable[Target], places: Mapping[str, str]) -> list[Step]:
    """Return a step for each system and each store that builds it, once its derivation is known."""
    pairs = dict.fromkeys((one.system, places[one.instance]) for one in targets if one.instance in places)
    return [
        Step(
            id=step_id("build", system, store),
            kind="build",
            systems=(system,),
            store=store,
            needs=(step_id("register", system),),
            locks=(ALL, f"store:ssh://{store_host(store)}"),
        )
        for system, store in pairs
    ]


def self_builders(inventory: Inventory, targets: Iterable[Target], options: Options) -> set[str]:
    """Return the instances that build their systems, or have: nothing has to be brought to their relays."""
    words = {one.instance: _word(inventory, one.system, options) for one in targets}
    return {name for name, word in words.items() if word == "instance" or ("://" in word and store_host(word) == name)}


def built_before(step: Step, place: str) -> Step:
    """Return a step that needs what is built at a place; unchanged for what is built here."""
    if not place:
        return step
    return msgspec.structs.replace(step, needs=(*step.needs, step_id("build", step.system, place)))


def placing_warnings(targets: Sequence[Target], places: Mapping[str, str], by_itself: Collection[str]) -> Iterator[str]:
    """Yield what a plan that builds elsewhere costs: what the other machine does not sign is not taken from a relay."""
    through = [one for one in targets if places.get(one.instance) and one.store and one.instance not in by_itself]
    for place in dict.fromkeys(places[one.instance] for one in through):
        count = sum(places[one.instance] == place for one in through)
        yield _UNSIGNED.format(where=place, count=count_text(count, "instance"))


def _word(inventory: Inventory, system: str, options: Options) -> str:
    return options.build_on or inventory.systems[system].build or "here"
