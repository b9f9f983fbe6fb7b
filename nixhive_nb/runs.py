"""How runs are made of plans: with a journal and a backend, in the foreground or in the background."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from nixhive_nb.backend import NixSsh
from nixhive_nb.deployment.state import remember
from nixhive_nb.errors import StateError
from nixhive_nb.handle import RunHandle, going, in_background, in_foreground
from nixhive_nb.nix.ahead import Ahead
from nixhive_nb.nix.eval_jobs import EvalJobs, is_installed
from nixhive_nb.plan.plan import BRINGING
from nixhive_nb.plan.survey import evaluation_warnings, taken_along_text
from nixhive_nb.run import history, made_from
from nixhive_nb.run.carry import Note, carry_out, header_of, under_way, user_name
from nixhive_nb.run.early import beginning
from nixhive_nb.run.found import survey_of
from nixhive_nb.run.journal import Journal
from nixhive_nb.run.limits import EVALUATION
from nixhive_nb.run.once import Done
from nixhive_nb.util.interrupts import interrupts_held
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.view.report import headline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixhive_nb.backend import Examine
    from nixhive_nb.plan.early import Early
    from nixhive_nb.plan.plan import Plan, Survey
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.once import Claim
    from nixhive_nb.run.report import Report
    from nixhive_nb.workspace import Workspace

_log = logging.getLogger(__name__)
_DAY = 86400.0
"""Roots on hosts that are older are removed by anybody who comes there."""
_NAMED = 5
"""How many instances a warning names."""


def execute(
    work: Workspace,
    plan: Plan,
    *,
    follow: Follow | None = None,
    note: Note | None = None,
    claim: Claim | None = None,
    force: bool = False,
) -> Report:
    """Carry a plan out and give the report, whatever the outcome; see `Hive.execute`."""
    _warn_of_others(work, plan)
    return in_foreground(_noted(work, plan, follow=follow, note=note or Note(), claim=claim, force=force))


def begin(
    work: Workspace,
    plan: Plan,
    *,
    follow: Follow | None = None,
    note: Note | None = None,
    claim: Claim | None = None,
    force: bool = False,
) -> RunHandle:
    """Carry a plan out in the background, with connections of its own; see `Hive.begin`."""
    _warn_of_others(work, plan)
    with interrupts_held():
        return in_background(_apart(work, plan, follow=follow, note=note or Note(), claim=claim, force=force))


def unnoted(
    work: Workspace, plan: Plan, follow: Follow | None, *, power: bool = False, examine: Examine | None = None
) -> Report:
    """Carry out a plan that changes nothing: no journal has it. `power`: see whether logins become root.

    `examine` is what probes do in place of asking how hosts are.
    """
    backend = _backend(work, plan, power=power, examine=examine)
    return carry_out(plan, backend, limits=work.limits, follow=follow, journal=None, warn=work.warn)


def found(
    work: Workspace,
    plan: Plan,
    follow: Follow | None,
    *,
    power: bool = False,
    examine: Examine | None = None,
    early: Early | None = None,
) -> Survey:
    """Carry out a survey, and warn of what lies where a system takes it into the store.

    `early` tells what can be built meanwhile, where that may begin (`building_ahead`).
    """
    if early is not None and work.ahead:
        follow = beginning(early, work.ahead[0].begin, follow)
    survey = survey_of(unnoted(work, plan, follow, power=power, examine=examine))
    for text in (*evaluation_warnings(survey.wanted), *taken_along_text(survey.wanted)):
        work.warn(text)
    return survey


@contextlib.contextmanager
def building_ahead(work: Workspace) -> Iterator[None]:
    """Have builds begin in this block while a plan is made; those that no run has taken over end with the block."""
    with contextlib.closing(Ahead(work.inventory.build_flags, work.access.files)) as ahead:
        work.ahead[:] = [ahead]
        yield


@contextlib.contextmanager
def _noted(
    work: Workspace, plan: Plan, *, follow: Follow | None, note: Note, claim: Claim | None, force: bool
) -> Iterator[RunHandle]:
    """Have a run go on in this block, noted in a journal. A claim is settled at the end when all is well."""
    with contextlib.ExitStack() as last:
        ahead = work.ahead.pop() if work.ahead else None
        if ahead is not None:
            last.callback(ahead.close)
        journal = last.enter_context(contextlib.closing(_journal(work, plan, note)))
        made_from.note(work.places.folder, plan)
        for target in plan.targets:
            work.standings.pop(target.instance, None)
        backend = _backend(work, plan, force=force, run=journal.run, ahead=ahead)
        carried = under_way(plan, backend, limits=work.limits, follow=follow, journal=journal, warn=work.warn)
        last.callback(_note_left, backend, journal)
        with carried as run:
            yield RunHandle(journal.run, run)
        report = run.report()
        _log.info("run %s has ended: %s", journal.run, headline(report))
        _remember(work, plan)
        if journal.failure:
            work.warn(f"The journal of run {journal.run} is not whole: {journal.failure}.")
        _settle(claim, report, journal, note)


def _note_left(backend: NixSsh, journal: Journal) -> None:
    """Note for later runs what this one could not take away from hosts."""
    if backend.has_left:
        with swallowed(_log, f"noting what run {journal.run} has left", OSError):
            history.note_left(journal.path)


@contextlib.contextmanager
def _apart(
    work: Workspace, plan: Plan, *, follow: Follow | None, note: Note, claim: Claim | None, force: bool
) -> Iterator[RunHandle]:
    """Have a run go on in this block, with connections of its own; the claim is taken over, and let go of."""
    own = work.apart()
    with contextlib.ExitStack() as last:
        own.powers.hold()
        last.callback(own.powers.let_go)
        last.callback(own.close)
        kept = last.enter_context(contextlib.closing(claim.handed_over())) if claim is not None else None
        yield last.enter_context(_noted(own, plan, follow=follow, note=note, claim=kept, force=force))


def _warn_of_others(work: Workspace, plan: Plan) -> None:
    """Say which instances a run in the background is at: of two that change one, the later finds it locked."""
    names = {target.instance for target in plan.targets} if plan.verb != "build" else set()
    for run in going():
        shared = [target.instance for target in run.plan.targets if target.instance in names]
        if shared and run.plan.deployment == plan.deployment and run.plan.verb != "build":
            told = f"{', '.join(shared[:_NAMED])}{f' and {len(shared) - _NAMED} more' if shared[_NAMED:] else ''}"
            work.warn(
                f"Run {run.run} ({run.plan.verb}) is running in the background, on {told} as well. What it is at then "
                "is locked: wait for it (run.wait(), or --wait SECONDS), or cancel it (run.cancel())."
            )


def _journal(work: Workspace, plan: Plan, note: Note) -> Journal:
    header = header_of(
        note,
        source=work.path,
        deployment=work.reading.path,
        revision=str(plan.revision or ""),
        nix=work.inventory.nix,
    )
    journal = Journal.begin(work.places.make(), header, plan, log=work.limits.log)
    _log.info("run %s begins: %s of plan %s, journal %s", journal.run, plan.verb, plan.digest, journal.path)
    return journal


def _backend(
    work: Workspace,
    plan: Plan,
    *,
    force: bool = False,
    run: str = "run",
    power: bool = False,
    examine: Examine | None = None,
    ahead: Ahead | None = None,
) -> NixSsh:
    # The deployment as it was planned from: a file that changes now is for the next plan.
    work.check_there(plan)
    return NixSsh(
        work.inventory,
        work.reading.source,
        work.files,
        work.connections,
        plan=plan,
        owner=f"{user_name()} ({plan.verb}, plan {plan.digest})",
        places=work.places,
        copies=work.limits.copies,
        fresh=work.limits.fresh,
        keeping=work.keeping,
        powers=work.powers,
        show_trace=work.show_trace,
        force=force,
        run=run,
        power=power,
        examine=examine,
        ahead=ahead,
        jobs=_jobs(work, plan),
        gone=history.with_leavings(work.places.folder, within=_DAY) if plan.verb in BRINGING else (),
    )


def _jobs(work: Workspace, plan: Plan) -> EvalJobs | None:
    """Return what evaluates the systems of a plan, where `nix-eval-jobs` is installed, and nobody said no to it."""
    systems = [system for step in plan.steps if step.kind == "instantiate" for system in step.systems]
    if len(systems) <= 1 or work.limits.eval_jobs == "no" or not is_installed():
        return None
    words = work.reading.source.jobs(systems)
    workers = min(work.limits.of("evaluate"), len(systems))
    return EvalJobs(systems, words, workers=workers, memory=EVALUATION) if words else None


def _remember(work: Workspace, plan: Plan) -> None:
    """Put into the state file what systems evaluate to that no host needed: the others are there since they were built.

    Else `--no build` would take hosts back to what was built here before.
    """
    built = {system for step in plan.steps if step.kind == "register" for system in step.systems}
    evaluated = {one.system: (one.path, one.derivation) for one in plan.wanted if one.path and one.derivation}
    new = {name: paths for name, paths in evaluated.items() if name not in built}
    if plan.verb != "deploy" or not new or new.items() <= work.remembered().items():
        return
    try:
        remember(
            work.places,
            new,
            taken_along=any(str(work.places.state) in one.takes for one in plan.wanted),
            all_seen=evaluated.keys() >= work.inventory.systems.keys(),
        )
    except StateError as error:
        work.warn(str(error))


def _settle(claim: Claim | None, report: Report, journal: Journal, note: Note) -> None:
    """Note that what a key stands for is done. A dry activation has done nothing."""
    if claim is not None and report.ok and report.plan.options.type != "dry-activate":
        claim.settle(Done(run=journal.run, ended=report.ended, words=note.words))
