"""What a survey or a run of checks found, read from the report of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.facts import CheckResult, Seen, Wanted
from nixhive_nb.plan.places import BuildPlace, Sending
from nixhive_nb.plan.plan import Survey

if TYPE_CHECKING:
    from nixhive_nb.plan.step import Step
    from nixhive_nb.run.report import Report, StepRecord


def checks_of(report: Report) -> tuple[dict[str, tuple[CheckResult, ...]], dict[str, str]]:
    """Return how the checks of each instance went, from the report of `plan_checks`, and why some were not run."""
    records = {record.subject: record for record in report.steps.values()}
    found = {name: record.result.checks for name, record in records.items() if record.result}
    return found, {name: record.reason for name, record in records.items() if name not in found}


def survey_of(report: Report) -> Survey:
    """Return what a survey found, from the report of its run.

    A system that could not be evaluated has the error of its step; an instance that could not be asked, why.
    """
    plan = report.plan
    wanted = {one.system: one for one in plan.wanted}
    for step in plan.steps:
        if step.kind == "instantiate":
            wanted |= _evaluated(step, report.steps[step.id])
    asked = {step.instance for step in plan.steps if step.instance}
    return Survey(
        targets=plan.targets,
        wanted=tuple(wanted[system] for system in plan.systems if system in wanted),
        seen=tuple(_seen(report, target.instance) for target in plan.targets if target.instance in asked),
        places=tuple(_place(report.steps[step.id]) for step in plan.steps if step.kind == "probe" and step.store),
        sendings=tuple(
            Sending(system=step.system, store=step.store, lacks=result.size, refusal=result.refusal)
            for step in plan.steps
            if step.kind == "missing" and not step.instance and (result := report.steps[step.id].result)
        ),
    )


def _place(record: StepRecord) -> BuildPlace:
    if record.result is not None and record.result.place is not None:
        return record.result.place
    return BuildPlace(store=record.subject, error=record.reason or "it was not asked")


def _evaluated(step: Step, record: StepRecord) -> dict[str, Wanted]:
    found = {one.system: one for one in record.result.wanted} if record.result else {}
    if record.outcome in GOOD:
        return found
    reason = record.reason or "it was not evaluated"
    missing = (system for system in step.systems if system not in found)
    return found | {system: Wanted(system=system, error=reason, log=record.log) for system in missing}


def _seen(report: Report, instance: str) -> Seen:
    probe, missing = report.record_of("probe", instance), report.record_of("missing", instance)
    measured = missing.result if missing and missing.outcome in GOOD else None
    facts = probe.result.facts if probe and probe.result else None
    return Seen(
        instance=instance,
        facts=facts,
        asked=(probe.started or 0.0) if probe and facts else 0.0,
        powerless=probe.result.powerless if probe and probe.result else "",
        error="" if facts or not probe else probe.reason,
        # Of a system that is not built yet, nothing can be told.
        moves=measured.size if measured and measured.path else None,
        reboot=measured.reboot if measured else None,
        inhibited=measured.inhibited if measured else (),
    )
