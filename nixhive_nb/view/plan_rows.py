"""A plan as rows: what will happen to each instance (of a build: to each system), as far as that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from nixhive_nb.plan.facts import Wanted
from nixhive_nb.plan.placing import built_at, refused_places
from nixhive_nb.util.collecting import collected_seldom

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixhive_nb.plan.facts import HostFacts, Seen
    from nixhive_nb.plan.plan import Options, Plan, Target
    from nixhive_nb.plan.step import Step

Fate = Literal["act", "nothing", "unreachable", "broken", "refused"]
"""act: something is done · nothing: it is as wanted · unreachable: it did not answer · broken: no system for it ·
refused: the place where that is to be built cannot build it."""
FATES: tuple[Fate, ...] = get_args(Fate)

_ACTIVATE = {
    "switch": "activate",
    "boot": "activate at the next boot",
    "test": "activate until the next boot",
    "dry-activate": "show what activation would do",
}
_SWITCHES = ("switch", "test")
_IS_SO = {
    "switch": "it runs and boots this system",
    "boot": "it boots this system",
    "test": "it runs this system",
}
BROKEN = "cannot be evaluated"


class InstanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan does on one instance. Paths are empty and numbers None where that is not known."""

    instance: str
    system: str
    wave: int
    batch: int
    store: str
    """URL of the store that it fetches from; empty: this machine sends."""
    current: str
    """The path that runs."""
    wanted: str
    """The path that will run."""
    fate: Fate
    action: str
    moves: int | None
    """Content that it lacks, in bytes."""
    reboot: bool | None
    """Whether the wanted system needs a reboot."""
    generation: int | None
    """Number of the profile's generation, before."""
    built_on: str = ""
    """The store that builds its system; empty for this machine."""
    to_send: int | None = None
    """What that store lacks of what builds it, in bytes."""


