"""A plan in plain text: the headline, the options in words, and the table that every face shows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from nixhive_nb.plan.routes import store_host
from nixhive_nb.util.text import count_text, seconds_text, size_text, strip_control, table_text
from nixhive_nb.view.plan_rows import InstanceRow, SystemRow, instance_rows, system_rows
from nixhive_nb.view.words import FATES, VERBS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.plan.plan import Plan

    Row = InstanceRow | SystemRow

_STORE = "/nix/store/"
_HASH = 32
"""How long the hash in the name of a store path is."""
_SHOWN = 8
_ATTENTION = ("unreachable", "broken", "act", "nothing")
_OPTIONAL = ("now → wanted", "generation", "lacks", "reboot", "result")
"""Columns that are left out when nothing is known for them."""


def plan_text(plan: Plan, *, most: int | None = None) -> str:
    """Return a whole plan as text; with `most`, that many rows, and the rest counted."""
    rows = plan_rows(plan)
    shown = most_telling(rows, most)
    lines = [f"{title(plan)}  ({' · '.join(plan_facts(plan, rows))})"]
    if words := plan_ways(plan):
        lines.append(" · ".join(words))
    header, table = plan_table(plan, shown)
    lines.append(table_text(header, [[row[name] for name in header] for row in table]))
    if len(shown) < len(rows):
        lines.append(rest_text(plan, rows, shown))
    lines += [f"warning: {strip_control(warning)}" for warning in plan.warnings]
    return "\n".join(lines)


def plan_rows(plan: Plan) -> Sequence[Row]:
    """Return the rows of a plan: its instances, or for a build its systems."""
    return system_rows(plan) if plan.verb == "build" else instance_rows(plan)


def most_telling(rows: Sequence[Row], most: int | None) -> Sequence[Row]:
    """Return at most `most` rows. Where not all fit, those that need attention come first, else all in their order."""
    if most is None or len(rows) <= most:
        return rows
    return sorted(rows, key=lambda row: _ATTENTION.index(row.fate))[:most]


def title(plan: Plan) -> str:
    """Return what a plan is called."""
    return f"Plan {plan.digest}"


def plan_facts(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Return what will be done, in numbers: instances by what happens to them, waves, builds, pushes, bytes."""
    facts = [f"{plan.verb} {strip_control(plan.source)}"]
    if plan.targets:
        facts.append(counts_text(plan, rows))
        facts.append(count_text(len({target.wave for target in plan.targets}), "wave"))
        batches = len({(target.wave, target.batch) for target in plan.targets})
        if batches > len({target.wave for target in plan.targets}):
            facts.append(count_text(batches, "batch", "batches"))
    facts += _systems(plan)
    pushes = sum(1 for step in plan.steps if step.kind == "push")
    if pushes:
        facts.append(count_text(pushes, "push to a store", "pushes to stores"))
    return facts + _bytes([row for row in rows if isinstance(row, InstanceRow)])


def counts_text(plan: Plan, rows: Sequence[Row]) -> str:
    """Return how many rows have which fate: `4 to activate, 2 nothing to do, 1 unreachable`."""
    counts: Counter[str] = Counter(row.fate for row in rows)
    words = {fate: VERBS[plan.verb].to_do if fate == "act" else known.words for fate, known in FATES.items()}
    return ", ".join(f"{counts[fate]} {text}" for fate, text in words.items() if counts[fate]) or "nothing to do"


def plan_ways(plan: Plan) -> list[str]:
    """Return how it will be done, in words: canary, batches, failures, confirmation, checks, pauses."""
    options = plan.options
    if plan.verb not in ("deploy", "rollback"):
        return []
    found = []
    if options.canary:
        found.append(f"canary of {options.canary}")
    if options.batch:
        found.append(f"batches of {options.batch}")
    if plan.allowed is not None:
        found.append(f"stops when more than {plan.allowed} failed")
    if options.pause:
        found.append(f"pause of {seconds_text(options.pause)} between")
    if options.type in ("switch", "test"):
        back = f"goes back unless confirmed within {options.confirm:g} s"
        found.append(back if options.confirm else "no confirmation")
        found.append("with checks" if options.checks else "no checks")
    if options.wait:
        found.append(f"waits {seconds_text(options.wait)} for other activations")
    if options.force:
        found.append("also where nothing changes")
    return found


