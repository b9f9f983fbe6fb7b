"""How plans are made: which instances are meant, a survey of them, and of both the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from nixhive_nb import runs
from nixhive_nb.deployment import expressions as algebra
from nixhive_nb.deployment.platforms import check_platforms
from nixhive_nb.deployment.repository import is_in_history, revision_of
from nixhive_nb.deployment.revision import is_of
from nixhive_nb.deployment.targets import select_instances, select_systems, words_of
from nixhive_nb.errors import ConnectionFailed, OptionError, PlanStale, TargetError
from nixhive_nb.hosts.generations import generations_of
from nixhive_nb.plan.drift import differences
from nixhive_nb.plan.early import Early
from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.guards import check_allowed, check_named, guards, refusals
from nixhive_nb.plan.options import How, options_of
from nixhive_nb.plan.placing import is_elsewhere, places_of
from nixhive_nb.plan.plan import BRINGING, ON_INSTANCES, Options, Verb
from nixhive_nb.plan.planner import plan_build, plan_reboot, plan_rollback, plan_transfer
from nixhive_nb.plan.resume import goals_of
from nixhive_nb.plan.settled import confirmed
from nixhive_nb.plan.status import TO_DEPLOY, standings
from nixhive_nb.plan.survey import plan_evaluation, plan_survey
from nixhive_nb.plan.survey import targets_of as targets_in
from nixhive_nb.run import history, made_from
from nixhive_nb.workspace import unwatched

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nixhive_nb.deployment.revision import Revision
    from nixhive_nb.deployment.targets import Pattern, Targets
    from nixhive_nb.hosts.powers import Way
    from nixhive_nb.plan.facts import Seen
    from nixhive_nb.plan.plan import Plan, Survey
    from nixhive_nb.plan.planner import Goal
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.workspace import Workspace

_NAMED = 5
"""How many instances a warning names."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: with a survey of its targets it makes a plan, and later the same one again."""

    verb: Verb
    patterns: tuple[tuple[str, ...], ...]
    """Each element is a wave; none stands for all."""
    options: Options
    no: tuple[str, ...] = ()
    to: int = 0
    """For a rollback: the generation; 0 for the one before."""
    left_out: tuple[str, ...] = ()
    """Instances that a resumed run leaves out."""

    @classmethod
    def of(cls, verb: Verb, patterns: Sequence[Pattern], how: How, *, to: int = 0) -> Request:
        """Return what a user asks for. Raises `OptionError` for a value that makes no sense."""
        asked = tuple(map(words_of, patterns))
        if isinstance(to, bool) or not isinstance(to, int) or to < 0:
            raise OptionError(f"to={to!r} is not the number of a generation.")
        return cls(verb=verb, patterns=asked, options=options_of(how, verb), no=tuple(how.get("no", ())), to=to)

    @classmethod
    def behind(cls, plan: Plan) -> Request:
        """Return what a plan was made of."""
        return cls(
            verb=plan.verb,
            patterns=plan.patterns,
            options=plan.options,
            no=plan.no,
            to=plan.to,
            left_out=plan.left_out,
        )


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a survey is to find out, beside how the hosts are."""

    evaluate: bool = True
    measure: bool = False
    power: bool = False
    """Whether logins become root."""
    no: tuple[str, ...] = ()
    options: Options = Options()
    """Those of the plan that it is for: what is built elsewhere need not be what this machine can build."""
    verb: Verb | None = None
    """That of the plan, where what it will build may begin to be built meanwhile."""
    resumes: bool = False
    """Whether the plan goes on with a run, and leaves out what that has done."""
    places: bool = False
    """Whether the places that build are asked as well."""


def plan_of(work: Workspace, request: Request, *, measure: bool = False, follow: Follow | None = None) -> Plan:
    """Return the plan of a request: the systems are evaluated and the hosts asked. Raises as `Hive.plan`."""
    if request.verb == "build":
        return _complete(work, request, _build_steps(work, request, follow))
    if request.verb == "deploy":
        check_named(guards(request.options.refuse, work.inventory.refuse), request.patterns)
    targets = targets_of(work, request.patterns)
    asked = Asked(
        evaluate=request.verb in BRINGING,
        measure=measure,
        power=request.verb != "push",
        no=request.no,
        options=request.options,
        verb=request.verb if request.verb in BRINGING and not _may_be_refused(work, request) else None,
        places=request.verb in BRINGING,
    )
    return _complete(work, request, _steps(work, request, targets, survey(work, targets, asked, follow)))


def resumed(work: Workspace, run: str = "", *, refuse: Collection[str] = (), follow: Follow | None = None) -> Plan:
    """Return the plan of what is left of a deploy or push; see `Hive.resume`."""
    folder = work.places.folder
    entry = history.find(folder, run) if run else history.last(folder, BRINGING)
    if entry.state == "running":
        raise OptionError(f"Run {entry.run} is still running: wait until it has ended, or cancel it.")
    verb, patterns, how = history.request_of(entry)
    if verb not in BRINGING:
        raise OptionError(f"Run {entry.run} was a {verb}; a deploy or a push can be resumed. Do it again.")
    if refuse:
        how = {**how, "refuse": refuse}
    request = Request.of(verb, patterns, how)
    targets = targets_of(work, request.patterns)
    asked = Asked(
        measure=verb == "push",
        power=verb != "push",
        no=request.no,
        options=request.options,
        verb=None if _may_be_refused(work, request) else verb,
        resumes=True,
        places=True,
    )
    seen = survey(work, targets, asked, follow)
    done = confirmed(seen, verb, request.options)
    request = msgspec.structs.replace(request, left_out=tuple(sorted(done)))
    return _complete(work, request, _steps(work, request, targets, seen))


def check_fits(work: Workspace, plan: Plan, *, force: bool = False, follow: Follow | None = None) -> None:
    """Raise `PlanStale` when a plan does not fit any more; see `Hive.check_fits`."""
    if not work.serves(plan):
        raise PlanStale(f"Plan {plan.digest} is for {plan.deployment}, and not for {work.reading.path}.")
    work.check_there(plan)
    if force:
        return
    changed = differences(plan, plan_of(work, Request.behind(plan), follow=follow))
    if changed:
        raise PlanStale(
            "\n".join(
                [
                    f"Plan {plan.digest} does not fit any more:",
                    *(f"  {line}" for line in changed),
                    "Make a new plan, or apply this one anyway with --force.",
                ]
            )
        )


def survey(work: Workspace, targets: Targets, asked: Asked, follow: Follow | None = None) -> Survey:
    """Evaluate the systems of targets and ask these how they are, side by side, changing nothing."""
    inventory, known = work.routed(targets), work.known(asked.no)
    if asked.evaluate:
        systems = dict.fromkeys(inventory.instances[name].system for name in targets.instances)
        built = [name for name in systems if not known.get(name) and not is_elsewhere(inventory, name, asked.options)]
        check_platforms(inventory, built)
    options = options_of(How(), "survey")
    places = places_of(inventory, targets_in(inventory, targets), asked.options, known) if asked.places else {}
    plan = plan_survey(
        inventory, targets, options, known, evaluate=asked.evaluate, measure=asked.measure, places=places
    )
    early = None
    if asked.verb is not None and _is_in_parts(plan):
        here = [name for name in plan.systems if not is_elsewhere(inventory, name, asked.options)]
        early = Early(asked.verb, plan.targets, asked.options, here, resumes=asked.resumes)
    seen = _with_noted(work, runs.found(work, plan, follow, power=asked.power, early=early))
    if asked.power:
        seen = _with_passwords(work, seen)
    if asked.evaluate:
        work.standings.update(standings(seen))
    return seen


def prove(work: Workspace, names: Collection[str]) -> dict[str, str]:
    """Get the passwords that logins of instances are asked for, and see that they are right.

    Return why one does not help, by instance, empty where it does. Raises `PasswordRefused`.
    """
    powers = work.powers
    asking = [way for name in names if (way := way_of(work, name)) in powers.asking and not powers.password_of(way)]
    why: dict[str, str] = {}
    for label, some in _by_label(work, [name for name, _ in asking]).items():
        ways = [way for way in asking if way[0] in some]
        why |= powers.prove(work.connections, ways, label, parallel=work.limits.parallel)
    return why


def way_of(work: Workspace, name: str) -> Way:
    """Return an instance, and what the deployment says of becoming root there."""
    return name, tuple(work.inventory.instances[name].elevate)


def _by_label(work: Workspace, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the instances of each pattern that has a password of its own, the first that fits; "" has the others."""
    found: dict[str, list[str]] = {}
    left = list(names)
    for label in work.powers.named if left else ():
        meant = set(select_instances(work.inventory, [label]).instances)
        found[label] = [name for name in left if name in meant]
        left = [name for name in left if name not in meant]
    return {label: some for label, some in {**found, "": left}.items() if some}


