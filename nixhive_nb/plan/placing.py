"""Where each system is built for a push or a deploy: here, on the instance, on its relay, or at a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import store_host
from nixhive_nb.errors import OptionError
from nixhive_nb.plan.places import cannot_build, doubts
from nixhive_nb.plan.routes import ALL, login_locks
from nixhive_nb.plan.step import Step, step_id
from nixhive_nb.util.text import count_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Options, Plan, Survey, Target

_UNSIGNED = (
    "{where} builds for {count}, and the deployment has no signing.keyFile to sign what is built there. Unless Nix "
    "there signs it itself (secret-key-files in its nix.conf), they do not take it from their relay, and it goes to "
    "them through this machine."
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


def asking_steps(inventory: Inventory, targets: Iterable[Target], places: Mapping[str, str]) -> list[Step]:
    """Return the steps of a survey that ask each place whether it can build, each once, for what it is to build."""
    systems: dict[str, dict[str, None]] = {}
    for one in targets:
        if one.instance in places:
            systems.setdefault(places[one.instance], {})[one.system] = None
    return [
        Step(
            id=step_id("probe", store),
            kind="probe",
            systems=tuple(names),
            store=store,
            locks=_locks(inventory, store),
        )
        for store, names in systems.items()
    ]


def measuring_steps(asking: Iterable[Step], evaluations: Iterable[Step]) -> list[Step]:
    """Return the steps of a survey that find out what places lack of what builds each system."""
    groups = {system: step.id for step in evaluations for system in step.systems}
    return [
        msgspec.structs.replace(
            ask,
            id=step_id("missing", system, ask.store),
            kind="missing",
            systems=(system,),
            needs=(ask.id, *([groups[system]] if system in groups else [])),
        )
        for ask in asking
        for system in ask.systems
    ]


def builds_elsewhere(
    inventory: Inventory, targets: Iterable[Target], places: Mapping[str, str], by_itself: Collection[str]
) -> list[Step]:
    """Return the steps that have a system built at each of its places: send what builds it, build it, and sign it.

    With a key of the deployment it is signed there, where others take it from: the key stays here.
    """
    feeds: dict[tuple[str, str], bool] = {}
    for one in targets:
        if store := places.get(one.instance, ""):
            pair = (one.system, store)
            feeds[pair] = feeds.get(pair, False) or one.instance not in by_itself
    steps = []
    for (system, store), others in feeds.items():
        locks = _locks(inventory, store)
        send = Step(
            id=step_id("send", system, store),
            kind="send",
            systems=(system,),
            store=store,
            needs=(step_id("register", system),),
            # Two copies to one store at once would both send the paths that they share.
            locks=(*locks, f"store:ssh://{store_host(store)}"),
        )
        build = msgspec.structs.replace(
            send,
            id=step_id("build", system, store),
            kind="build",
            needs=(send.id,),
            # Copies to it go on meanwhile.
            locks=(*locks, f"build:ssh://{store_host(store)}"),
        )
        steps += [send, build]
        if others and inventory.signing_key:
            steps.append(
                msgspec.structs.replace(
                    build, id=step_id("sign", system, store), kind="sign", needs=(build.id,), locks=locks
                )
            )
    return steps


def self_builders(inventory: Inventory, targets: Iterable[Target], options: Options) -> set[str]:
    """Return the instances that build their systems, or have: nothing has to be brought to their relays."""
    words = {one.instance: _word(inventory, one.system, options) for one in targets}
    stores = {one.instance: store_host(one.store) for one in targets}
    return {
        name
        for name, word in words.items()
        if word == "instance"
        or ("://" in word and store_host(word) == name)
        or (word == "relay" and stores[name] == name)
    }


def built_before(step: Step, place: str, builds: Iterable[Step]) -> Step:
    """Return a step that needs what is built, and signed, at a place; unchanged for what is built here."""
    if not place:
        return step
    needed = (one.id for one in builds if one.kind != "send" and (one.system, one.store) == (step.system, place))
    return msgspec.structs.replace(step, needs=(*step.needs, *needed))


def built_at(plan: Plan) -> dict[str, str]:
    """Return the store that builds the system of each instance; those whose system is built here are not in it."""
    places = {step.id: step.store for step in plan.steps if step.kind == "build" and step.store}
    if not places:
        return {}
    return {
        step.instance: store
        for step in plan.steps
        if step.kind == "fetch" and (store := next((places[name] for name in step.needs if name in places), ""))
    }


def refused_places(plan: Plan | Survey, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return why a place cannot build a system, for those of the pairs (system, store) of which that is known."""
    places = {one.store: one for one in plan.places}
    wanted = {one.system: one for one in plan.wanted}
    measured = {(one.system, one.store): one.refusal for one in plan.sendings}
    found = {}
    for system, store in pairs:
        needs = wanted[system].needs if system in wanted else ()
        why = cannot_build(places[store], system, needs) if store in places else ""
        if why := why or measured.get((system, store), ""):
            found[system, store] = why
    return found


def placing_warnings(
    inventory: Inventory,
    targets: Sequence[Target],
    places: Mapping[str, str],
    by_itself: Collection[str],
    survey: Survey | None,
) -> Iterator[str]:
    """Yield what a plan that builds elsewhere has to tell: which places cannot build, and what is not signed."""
    pairs = dict.fromkeys((one.system, places[one.instance]) for one in targets if one.instance in places)
    refused = refused_places(survey, pairs) if survey else {}
    yield from dict.fromkeys(refused.values())
    asked = {one.store: one for one in survey.places} if survey else {}
    needs = {one.system: one.needs for one in survey.wanted} if survey else {}
    for system, store in pairs:
        if store in asked and (system, store) not in refused:
            yield from doubts(asked[store], system, needs.get(system, ()))
    if inventory.signing_key:
        return
    through = [one for one in targets if places.get(one.instance) and one.store and one.instance not in by_itself]
    for place in dict.fromkeys(places[one.instance] for one in through):
        count = sum(places[one.instance] == place for one in through)
        yield _UNSIGNED.format(where=place, count=count_text(count, "instance"))


def _word(inventory: Inventory, system: str, options: Options) -> str:
    return options.build_on or inventory.systems[system].build or "here"


def _locks(inventory: Inventory, store: str) -> tuple[str, ...]:
    """Return the limits that a login on the host of a store counts against."""
    instance = inventory.instances.get(store_host(store))
    return login_locks(instance) if instance is not None else (ALL,)