class SystemRow(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan does with one system. Paths are empty where they are not known."""

    system: str
    fate: Fate
    action: str
    wanted: str
    """The store path that it evaluates to."""
    derivation: str


def system_rows(plan: Plan) -> tuple[SystemRow, ...]:
    """Return what a build plan does with each of its systems."""
    known = {step.system: step.path for step in plan.steps if _is_known(step)}
    wanted = {one.system: one for one in plan.wanted}
    verb = "build" if plan.options.realise else "instantiate"
    return tuple(_system_row(name, wanted.get(name), known.get(name, ""), verb) for name in plan.systems)


@collected_seldom()
def instance_rows(plan: Plan) -> tuple[InstanceRow, ...]:
    """Return what a plan does on each of its instances, in the order of the targets."""
    steps: dict[str, list[Step]] = {}
    for step in plan.steps:
        if step.instance:
            steps.setdefault(step.instance, []).append(step)
    wanted = {one.system: one for one in plan.wanted}
    wanted |= {step.system: Wanted(system=step.system, path=step.path) for step in plan.steps if _is_known(step)}
    seen = {one.instance: one for one in plan.seen}
    rows = tuple(
        _instance_row(
            plan,
            target,
            steps.get(target.instance, []),
            wanted.get(target.system) or Wanted(system=target.system),
            seen.get(target.instance),
        )
        for target in plan.targets
    )
    places = built_at(plan)
    return _built_elsewhere(plan, rows, places) if places else rows


def _built_elsewhere(plan: Plan, rows: tuple[InstanceRow, ...], places: Mapping[str, str]) -> tuple[InstanceRow, ...]:
    """Return the rows with where their systems are built, what is sent there, and why that cannot be."""
    pairs = [(row.system, places[row.instance]) for row in rows if row.instance in places]
    refused = refused_places(plan, pairs)
    lacks = {(one.system, one.store): one.lacks for one in plan.sendings}
    found = []
    for row in rows:
        store = places.get(row.instance, "")
        why = refused.get((row.system, store), "")
        is_refused = bool(why) and row.fate == "act"
        found.append(
            msgspec.structs.replace(
                row,
                built_on=store,
                to_send=lacks.get((row.system, store)) if not why else None,
                fate="refused" if is_refused else row.fate,
                action=why if is_refused else row.action,
            )
        )
    return tuple(found)


def _is_known(step: Step) -> bool:
    """Return whether a step takes a result that an earlier build gave."""
    return step.kind == "register" and bool(step.path)


def _system_row(name: str, wanted: Wanted | None, known: str, verb: str) -> SystemRow:
    fate: Fate = "act"
    action = verb
    if known:
        fate, action = "nothing", "nothing: as last built"
    elif wanted is not None and wanted.error:
        fate, action = "broken", f"{BROKEN}: {wanted.error}"
    return SystemRow(
        system=name,
        fate=fate,
        action=action,
        wanted=known or (wanted.path if wanted else ""),
        derivation=wanted.derivation if wanted else "",
    )


def _instance_row(plan: Plan, target: Target, steps: list[Step], wanted: Wanted, found: Seen | None) -> InstanceRow:
    facts = found.facts if found else None
    path = next((step.path for step in steps if step.kind == "activate" and step.path), wanted.path)
    fate, action = _deeds(plan, steps, path, found)
    if found is not None and facts is None and found.error:
        also = f"; {BROKEN}: {wanted.error}" if wanted.error and not path else ""
        fate, action = "unreachable", f"unreachable: {found.error}{also}"
    elif wanted.error and not path:
        fate, action = "broken", f"{BROKEN}: {wanted.error}"
    return InstanceRow(
        instance=target.instance,
        system=target.system,
        wave=target.wave,
        batch=target.batch,
        store=target.store,
        current=facts.current if facts else "",
        wanted=path if plan.verb != "reboot" else "",
        fate=fate,
        action=action,
        moves=0 if path and facts and facts.current == path else found.moves if found else None,
        reboot=_needs_reboot(plan, path, found),
        generation=facts.generation if facts else None,
    )


def _deeds(plan: Plan, steps: list[Step], path: str, found: Seen | None) -> tuple[Fate, str]:
    """Return what is done on an instance that can be worked on."""
    facts = found.facts if found else None
    if plan.verb == "survey":
        return "act", "look"
    if plan.verb == "push":
        there = found is not None and found.moves == 0
        return ("nothing", "nothing: it has this system") if there else ("act", "fetch")
    reboot = _reboot_words(plan, path, found)
    if plan.verb == "reboot":
        return ("act", reboot) if reboot else ("nothing", "nothing: it needs no reboot")
    if _is_so(plan.options, path, facts):
        return ("act", reboot) if reboot else ("nothing", f"nothing: {_IS_SO[plan.options.type]}{_as(facts)}")
    if found and found.inhibited and plan.options.type in _SWITCHES and not plan.options.force:
        return "act", _inhibited_words(plan.options, ", ".join(found.inhibited))
    generation = next((step.generation for step in steps if step.generation), 0)
    deed = f"roll back to generation {generation}" if generation else _ACTIVATE[plan.options.type]
    deeds = [deed, *_leaves(plan.options, facts), *([reboot] if reboot else [])]
    return "act", ", ".join(deeds)


def _inhibited_words(options: Options, changes: str) -> str:
    """Return the words for a host that will not switch without a reboot."""
    if options.type == "test" or options.reboot == "never":
        return f"nothing: it will refuse ({changes}: that needs a reboot)"
    return f"{_ACTIVATE['boot']} ({changes}), reboot"


def _as(facts: HostFacts | None) -> str:
    return f", as specialisation {facts.specialisation}" if facts and facts.specialisation else ""


def _leaves(options: Options, facts: HostFacts | None) -> list[str]:
    """Return the words for a running specialisation: what is activated is always the system itself."""
    if facts is None or not facts.specialisation or options.type not in ("switch", "test"):
        return []
    return [f"leave specialisation {facts.specialisation}"]


def _is_so(options: Options, path: str, facts: HostFacts | None) -> bool:
    """Return whether an activation would change nothing on a host."""
    if facts is None or not path or options.force or options.type == "dry-activate":
        return False
    runs = facts.runs_well(path) or options.type == "boot"
    boots = facts.does_boot(path) or options.type == "test"
    return runs and boots


def _reboot_words(plan: Plan, path: str, found: Seen | None) -> str:
    """Return "reboot" where the plan reboots, "reboot if needed" where that shows only then, else nothing."""
    if plan.options.reboot == "always" or (plan.verb == "reboot" and plan.options.reboot == "never"):
        return "reboot"
    if plan.options.reboot == "never":
        return ""
    needed = _needs_reboot(plan, path, found)
    return "reboot if needed" if needed is None else "reboot" if needed else ""


def _needs_reboot(plan: Plan, path: str, found: Seen | None) -> bool | None:
    facts = found.facts if found else None
    if found is None or plan.verb == "reboot":
        return facts.reboot_needed if facts else None
    waits = plan.options.type == "boot" and plan.verb in ("deploy", "rollback")
    return True if found.inhibited or (waits and facts and path and not facts.does_run(path)) else found.reboot
