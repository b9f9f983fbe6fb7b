"""NixOS fleets from a notebook: `%load_ext nixhive_nb`, then `%hive`; or `Hive` from Python; or `nix-hive`.

Importing this package is cheap: pandas, Fabric and IPython are imported when they are needed. What a runbook needs is
here, its types too: no other module of this package is promised to stay as it is.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from nixhive_nb.errors import (
    ChecksFailed,
    ConnectionFailed,
    DeploymentError,
    HiveError,
    HostKeyError,
    LinkLost,
    Locked,
    MissingProgram,
    NixError,
    NoAnswer,
    OptionError,
    OwnLimit,
    PasswordRefused,
    PlanRefused,
    PlanStale,
    Refused,
    RolledBack,
    RunFailed,
    StateError,
    StepFailed,
    TargetError,
    TookTooLong,
    WorkerLost,
)

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from nixhive_nb.deployment.inventory import Check, Heeded, Instance, Inventory, System
    from nixhive_nb.deployment.revision import Revision
    from nixhive_nb.deployment.targets import Pattern, Targets, TargetWave
    from nixhive_nb.handle import RunHandle
    from nixhive_nb.hive import Hive
    from nixhive_nb.plan.events import Event, Outcome, Result, StepEnded, StepLine, StepProgress, StepStarted, Stopping
    from nixhive_nb.plan.examined import ClockSpan, Diagnosis, HostExamined, Login, RelayTried, Shortcoming, WayThere
    from nixhive_nb.plan.facts import CheckResult, HostFacts, Seen, Wanted
    from nixhive_nb.plan.options import How
    from nixhive_nb.plan.places import BuildNeed, BuildPlace, Sending
    from nixhive_nb.plan.plan import Options, Plan, Survey, Target, Verb
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.plan.step import Step
    from nixhive_nb.plan.subtrees import Subtree
    from nixhive_nb.plan.terms import Terms
    from nixhive_nb.run.carry import Follow, Note
    from nixhive_nb.run.engine import Run
    from nixhive_nb.run.everywhere import Listener, RunInterrupted
    from nixhive_nb.run.limits import Limits
    from nixhive_nb.run.once import Claim, Done
    from nixhive_nb.run.report import InstanceRecord, Report, StepRecord, SystemRecord
    from nixhive_nb.run.waiting import Waiting
    from nixhive_nb.ssh.carrier import Carrier
    from nixhive_nb.view.timeline import Timeline
    from nixhive_nb.workers.placing import Placed

    __version__: str

__all__ = [
    "BuildNeed",
    "BuildPlace",
    "Carrier",
    "Check",
    "CheckResult",
    "ChecksFailed",
    "Claim",
    "ClockSpan",
    "ConnectionFailed",
    "DeploymentError",
    "Diagnosis",
    "Done",
    "Event",
    "Follow",
    "Heeded",
    "Hive",
    "HiveError",
    "HostExamined",
    "HostFacts",
    "HostKeyError",
    "How",
    "Instance",
    "InstanceRecord",
    "Inventory",
    "Limits",
    "LinkLost",
    "Listener",
    "Locked",
    "Login",
    "MissingProgram",
    "NixError",
    "NoAnswer",
    "Note",
    "OptionError",
    "Options",
    "Outcome",
    "OwnLimit",
    "PasswordRefused",
    "Pattern",
    "Placed",
    "Plan",
    "PlanRefused",
    "PlanStale",
    "Refused",
    "RelayTried",
    "Report",
    "Result",
    "Revision",
    "RolledBack",
    "Run",
    "RunFailed",
    "RunHandle",
    "RunInterrupted",
    "Seen",
    "Sending",
    "Shortcoming",
    "Standing",
    "StateError",
    "Step",
    "StepEnded",
    "StepFailed",
    "StepLine",
    "StepProgress",
    "StepRecord",
    "StepStarted",
    "Stopping",
    "Subtree",
    "Survey",
    "System",
    "SystemRecord",
    "Target",
    "TargetError",
    "TargetWave",
    "Targets",
    "Terms",
    "Timeline",
    "TookTooLong",
    "Verb",
    "Waiting",
    "Wanted",
    "WayThere",
    "WorkerLost",
    "__version__",
    "load_ipython_extension",
    "unload_ipython_extension",
]

_LATER = {
    "Carrier": "ssh.carrier",
    "Check": "deployment.inventory",
    "CheckResult": "plan.facts",
    "Claim": "run.once",
    "ClockSpan": "plan.examined",
    "Diagnosis": "plan.examined",
    "Done": "run.once",
    "Event": "plan.events",
    "Follow": "run.carry",
    "Heeded": "deployment.inventory",
    "Hive": "hive",
    "HostExamined": "plan.examined",
    "HostFacts": "plan.facts",
    "How": "plan.options",
    "Instance": "deployment.inventory",
    "InstanceRecord": "run.report",
    "Inventory": "deployment.inventory",
    "Limits": "run.limits",
    "Listener": "run.everywhere",
    "Login": "plan.examined",
    "Note": "run.carry",
    "Options": "plan.plan",
    "Outcome": "plan.events",
    "Pattern": "deployment.targets",
    "Placed": "workers.placing",
    "Plan": "plan.plan",
    "RelayTried": "plan.examined",
    "Report": "run.report",
    "Result": "plan.events",
    "Revision": "deployment.revision",
    "Run": "run.engine",
    "RunHandle": "handle",
    "RunInterrupted": "run.everywhere",
    "Seen": "plan.facts",
    "Shortcoming": "plan.examined",
    "Standing": "plan.status",
    "Step": "plan.step",
    "StepEnded": "plan.events",
    "StepLine": "plan.events",
    "StepProgress": "plan.events",
    "StepRecord": "run.report",
    "StepStarted": "plan.events",
    "Stopping": "plan.events",
    "Subtree": "plan.subtrees",
    "Survey": "plan.plan",
    "System": "deployment.inventory",
    "SystemRecord": "run.report",
    "Target": "plan.plan",
    "TargetWave": "deployment.targets",
    "Targets": "deployment.targets",
    "Terms": "plan.terms",
    "Timeline": "view.timeline",
    "Verb": "plan.plan",
    "Waiting": "run.waiting",
    "Wanted": "plan.facts",
    "BuildNeed": "plan.places",
    "BuildPlace": "plan.places",
    "Sending": "plan.places",
    "WayThere": "plan.examined",
}
"""Where that is which is imported when it is asked for."""

logging.getLogger(__name__).addHandler(logging.NullHandler())


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Bring in `%hive` and `%%hive`: what `%load_ext nixhive_nb` calls."""
    from nixhive_nb.notebook.extension import load  # noqa: PLC0415 - IPython, pandas and Fabric only when asked for

    load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take them away again, and close every connection: what `%unload_ext nixhive_nb` calls."""
    from nixhive_nb.notebook.extension import unload  # noqa: PLC0415 - see above

    unload(shell)


def __getattr__(name: str) -> object:
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - see above

        return version("nixhive_nb")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