def _with_passwords(work: Workspace, seen: Survey) -> Survey:
    """Return a survey in which those become root that a password was all they lacked. Raises `PasswordRefused`."""
    why = prove(work, [one.instance for one in seen.seen if one.powerless])
    if not why:
        return seen
    told = (msgspec.structs.replace(one, powerless=why.get(one.instance, one.powerless)) for one in seen.seen)
    return msgspec.structs.replace(seen, seen=tuple(told))


def _is_in_parts(plan: Plan) -> bool:
    """Return whether systems are evaluated while others are done: where one process evaluates all, none is."""
    return sum(step.kind == "instantiate" for step in plan.steps) > 1


def _may_be_refused(work: Workspace, request: Request) -> bool:
    """Return whether the plan may be refused for what only the whole of it tells: then nothing begins before it."""
    refused = guards(request.options.refuse, work.inventory.refuse)
    return request.verb == "deploy" and bool(refused & {"dirty", "older"})


def _with_noted(work: Workspace, seen: Survey) -> Survey:
    """Return a survey with the revisions that our runs have noted, where hosts do not say theirs."""
    silent = any(one.facts and not one.facts.revision for one in seen.seen)
    known = made_from.noted(work.places.folder) if silent else {}
    if not known:
        return seen
    told = (msgspec.structs.replace(one, noted=known.get(_runs(one), "")) for one in seen.seen)
    return msgspec.structs.replace(seen, seen=tuple(told))