def plan_table(plan: Plan, rows: Sequence[Row]) -> tuple[list[str], list[dict[str, str]]]:
    """Return the titles of the columns that say something, and the rows as text by these titles."""
    if plan.verb == "build":
        names = ["system", "what will happen", "result"]
    else:
        names = ["wave", "instance", "system", "what will happen", "now → wanted", "lacks", "reboot", "generation"]
    split = any(target.batch > 1 for target in plan.targets)
    table = [_cells(plan, row, split=split) for row in rows]
    return [name for name in names if name not in _OPTIONAL or any(row[name] for row in table)], table


def rest_text(plan: Plan, rows: Sequence[Row], shown: Sequence[Row]) -> str:
    """Return the line for rows that are not shown: `… and 950 more: 940 to activate, 10 nothing to do`."""
    left = sorted(rows, key=lambda row: _ATTENTION.index(row.fate))[len(shown) :]
    return f"… and {len(left)} more: {counts_text(plan, left)}"


def deed_text(plan: Plan, row: Row) -> str:
    """Return in words what happens to a row, with where its system comes from."""
    if isinstance(row, SystemRow) or row.fate != "act" or row.moves == 0 or plan.verb not in ("push", "deploy"):
        return " ".join(strip_control(row.action).split())
    source = f"fetch from {strip_control(store_host(row.store) or row.store)}" if row.store else "receive from here"
    return source if plan.verb == "push" else f"{source}, {row.action}"


def reboot_text(needed: bool | None) -> str:  # noqa: FBT001 - three answers, not a switch
    """Return whether a reboot is needed: `needed`, `no`, or nothing where that is not known."""
    return "" if needed is None else "needed" if needed else "no"


def short_path(path: str) -> str:
    """Return a store path in short: `9k2fabcd…-nixos-system-www`."""
    name = strip_control(path.removeprefix(_STORE))
    key, dash, rest = name.partition("-")
    return f"{key[:_SHOWN]}…-{rest}" if dash and len(key) == _HASH else name


def change_text(current: str, wanted: str) -> str:
    """Return what runs and what will run in short; of equal names the second is its hash alone."""
    now, then = short_path(current), short_path(wanted)
    if not wanted or current == wanted:
        return now
    if not current:
        return f"→ {then}"
    key, mark, name = then.partition("…-")
    return f"{now} → {key}…" if mark and now.endswith(f"{mark}{name}") else f"{now} → {then}"


def _cells(plan: Plan, row: Row, *, split: bool) -> dict[str, str]:
    """Return the text of a row by the titles of the columns; `split`: name the batch beside the wave."""
    if isinstance(row, SystemRow):
        return {
            "system": strip_control(row.system),
            "what will happen": deed_text(plan, row),
            "result": short_path(row.wanted),
        }
    return {
        "wave": f"{row.wave}.{row.batch}" if split else str(row.wave),
        "instance": strip_control(row.instance),
        "system": strip_control(row.system),
        "what will happen": deed_text(plan, row),
        "now → wanted": change_text(row.current, row.wanted),
        "lacks": size_text(row.moves),
        "reboot": reboot_text(row.reboot),
        "generation": "" if row.generation is None else str(row.generation),
    }


def _systems(plan: Plan) -> list[str]:
    if plan.verb not in ("build", "push", "deploy"):
        return []
    known = sum(1 for step in plan.steps if step.kind == "register" and step.path)
    verb = "build" if plan.options.realise else "instantiate"
    new = len(plan.systems) - known
    return [f"{count_text(new, 'system')} to {verb}", *([f"{known} as last built"] if known else [])]


def _bytes(rows: Sequence[InstanceRow]) -> list[str]:
    """Return how much the instances lack, by where they get it from; nothing when none was measured."""
    acting = [row for row in rows if row.fate == "act"]
    if all(row.moves is None for row in acting):
        return []
    least = "at least " if any(row.moves is None for row in acting) else ""
    direct = sum(row.moves or 0 for row in acting if not row.store)
    relayed = sum(row.moves or 0 for row in acting if row.store)
    facts = [f"{least}{size_text(direct)} from here"]
    return [*facts, f"{least}{size_text(relayed)} from stores"] if relayed else facts
