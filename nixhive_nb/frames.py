"""Values as DataFrames. Columns and dtypes here are a promise: they are documented in `docs/dataframes.md` and tested.

Strings are `str` (empty where there is none), which pandas 2 makes `object`. On both, counts and bytes are `Int64`,
durations `float64` in seconds (`NaN` where a step did not run), times `datetime64[us, UTC]`, yes or no `boolean`,
outcomes and their like an ordered `category`. What is not known is missing. A failure is a row, never a missing one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.deployment.ways import expanded
from nixhive_nb.plan.closure import Change
from nixhive_nb.plan.events import Outcome
from nixhive_nb.plan.status import STANDINGS, standings
from nixhive_nb.plan.step import Kind
from nixhive_nb.run.everywhere import NOT_TRIED
from nixhive_nb.run.timings import timings_of
from nixhive_nb.util.said import clamped, is_moment
from nixhive_nb.util.text import strip_control
from nixhive_nb.view.plan_rows import instance_rows, system_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.deployment.targets import Targets
    from nixhive_nb.plan.closure import PackageChange
    from nixhive_nb.plan.examined import Diagnosis
    from nixhive_nb.plan.facts import CheckResult, Generation, HostFacts
    from nixhive_nb.plan.plan import Plan, Survey
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.history import RunEntry
    from nixhive_nb.run.report import Report

TIME = "datetime64[us, UTC]"
_CATEGORIES: dict[str, tuple[str, ...]] = {
    "outcomes": get_args(Outcome),
    "standings": STANDINGS,
    "changes": get_args(Change),
    "kinds": get_args(Kind),
}
"""Stand for the dtypes of ordered categories."""
_EMPTY = ("", "")


def instances_frame(inventory: Inventory, targets: Targets) -> pd.DataFrame:
    """Return the targeted instances in their order.

    Index `instance`; `system`, `store`, `address`, `jump` (str), `tags` (tuples of strings), `wave` (Int64, from 1).
    """
    rows = [
        _instance_row(inventory.instances[name], number)
        for number, wave in enumerate(targets.waves, start=1)
        for name in wave.instances
    ]
    types = {"system": "str", "store": "str", "tags": "object", "wave": "Int64", "address": "str", "jump": "str"}
    return _frame(rows, "instance", types)


def systems_frame(
    inventory: Inventory, systems: Iterable[str], known: Mapping[str, tuple[str, str]] | None = None
) -> pd.DataFrame:
    """Return systems with what is known of them.

    Index `system`; `platform`, `result`, `derivation` (str, of the last build), `instances` (Int64, how many run it),
    `paths` (tuples of `NAME=VALUE`, the system's own first).
    """
    counts: dict[str, int] = {}
    for instance in inventory.instances.values():
        counts[instance.system] = counts.get(instance.system, 0) + 1
    rows = []
    for name in systems:
        result, derivation = (known or {}).get(name, _EMPTY)
        rows.append(
            {
                "system": name,
                "platform": inventory.systems[name].platform,
                "instances": counts.get(name, 0),
                "paths": inventory.include_paths(name),
                "result": result,
                "derivation": derivation,
            }
        )
    types = {"platform": "str", "instances": "Int64", "paths": "object", "result": "str", "derivation": "str"}
    return _frame(rows, "system", types)


def build_frame(report: Report) -> pd.DataFrame:
    """Return how a build ended.

    Index `system`; `outcome` (category), `how`, `result`, `derivation`, `reason` (str), `size` (Int64, bytes of the
    closure), `seconds` (float64).
    """
    types = {
        "outcome": "outcomes",
        "how": "str",
        "result": "str",
        "derivation": "str",
        "size": "Int64",
        "seconds": "float64",
        "reason": "str",
    }
    return _frame_of(report.systems(), "system", types)


def outcome_frame(report: Report) -> pd.DataFrame:
    """Return how a push, a deploy, a rollback or a reboot ended, in the order of the targets.

    Index `instance`; `system` (str), `wave`, `batch` (Int64), `outcome` (category), `failed_step`, `reason` (str),
    `how` (str: present, from relay, from here …), `sent` (Int64, content bytes from this machine to this instance),
    `build`, `transfer`, `activate` (float64, seconds), `path` (str), `previous` (str, what it ran before), `reboot`
    (boolean, whether it needs one now).
    """
    types = {
        "system": "str",
        "wave": "Int64",
        "batch": "Int64",
        "outcome": "outcomes",
        "failed_step": "str",
        "reason": "str",
        "how": "str",
        "sent": "Int64",
        "build": "float64",
        "transfer": "float64",
        "activate": "float64",
        "path": "str",
        "previous": "str",
        "reboot": "boolean",
    }
    return _frame_of(report.instances(), "instance", types)


def timings_frame(report: Report) -> pd.DataFrame:
    """Return when each step of a run ran that was begun, in the order in which they began.

    Index `step`; `instance` (str, empty for what was done once for several), `kind` (category), `subject` (str, the
    instance, store or systems), `wave` (Int64), `outcome` (category), `start`, `end` (float64, seconds from the start
    of the run), `seconds`, `queued` (float64, how long it waited for a limit when all that must come before had ended),
    `moved` (Int64, bytes, of a push or fetch), `reason` (str).
    """
    types = {
        "instance": "str",
        "kind": "kinds",
        "subject": "str",
        "wave": "Int64",
        "outcome": "outcomes",
        "start": "float64",
        "end": "float64",
        "seconds": "float64",
        "queued": "float64",
        "moved": "Int64",
        "reason": "str",
    }
    return _frame_of(timings_of(report), "step", types)


def plan_frame(plan: Plan) -> pd.DataFrame:
    """Return what a plan will do.

    For a build: index `system`; `action`, `wanted`, `derivation` (str). Else index `instance`; `wave`, `batch` (Int64),
    `system`, `current`, `wanted` (str, paths), `action` (str), `moves` (Int64, bytes that the instance lacks), `store`
    (str, where it gets them from, empty for this machine), `reboot` (boolean, whether the wanted system needs one),
    `generation` (Int64, of the profile), `built_on` (str, the store that builds the system, empty for this machine),
    `to_send` (Int64, bytes that this store lacks of what builds it). Of a plan that asked no host, `current`, `moves`,
    `reboot`, `generation` and `to_send` are empty.
    """
    if plan.verb == "build":
        return _frame_of(system_rows(plan), "system", {"action": "str", "wanted": "str", "derivation": "str"})
    types = {
        "wave": "Int64",
        "batch": "Int64",
        "system": "str",
        "current": "str",
        "wanted": "str",
        "action": "str",
        "moves": "Int64",
        "store": "str",
        "reboot": "boolean",
        "generation": "Int64",
        "built_on": "str",
        "to_send": "Int64",
    }
    return _frame_of(instance_rows(plan), "instance", types)


def status_frame(survey: Survey, carriers: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return how instances stand to what is wanted of them.

    Index `instance`; `system` (str), `reachable` (boolean), `state` (category, see `plan.standing`), `running`,
    `booted`, `profile`, `wanted` (str, paths), `revision` (str, of what runs), `specialisation` (str, which one of a
    system runs), `generation` (Int64), `uptime` (float64, seconds), `reboot_needed` (boolean), `free` (Int64, bytes on
    `/nix`), `failed_units` (tuples of strings), `holder` (str, who is activating something there), `carrier` (str,
    what carries its commands, from `carriers`), `error` (str, why the instance could not be asked, or its system not be
    evaluated).
    """
    wanted = {one.system: one for one in survey.wanted}
    seen = {one.instance: one for one in survey.seen}
    states = standings(survey)
    rows = []
    for target in survey.targets:
        want, found = wanted.get(target.system), seen.get(target.instance)
        row = _status_row(states[target.instance], found.facts if found else None)
        errors = (found.error if found else "", want.error if want else "")
        rows.append(
            row
            | {
                "instance": target.instance,
                "system": target.system,
                "wanted": want.path if want else "",
                "revision": found.revision if found else "",
                "carrier": (carriers or {}).get(target.instance, ""),
                "error": "; ".join(filter(None, errors)),
            }
        )
    types = {
        "system": "str",
        "reachable": "boolean",
        "state": "standings",
        "running": "str",
        "specialisation": "str",
        "booted": "str",
        "profile": "str",
        "wanted": "str",
        "revision": "str",
        "generation": "Int64",
        "uptime": "float64",
        "reboot_needed": "boolean",
        "free": "Int64",
        "failed_units": "object",
        "holder": "str",
        "carrier": "str",
        "error": "str",
    }
    return _frame(rows, "instance", types)


def generations_frame(found: Mapping[str, Sequence[Generation]], errors: Mapping[str, str]) -> pd.DataFrame:
    """Return the generations of the system profiles of instances; one that could not be asked is a row with its error.

    Index `instance`; `number` (Int64), `current`, `running` (boolean), `created` (datetime64), `version`, `path`,
    `error` (str).
    """
    types = {
        "number": "Int64",
        "current": "boolean",
        "running": "boolean",
        "created": TIME,
        "version": "str",
        "path": "str",
        "error": "str",
    }
    return _found_frame(found, errors, types)


def check_frame(found: Mapping[str, Sequence[CheckResult]], errors: Mapping[str, str]) -> pd.DataFrame:
    """Return how the checks of instances went; one that could not be asked is a row with its error.

    Index `instance`; `check`, `kind` (str), `ok` (boolean), `reason` (str), `tries` (Int64), `seconds` (float64),
    `description`, `error` (str).
    """
    types = {
        "check": "str",
        "kind": "str",
        "ok": "boolean",
        "reason": "str",
        "tries": "Int64",
        "seconds": "float64",
        "description": "str",
        "error": "str",
    }
    return _found_frame(found, errors, types, check=lambda one: one.name)


def doctor_frame(found: Iterable[Diagnosis]) -> pd.DataFrame:
    """Return whether instances can be deployed to, in the order of the targets.

    Index `instance`; `system` (str), `ok` (boolean), `error` (str, why it could not be asked); `carrier`, `address`,
    `through`, `user`, `key`, `key_from` (str, how it was reached); `root` (str, what makes its login root), `asks`
    (boolean, whether that asks for a password); `trust` (str, why it takes what is pushed), `signed` (boolean, whether
    it takes what our key has signed); `nix` (str), `systemd` (boolean), `platforms` (tuples of strings); `free`,
    `needs`, `boot_free`, `boot_needs` (Int64, bytes); `clock` (float64, seconds ahead of ours); `relay` (str),
    `relay_reached`, `relay_allowed` (boolean); `builds` (str, where its system is built), `own_ssh` (tuples of
    strings); `kinds`, `shortcomings`, `lines` (tuples of strings, as long as each other).
    """
    types = {
        "system": "str",
        "ok": "boolean",
        "error": "str",
        "carrier": "str",
        "address": "str",
        "through": "str",
        "user": "str",
        "key": "str",
        "key_from": "str",
        "root": "str",
        "asks": "boolean",
        "trust": "str",
        "signed": "boolean",
        "nix": "str",
        "systemd": "boolean",
        "platforms": "object",
        "free": "Int64",
        "needs": "Int64",
        "boot_free": "Int64",
        "boot_needs": "Int64",
        "clock": "float64",
        "relay": "str",
        "relay_reached": "boolean",
        "relay_allowed": "boolean",
        "builds": "str",
        "own_ssh": "object",
        "kinds": "object",
        "shortcomings": "object",
        "lines": "object",
    }
    return _frame([_doctor_row(one) for one in found], "instance", types)


def diff_frame(found: Mapping[str, Sequence[PackageChange]], errors: Mapping[str, str]) -> pd.DataFrame:
    """Return what changes between what instances run and what is wanted, package by package.

    Index `instance`; `package` (str), `change` (category: added, removed, changed), `old_versions`, `new_versions`
    (str, several with `, ` between), `size` (Int64, bytes more or less), `error` (str). An instance whose closures
    could not be compared is a row with its error; one where nothing changes has none.
    """
    types = {
        "package": "str",
        "change": "changes",
        "old_versions": "str",
        "new_versions": "str",
        "size": "Int64",
        "error": "str",
    }
    return _found_frame(
        found,
        errors,
        types,
        old_versions=lambda one: ", ".join(one.old_versions),
        new_versions=lambda one: ", ".join(one.new_versions),
    )


def history_frame(entries: Iterable[RunEntry]) -> pd.DataFrame:
    """Return the runs that a journal tells of.

    Index `run`; `started` (datetime64), `seconds` (float64), `verb`, `command` (str, as it was typed), `source`,
    `digest`, `revision`, `who`, `program`, `reason`, `state` (str), `interrupted` (boolean), `instances` (Int64), and
    an Int64 column for each outcome: how many ended so (`done`, `warned`, `unchanged`, `rolled_back` …).
    """
    types = {
        "started": TIME,
        "seconds": "float64",
        "verb": "str",
        "command": "str",
        "source": "str",
        "digest": "str",
        "revision": "str",
        "who": "str",
        "program": "str",
        "reason": "str",
        "state": "str",
        "interrupted": "boolean",
        "instances": "Int64",
    }
    outcomes = {outcome: outcome.replace(" ", "_") for outcome in get_args(Outcome)}
    known = tuple(entries)
    columns = {name: _values(known, name) for name in types}
    columns |= {name: [entry.counts.get(outcome, 0) for entry in known] for outcome, name in outcomes.items()}
    return _framed(columns, _values(known, "run"), "run", types | dict.fromkeys(outcomes.values(), "Int64"))


def run_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what a command did on each instance.

    Index `instance`; `exit_code` (Int64, missing where the command did not run to its end), `seconds` (float64),
    `stdout`, `stderr`, `error` (str: why it did not run to its end).
    """
    types = {"exit_code": "Int64", "seconds": "float64", "stdout": "str", "stderr": "str", "error": "str"}
    return _frame(rows, "instance", types)


def run_failures(frame: pd.DataFrame) -> tuple[int, int]:
    """Return how many hosts of `run_frame` failed, and how many were not begun."""
    rest = int(frame["error"].str.startswith(NOT_TRIED).sum())
    return int((frame["exit_code"].fillna(-1) != 0).sum()) - rest, rest


def lab_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the hosts of the practice fleet.

    Index `instance`; `init`, `address`, `netns`, `user` (str), `port`, `pid` (Int64, missing for one that is down),
    `running` (boolean), `host_key` (str).
    """
    types = {
        "init": "str",
        "address": "str",
        "port": "Int64",
        "user": "str",
        "pid": "Int64",
        "netns": "str",
        "running": "boolean",
        "host_key": "str",
    }
    return _frame(rows, "instance", types)


def _instance_row(instance: Instance, wave: int) -> dict[str, Any]:
    options = {name.lower(): values[-1] for name, values in instance.ssh if values}
    return {
        "instance": instance.name,
        "system": instance.system,
        "store": shown_store(instance.store),
        "tags": instance.tags,
        "wave": wave,
        "address": expanded(options.get("hostname", instance.name), instance.name),
        "jump": ",".join(instance.hops),
    }


def _status_row(state: Standing, facts: HostFacts | None) -> dict[str, Any]:
    """Return what the facts tell; an instance that did not answer has empty fields."""
    if facts is None:
        return {"state": state, "reachable": False, "failed_units": ()}
    return {
        "state": state,
        "reachable": True,
        "running": facts.current,
        "specialisation": facts.specialisation,
        "booted": facts.booted,
        "profile": facts.profile,
        "generation": facts.generation,
        "uptime": facts.uptime,
        "reboot_needed": facts.reboot_needed,
        "free": facts.free,
        "failed_units": facts.failed_units or (),
        "holder": facts.holder,
    }


def _doctor_row(one: Diagnosis) -> dict[str, Any]:
    """Return what was found; of an instance that did not answer, what is known without it."""
    host, way = one.host, one.way
    row = {
        "instance": one.instance,
        "system": one.system,
        "ok": one.ok,
        "error": one.error,
        "carrier": way.carrier,
        "address": f"{way.address}:{way.port}" if way.address else "",
        "through": way.through,
        "user": way.user,
        "key": one.login.key,
        "key_from": one.login.key_from,
        "trust": one.trust,
        "signed": one.is_signed,
        "boot_needs": one.boot_needs,
        "relay": one.relay,
        "relay_allowed": one.is_allowed,
        "builds": one.builds,
        "own_ssh": way.own,
        "platforms": (),
        "kinds": tuple(shortcoming.kind for shortcoming in one.shortcomings),
        "shortcomings": tuple(strip_control(shortcoming.text) for shortcoming in one.shortcomings),
        "lines": tuple(strip_control("\n".join(shortcoming.lines)) for shortcoming in one.shortcomings),
    }
    if host is None:
        return row
    return row | {
        "root": one.root_by,
        "asks": one.asks,
        "nix": host.nix,
        "systemd": host.facts.failed_units is not None,
        "platforms": host.facts.runs,
        "free": host.facts.free,
        "needs": host.lacks,
        "boot_free": host.boot_free,
        "clock": host.clock.offset if host.clock else None,
        "relay_reached": host.relay.is_reached if host.relay else None,
    }


def _found_frame(
    found: Mapping[str, Sequence[Any]],
    errors: Mapping[str, str],
    types: Mapping[str, str],
    **worded: Callable[[Any], str],
) -> pd.DataFrame:
    """Return a row for each thing that was found on an instance, and one for each instance with an error.

    A column has the field of that name, or what `worded` makes of the whole thing.
    """
    names: list[str] = []
    things: list[Any] = []
    said: list[str] = []
    for name in dict.fromkeys([*found, *errors]):
        own = [*found.get(name, ()), *([None] if name in errors else [])]
        names += [name] * len(own)
        things += own
        said += ["" if one is not None else errors[name] for one in own]
    columns = {name: _values(things, name) for name in types if name not in worded}
    columns |= {name: ["" if one is None else words(one) for one in things] for name, words in worded.items()}
    return _framed({**columns, "error": said}, names, "instance", types)


def _frame_of(values: Iterable[object], index: str, types: Mapping[str, str]) -> pd.DataFrame:
    """Return the frame of values whose fields have the names of its columns."""
    known = tuple(values)
    return _framed({name: _values(known, name) for name in types}, _values(known, index), index, types)


def _values(things: Sequence[Any], name: str) -> list[Any]:
    """Return that field of each, None where there is none."""
    return [getattr(one, name, None) for one in things]


def _frame(rows: Sequence[Mapping[str, Any]], index: str, types: Mapping[str, str]) -> pd.DataFrame:
    columns = {name: [row.get(name) for row in rows] for name in types}
    return _framed(columns, [row[index] for row in rows], index, types)


def _framed(
    columns: Mapping[str, Sequence[Any]], names: Sequence[Any], index: str, types: Mapping[str, str]
) -> pd.DataFrame:
    """Return a table of columns, which have the names and the types of `types`, in that order."""
    import pandas as pd  # noqa: PLC0415 - half a second that commands without a table need not wait for

    series = {name: _column(columns[name], dtype) for name, dtype in types.items()}
    frame = pd.DataFrame(series, columns=pd.Index(list(types)))
    frame.index = pd.Index(names, dtype="str", name=index)
    return frame


def _column(values: Sequence[Any], dtype: str) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415 - the same

    if dtype in _CATEGORIES:
        return pd.Series(values, dtype=pd.CategoricalDtype([*_CATEGORIES[dtype]], ordered=True))
    # Whatever one host or journal says, the table of the others is made.
    if dtype == TIME:
        return pd.Series(pd.DatetimeIndex(list(map(_moment, values)), dtype="datetime64[us]").tz_localize("UTC"))
    if dtype == "Int64":
        return pd.Series([clamped(value) for value in values], dtype=dtype)
    if dtype == "str":
        return pd.Series([strip_control(value or "") for value in values], dtype=dtype)
    return pd.Series(values, dtype=dtype)


def _moment(when: float | None) -> datetime | None:
    """Return seconds since the epoch as a moment of UTC, without its zone; None where that is in no calendar."""
    if when is None or not is_moment(when):
        return None
    return datetime.fromtimestamp(when, UTC).replace(tzinfo=None)
