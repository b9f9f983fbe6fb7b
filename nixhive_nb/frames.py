"""Values as DataFrames. Columns and dtypes here are a promise: they are documented in `docs/dataframes.md` and tested.

Strings are `str` (empty where there is none), counts and bytes `Int64`, durations `float64` in seconds (`NaN` where a
step did not run), outcomes an ordered `category`. A failure is a row, never a missing one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from nixhive_nb.plan.event import Outcome
from nixhive_nb.plan.planner import jump_hosts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from nixhive_nb.deployment.inventory import Instance, Inventory
    from nixhive_nb.deployment.targets import Targets
    from nixhive_nb.plan.plan import Plan
    from nixhive_nb.plan.report import Report

OUTCOMES = "outcomes"
"""Stands for the dtype of an outcome."""
_EMPTY = ("", "")


def instances_frame(inventory: Inventory, targets: Targets) -> pd.DataFrame:
    """Give the targeted instances in their order.

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
    """Give systems with what is known of them.

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
    """Give how a build ended.

    Index `system`; `outcome` (category), `how`, `result`, `derivation`, `reason` (str), `size` (Int64, bytes of the
    closure), `seconds` (float64).
    """
    rows = [
        {
            "system": record.system,
            "outcome": record.outcome,
            "how": record.how,
            "result": record.result,
            "derivation": record.derivation,
            "size": record.size,
            "seconds": record.seconds,
            "reason": record.reason,
        }
        for record in report.systems()
    ]
    types = {
        "outcome": OUTCOMES,
        "how": "str",
        "result": "str",
        "derivation": "str",
        "size": "Int64",
        "seconds": "float64",
        "reason": "str",
    }
    return _frame(rows, "system", types)


def outcome_frame(report: Report) -> pd.DataFrame:
    """Give how a push or a deploy ended, in the order of the targets.

    Index `instance`; `system` (str), `wave` (Int64), `outcome` (category), `failed_step`, `reason` (str), `how` (str:
    present, from relay, from here …), `sent` (Int64, content bytes from this machine to this instance), `build`,
    `transfer`, `activate` (float64, seconds), `path` (str).
    """
    rows = [
        {
            "instance": record.instance,
            "system": record.system,
            "wave": record.wave,
            "outcome": record.outcome,
            "failed_step": record.failed_step,
            "reason": record.reason,
            "how": record.how,
            "sent": record.sent,
            "build": record.build,
            "transfer": record.transfer,
            "activate": record.activate,
            "path": record.path,
        }
        for record in report.instances()
    ]
    types = {
        "system": "str",
        "wave": "Int64",
        "outcome": OUTCOMES,
        "failed_step": "str",
        "reason": "str",
        "how": "str",
        "sent": "Int64",
        "build": "float64",
        "transfer": "float64",
        "activate": "float64",
        "path": "str",
    }
    return _frame(rows, "instance", types)


def plan_frame(plan: Plan) -> pd.DataFrame:
    """Give what a plan will do.

    For a build: index `system`, `action` (str). Else index `instance`; `wave` (Int64), `system`, `action`, `store`
    (str).
    """
    if plan.verb == "build":
        action = "build" if plan.options.realise else "instantiate"
        return _frame([{"system": name, "action": action} for name in plan.systems], "system", {"action": "str"})
    rows = [
        {
            "instance": target.instance,
            "wave": target.wave,
            "system": target.system,
            "action": action_text(plan, target.store),
            "store": target.store,
        }
        for target in plan.targets
    ]
    return _frame(rows, "instance", {"wave": "Int64", "system": "str", "action": "str", "store": "str"})


def action_text(plan: Plan, store: str) -> str:
    """Give in words what a plan does on an instance whose relay is `store`."""
    fetch = f"fetch from {store}" if store else "receive from here"
    verbs = {"switch": "activate", "boot": "activate at the next boot", "test": "activate until the next boot"}
    return (
        f"{fetch}, {verbs.get(plan.options.type, 'show what activation would do')}" if plan.verb == "deploy" else fetch
    )


def run_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Give what a command did on each instance.

    Index `instance`; `exit_code` (Int64, missing where the command did not run to its end), `seconds` (float64),
    `stdout`, `stderr`, `error` (str: why it did not run to its end).
    """
    types = {"exit_code": "Int64", "seconds": "float64", "stdout": "str", "stderr": "str", "error": "str"}
    return _frame(rows, "instance", types)


def lab_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Give the hosts of the practice fleet.

    Index `instance`; `address`, `netns`, `user` (str), `port`, `pid` (Int64, missing for one that is down), `running`
    (boolean), `host_key` (str).
    """
    types = {
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
        "store": instance.store,
        "tags": instance.tags,
        "wave": wave,
        "address": options.get("hostname", instance.name),
        "jump": ",".join(jump_hosts(instance)),
    }


def _frame(rows: Sequence[Mapping[str, Any]], index: str, types: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - half a second that commands without a table need not wait for

    outcomes = pd.CategoricalDtype([*get_args(Outcome)], ordered=True)
    columns = {
        name: pd.Series([row.get(name) for row in rows], dtype=outcomes if dtype == OUTCOMES else dtype)
        for name, dtype in types.items()
    }
    frame = pd.DataFrame(columns, columns=pd.Index(list(types)))
    frame.index = pd.Index([row[index] for row in rows], dtype="str", name=index)
    return frame