def _runs(seen: Seen) -> str:
    return (seen.facts.base or seen.facts.current) if seen.facts else ""


def _complete(work: Workspace, request: Request, plan: Plan) -> Plan:
    """Return a plan with what was asked for, and of which deployment."""
    whole = msgspec.structs.replace(
        plan,
        revision=revision(work),
        patterns=request.patterns,
        no=request.no,
        to=request.to,
        left_out=request.left_out,
        deployment=str(work.reading.path),
        state=str(work.places.state),
        state_dir=work.named_dir,
    )
    refused = _refusals(work, whole)
    return msgspec.structs.replace(whole, warnings=(*whole.warnings, *refused)) if refused else whole


def revision(work: Workspace) -> Revision | None:
    """Return the revision of the deployment now; None where it is in no repository."""
    return revision_of(work.reading.folder, unwatched(work.places))


def check_guards(work: Workspace, plan: Plan) -> None:
    """Raise `PlanRefused` for a deploy that the deployment, or its own command, refuses."""
    check_allowed(_refusals(work, plan))


def _refusals(work: Workspace, plan: Plan) -> tuple[str, ...]:
    refused = guards(plan.options.refuse, work.inventory.refuse)
    if plan.verb != "deploy" or not refused & {"dirty", "older"}:
        return ()
    path = work.reading.folder
    return refusals(plan, refused, revision(work), lambda commit, of: is_in_history(path, commit, of))


def _build_steps(work: Workspace, request: Request, follow: Follow | None) -> Plan:
    inventory, known = work.inventory, work.known(request.no)
    systems = select_systems(inventory, request.patterns)
    new = [name for name in systems if not known.get(name)]
    if request.options.realise:
        check_platforms(inventory, new)
    evaluation = plan_evaluation(inventory, new)
    may_begin = request.options.realise and _is_in_parts(evaluation)
    early = Early("build", (), request.options, new) if may_begin else None
    seen = runs.found(work, evaluation, follow, early=early)
    return plan_build(inventory, systems, request.options, known, survey=seen)


