"""What a run that was stopped still waits for, and for how long at most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.plan.step import CHANGING
from nixhive_nb.util.text import seconds_text

if TYPE_CHECKING:
    from nixhive_nb.plan.plan import Options
    from nixhive_nb.run.report import Report

_MOST_NAMES = 3
_REACH = 120.0
"""Seconds in which a host must answer before it is given up."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts that are in the middle of a change."""

    instances: tuple[str, ...] = ()
    seconds: float = 0.0
    """After which the last of them has ended, at the latest."""

    def __str__(self) -> str:
        """Return it in words; empty where nothing is waited for."""
        names, more = self.instances[:_MOST_NAMES], len(self.instances) - _MOST_NAMES
        if not names:
            return ""
        rest = f" and {more} more" if more > 0 else ""
        return f"{', '.join(names)}{rest}, at most {seconds_text(self.seconds)}"


def waiting_for(report: Report) -> Waiting:
    """Return which hosts are being activated or rebooted by now."""
    going = [
        record
        for record in report.steps.values()
        if record.kind in CHANGING and record.started is not None and record.outcome is None
    ]
    left = [_longest(record.kind, report.plan.options) - (report.ended - (record.started or 0.0)) for record in going]
    return Waiting(instances=tuple(one.instance for one in going), seconds=max(0.0, *left) if left else 0.0)


def _longest(kind: str, options: Options) -> float:
    """Return the seconds after which a step has ended or its host is given up: a switch, one back, the boot loader."""
    if kind == "reboot":
        return options.reboot_timeout + _REACH
    return options.wait + 3 * options.activation + options.confirm + _REACH
