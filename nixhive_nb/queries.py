"""The questions to a deployment, its hosts and its journals: each answer is a table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nixhive_nb import frames, runs
from nixhive_nb.deployment.sources import converting
from nixhive_nb.deployment.targets import select_systems
from nixhive_nb.errors import ConnectionFailed, OptionError
from nixhive_nb.hosts.generations import diffs_of, generations_of
from nixhive_nb.hosts.powers import seen_by
from nixhive_nb.plan.options import steps_left_out
from nixhive_nb.plan.survey import plan_checks
from nixhive_nb.planning import Asked, Request, plan_of, prove, survey, targets_of, way_of
from nixhive_nb.run import history as noted
from nixhive_nb.run.everywhere import RunInterrupted, run_everywhere
from nixhive_nb.run.found import checks_of
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

    from nixhive_nb.deployment.targets import Pattern
    from nixhive_nb.hosts.command import Errand
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.everywhere import Listener
    from nixhive_nb.run.report import Report
    from nixhive_nb.ssh.carrier import Carrier
    from nixhive_nb.workspace import Workspace

_log = logging.getLogger(__name__)


def instances(work: Workspace, patterns: Sequence[Pattern]) -> pd.DataFrame:
    """Return the instances that patterns name."""
    targets = targets_of(work, patterns)
    return frames.instances_frame(work.routed(targets), targets)


def systems(work: Workspace, patterns: Sequence[Pattern]) -> pd.DataFrame:
    """Return the systems that patterns name, with their last results."""
    return frames.systems_frame(work.inventory, select_systems(work.inventory, patterns), work.remembered())


def document(work: Workspace, report: Report | None, *, remembered: bool) -> dict[str, Any]:
    """Return the inventory as a JSON object, with the results of a run or of the state file."""
    known = work.remembered() if remembered else {}
    if report is not None:
        known |= {record.system: (record.result, record.derivation) for record in report.systems()}
    return work.inventory.to_json(known)


def converted(work: Workspace, folder: str | Path | None) -> str:
    """Return a deployment in another format as one in ours."""
    reading = work.reading
    return converting.converted(reading.source, work.inventory, reading.how, Path(folder or reading.folder))


def status(work: Workspace, patterns: Sequence[Pattern], *, no: Collection[str], follow: Follow | None) -> pd.DataFrame:
    """Return how instances stand to what is wanted of them."""
    found = survey(work, targets_of(work, patterns), Asked(no=steps_left_out(no)), follow)
    # By name: patterns may ask all hosts, and find others by now.
    names = [[one.instance for one in found.seen]]
    return frames.status_frame(found, {name: one.name for name, one in carriers(work, names).items()})


def carriers(work: Workspace, patterns: Sequence[Pattern]) -> dict[str, Carrier]:
    """Return what carries the commands of instances, as far as it is known; no host is asked."""
    connections, found = work.connections, {}
    for name in targets_of(work, patterns).instances:
        with swallowed(_log, f"the carrier of {name}", ConnectionFailed):  # whoever connects to it is told
            found[name] = connections.carrier_of(name)
    return found


def generations(work: Workspace, patterns: Sequence[Pattern]) -> pd.DataFrame:
    """Return the generations of the system profiles."""
    names = targets_of(work, patterns).instances
    return frames.generations_frame(*generations_of(work.connections, names, parallel=work.limits.parallel))


def check(work: Workspace, patterns: Sequence[Pattern], *, follow: Follow | None) -> pd.DataFrame:
    """Run the checks of instances now."""
    targets = targets_of(work, patterns)
    plan = plan_checks(work.routed(targets), targets)
    if not plan.steps:
        raise OptionError(
            f"None of these instances of {work.path} has a check. Write some: `systems.NAME.checks` or "
            "`instances.NAME.checks`."
        )
    return frames.check_frame(*checks_of(runs.unnoted(work, plan, follow)))


def diff(work: Workspace, patterns: Sequence[Pattern], *, no: Collection[str], follow: Follow | None) -> pd.DataFrame:
    """Build what is wanted, and return what differs from what runs."""
    targets = targets_of(work, patterns)
    wanted = {name: work.inventory.instances[name].system for name in targets.instances}
    request = Request.of("build", sorted(set(wanted.values())), {"no": no})
    with runs.building_ahead(work):
        report = runs.execute(work, plan_of(work, request, follow=follow), follow=follow).raise_if_failed()
    results = {record.system: record.result for record in report.systems()}
    seen = survey(work, targets, Asked(evaluate=False)).seen
    paths = {name: results[system] for name, system in wanted.items()}
    return frames.diff_frame(*diffs_of(work.connections, seen, paths, parallel=work.limits.parallel))


def history(work: Workspace, run: str) -> pd.DataFrame:
    """Return the runs of this folder, newest first, or what one did."""
    return report(work, run).frame if run else frames.history_frame(noted.runs(work.places.folder))


def report(work: Workspace, run: str) -> Report:
    """Return the report of a run of this folder: of the last one, or that of an id."""
    return noted.report_of(noted.find(work.places.folder, run))


def run_on(
    work: Workspace,
    patterns: Pattern,
    errand: Errand,
    *,
    timeout: float | None,
    each: bool,
    logs: bool,
    listener: Listener | None,
) -> pd.DataFrame:
    """Run a command, or a script, on each instance at once; see `Hive.run`."""
    names = targets_of(work, [patterns]).instances
    elevate = {name: work.inventory.instances[name].elevate for name in names}
    powerless: dict[str, str] = {}
    if errand.sudo and work.powers.give is not None:
        seen_by(work.connections, work.powers, [way_of(work, name) for name in names], parallel=work.limits.parallel)
        powerless = {name: why for name, why in prove(work, names).items() if why}
    try:
        rows = run_everywhere(
            work.connections,
            names,
            errand,
            parallel=work.limits.parallel,
            timeout=timeout,
            each=each,
            logs=work.places.folder if logs else None,
            spill=work.places.folder,
            output=work.limits.output,
            log=work.limits.log,
            listener=listener,
            warn=work.warn,
            elevate={name: words for name, words in elevate.items() if words},
            passwords=work.powers.passwords(elevate),
            powerless=powerless,
        )
    except RunInterrupted as error:
        error.frame = frames.run_frame(error.rows)
        raise
    return frames.run_frame(rows)
