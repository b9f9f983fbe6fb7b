"""Waves: which instances are touched together, what must hold before the next ones are, and who goes first.

A wave is what one pattern hit. A canary and batches cut it into parts. After each part stands a gate, a step that does
no work: what comes later needs it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.plan.building import host_step
from nixhive_nb.plan.option_kinds import Share
from nixhive_nb.plan.plan import Target
from nixhive_nb.plan.routes import relies_on
from nixhive_nb.plan.step import Step, step_id
from nixhive_nb.util.order import natural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.plan.plan import Options

_WHOLE = 100


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that are touched together, in the order in which they would be one by one."""

    name: str
    """`2`, or where the wave is cut, `2.1`."""
    wave: int
    targets: tuple[Target, ...]
    strict: bool = False
    """A canary: if one of them is not as it is wanted, nothing follows."""
    relied: Mapping[str, tuple[str, ...]] = {}
    """Those of the same part that each of them relies on."""

    @property
    def gate(self) -> str:
        """The id of the step that ends it."""
        return step_id("gate", self.name)


def allowed_failures(text: str, targets: int) -> int | None:
    """Return `--max-failures N|P%` as a number of instances, a share rounded down; None where there is no limit."""
    if not text:
        return None
    number, share = _amount("--max-failures", text, least=0)
    return targets * number // _WHOLE if share else number


def cut(inventory: Inventory, targets: Sequence[Target], options: Options, *, reads: bool = True) -> tuple[Part, ...]:
    """Return the parts in the order in which they are touched. `targets` stand in the order of their waves.

    Hosts that others of their wave jump through (with `reads` also: read from) come first. Raises `OptionError`.
    """
    return tuple(
        part
        for number, members in groupby(targets, key=lambda target: target.wave)
        for part in _cut_wave(inventory, number, tuple(members), options, reads=reads)
    )


def numbered(targets: Sequence[Target], parts: Sequence[Part]) -> tuple[Target, ...]:
    """Return the targets in their own order, each with the number of its batch."""
    found = {target.instance: target for part in parts for target in part.targets}
    return tuple(found[target.instance] for target in targets)


def gated(
    inventory: Inventory, parts: Sequence[Part], options: Options, own: Mapping[str, tuple[Step, ...]]
) -> list[Step]:
    """Return the steps of each part with the gates between them.

    `own` has the steps of each instance, each of which needs the one before it; they are held back until the gate
    ahead is open, and those that the instance relies on are through.
    """
    steps: list[Step] = []
    gate: tuple[str, ...] = ()
    for number, part in enumerate(parts, start=1):
        is_followed = number < len(parts)
        last = {target.instance: own[target.instance][-1].id for target in part.targets}
        for target in part.targets:
            first, *rest = own[target.instance]
            leaders = tuple(last[name] for name in part.relied.get(target.instance, ()))
            if gate or leaders:
                first = msgspec.structs.replace(first, needs=first.needs + gate, after=first.after + leaders)
            steps += (first, *rest)
        checks = _check_steps(inventory, part, options, last) if is_followed else []
        steps += checks
        ends = (*last.values(), *(step.id for step in checks))
        steps.append(Step(id=part.gate, kind="gate", wave=part.wave, strict=part.strict, needs=gate[:1], after=ends))
        gate = (part.gate,)
        if options.pause and is_followed:
            pause = Step(
                id=step_id("pause", part.name), kind="pause", wave=part.wave, seconds=options.pause, needs=(part.gate,)
            )
            steps.append(pause)
            gate = (part.gate, pause.id)
    return steps


def _check_steps(inventory: Inventory, part: Part, options: Options, last: Mapping[str, str]) -> list[Step]:
    """Return the steps that look once more at a part when all of it is through."""
    checked = [target for target in part.targets if inventory.instances[target.instance].checks]
    runs_it = options.type in ("switch", "test") or (options.type == "boot" and options.reboot != "never")
    if not checked or not options.checks or not runs_it:
        return []
    # One step that waits for all, so that there is not an edge from each to each.
    settled = Step(
        id=step_id("gate", f"{part.name} before its checks"), kind="gate", wave=part.wave, after=tuple(last.values())
    )
    return [
        settled,
        *(
            msgspec.structs.replace(
                host_step(inventory, target, "check"), needs=(last[target.instance],), after=(settled.id,)
            )
            for target in checked
        ),
    ]


def _cut_wave(
    inventory: Inventory, number: int, members: Sequence[Target], options: Options, *, reads: bool
) -> list[Part]:
    names = {target.instance for target in members}
    relied = {name: relies_on(inventory.instances[name], reads=reads) & names for name in names}
    ordered = _leaders_first(members, relied)
    size = _batch_size(options.batch, len(ordered))
    canaries, rest = ordered[: options.canary], ordered[options.canary :]
    batches = [canaries] if canaries else []
    batches += [rest[start : start + size] for start in range(0, len(rest), size)]
    parts = []
    for batch, group in enumerate(batches, start=1):
        inside = {target.instance for target in group}
        parts.append(
            Part(
                name=f"{number}.{batch}" if len(batches) > 1 else f"{number}",
                wave=number,
                targets=tuple(_in_batch(target, batch) for target in group),
                strict=bool(canaries) and batch == 1,
                # Those of an earlier part are waited for by the gate.
                relied={name: tuple(sorted(found)) for name in inside if (found := relied[name] & inside)},
            )
        )
    return parts


def _in_batch(target: Target, batch: int) -> Target:
    return target if target.batch == batch else msgspec.structs.replace(target, batch=batch)


def _batch_size(text: str, wave: int) -> int:
    if not text:
        return wave
    number, share = _amount("--batch", text, least=1)
    return max(1, math.ceil(wave * number / _WHOLE)) if share else number


def _amount(option: str, text: str, *, least: int) -> tuple[int, bool]:
    """Read `N` or `P%`: the number, and whether it is a share."""
    try:
        return Share(least).split(text)
    except ValueError:
        raise OptionError(
            f"{option} {text}: it must be a number of at least {least}, or a share of at most 100%: {option} 10, "
            f"or {option} 25%."
        ) from None


def _leaders_first(wave: Sequence[Target], relied: Mapping[str, set[str]]) -> list[Target]:
    """Put leaders before all others, and each target after those that it relies on.

    In a circle of hosts that rely on each other, the edge that closes it is dropped: no order could satisfy it.
    """
    by_name = {target.instance: target for target in wave}
    ordered: dict[str, Target] = {}
    trail: list[str] = []

    def place(name: str) -> None:
        if name in ordered:
            return
        if relied[name] <= ordered.keys():
            ordered[name] = by_name[name]
            return
        trail.append(name)
        for leader in _as_counted(relied[name]):
            if leader in trail:
                relied[name].discard(leader)
            else:
                place(leader)
        trail.pop()
        ordered[name] = by_name[name]

    for target in wave:
        place(target.instance)
    leaders: set[str] = set().union(*relied.values())
    return sorted(ordered.values(), key=lambda target: target.instance not in leaders)


def _as_counted(names: set[str]) -> list[str]:
    """Return names as people count. Most instances rely on one host, or on none."""
    return sorted(names, key=natural) if len(names) > 1 else [*names]