def _steps(work: Workspace, request: Request, targets: Targets, seen: Survey) -> Plan:
    inventory, options = work.routed(targets), request.options
    if request.verb == "rollback":
        return plan_rollback(inventory, targets, options, _goals(work, targets.instances, request.to), seen)
    if request.verb == "reboot":
        return plan_reboot(inventory, targets, options, seen)
    known = work.known(request.no)
    return plan_transfer(inventory, targets, request.verb, options, known, survey=seen, leave_out=request.left_out)


def _goals(work: Workspace, names: Sequence[str], to: int) -> Mapping[str, Goal]:
    """Return where each instance goes back to. Raises `OptionError` where one has no such generation."""
    generations, errors = generations_of(work.connections, names, parallel=work.limits.parallel)
    if errors:
        raise ConnectionFailed(
            "\n".join(
                [
                    f"{len(errors)} of {len(names)} instances cannot be asked for their generations:",
                    *(f"  {error}" for error in errors.values()),
                    "Leave them out: '@(PATTERN and not @unreachable)'.",
                ]
            )
        )
    return goals_of(generations, to)


# Which instances are meant


def targets_of(work: Workspace, patterns: Sequence[Pattern]) -> Targets:
    """Return the instances that patterns name. Raises `TargetError`. `@unreachable` and `@outdated` ask the hosts."""
    return select_instances(work.inventory, patterns, lambda name: _group(work, name))


def _group(work: Workspace, name: str) -> Collection[str]:
    """Return the instances of `@picked`, `@failed`, `@unreachable` or `@outdated`."""
    if name == "picked":
        return _picked(work)
    if name == "failed":
        return _failed(work)
    if name.startswith(algebra.REVISION):
        return _of_revision(work, name.removeprefix(algebra.REVISION))
    wanted = {"outdated": TO_DEPLOY, "unreachable": ("unreachable",)}[name]
    seen = survey(work, select_instances(work.inventory, ()), Asked(evaluate=name == "outdated"))
    states = standings(seen)
    _warn_of_unknown(work, name, states, seen)
    return {instance for instance, state in states.items() if state in wanted}


def _of_revision(work: Workspace, wanted: str) -> Collection[str]:
    """Return the instances that run what was made from a revision: a beginning of it, `dirty` or `unknown`."""
    seen = survey(work, select_instances(work.inventory, ()), Asked(evaluate=False)).seen
    silent = [one.instance for one in seen if one.facts is None]
    if silent:
        named = f"{', '.join(silent[:_NAMED])}{f' and {len(silent) - _NAMED} more' if silent[_NAMED:] else ''}"
        work.warn(f"@(revision = {wanted}) is without those that could not be asked: {named}.")
    return {one.instance for one in seen if one.facts is not None and is_of(one.revision, wanted)}


def _warn_of_unknown(work: Workspace, name: str, states: Mapping[str, str], seen: Survey) -> None:
    """Say which instances could be in a group as well, for all that is known."""
    unknown = {instance for instance, state in states.items() if state in ("unreachable", "unknown")}
    if name == "unreachable" or not unknown:
        return
    why = {one.instance: one.error for one in seen.seen}
    said = [f"  {one}: {why.get(one) or 'its system cannot be evaluated.'}" for one in states if one in unknown]
    more = [f"  and {len(said) - _NAMED} more"] if said[_NAMED:] else []
    work.warn("\n".join([f"@{name} is without those of which it is not known:", *said[:_NAMED], *more]))


def _failed(work: Workspace) -> Collection[str]:
    entry = history.last(work.places.folder, ON_INSTANCES, ended=True)
    records = history.report_of(entry).instances()
    failed = {record.instance for record in records if record.outcome not in (*GOOD, None)}
    missing = failed - work.inventory.instances.keys()
    if missing:
        names = ", ".join(sorted(missing))
        work.warn(f"@failed is without {names}: run {entry.run} failed there, and {work.path} has no such instance.")
    return failed - missing


def _picked(work: Workspace) -> Collection[str]:
    names = work.picked()
    if not names:
        raise TargetError("Nothing is picked. In a notebook, `%hive targets` shows a picker for @picked.")
    gone = [name for name in names if name not in work.inventory.instances]
    if gone:
        raise TargetError(f"@picked: {', '.join(gone)} is not in {work.path} any more. Pick again: %hive targets.")
    return names
