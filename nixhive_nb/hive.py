"""`Hive`: one loaded deployment, and every verb as a method. This is the Python API, and all that the faces use.

hive = Hive.load("example")
hive.status("web")
plan = hive.plan("deploy", "portico", "*")
plan.apply()
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import msgspec

from nixhive_nb import frames
from nixhive_nb.backend import NixSsh
from nixhive_nb.background import BackgroundRun, going
from nixhive_nb.deployment.load import check_platforms, load
from nixhive_nb.deployment.places import places_of
from nixhive_nb.deployment.state import believed, read_known
from nixhive_nb.deployment.targets import select_instances, select_systems
from nixhive_nb.errors import ConnectionFailed, OptionError, PlanStale, RunFailed, TargetError
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.generations import diffs_of, generations_of
from nixhive_nb.plan import plan as plans
from nixhive_nb.plan.drift import differences, gone
from nixhive_nb.plan.events import GOOD
from nixhive_nb.plan.options import How, options_of
from nixhive_nb.plan.planner import plan_build, plan_reboot, plan_rollback, plan_transfer
from nixhive_nb.plan.resume import confirmed, goals_of
from nixhive_nb.plan.status import TO_DEPLOY, standings
from nixhive_nb.plan.survey import evaluation_warnings, plan_checks, plan_evaluation, plan_survey, taken_along_text
from nixhive_nb.run import history
from nixhive_nb.run.carry import Note, carry_out, under_way, user_name
from nixhive_nb.run.everywhere import RunInterrupted, run_everywhere
from nixhive_nb.run.found import checks_of, survey_of
from nixhive_nb.run.journal import Journal
from nixhive_nb.run.limits import Limits
from nixhive_nb.run.once import Claim, Done
from nixhive_nb.run_report import RunReport
from nixhive_nb.ssh.access import Access
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.util.files import is_shared
from nixhive_nb.util.interrupts import interrupts_held
from nixhive_nb.util.log import cut_also, log_as_environment_says
from nixhive_nb.view.plan import plan_text
from nixhive_nb.view.plan_picture import mermaid, svg
from nixhive_nb.view.report import failure_text, headline

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    import pandas as pd

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.load import Loaded
    from nixhive_nb.deployment.places import Places
    from nixhive_nb.deployment.targets import Pattern, Targets
    from nixhive_nb.plan.facts import Generation
    from nixhive_nb.plan.plan import Options, Survey, Verb
    from nixhive_nb.plan.planner import Goal
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.everywhere import Listener
    from nixhive_nb.run.report import Report
    from nixhive_nb.ssh.pool import Connections

_log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_open: weakref.WeakSet[Hive] = weakref.WeakSet()
"""The deployments that are loaded: a plan is applied with the connections of its own."""
_NAMED = 5
"""How many instances a warning names."""


class Plan(plans.Plan, frozen=True, kw_only=True):
    """A plan that knows which deployment it is for. It is a plain value: it pickles, and compares by its content."""

    def apply(self, *, force: bool = False, reason: str = "") -> pd.DataFrame:
        """Carry it out as `Hive.apply` does, with the connections that are open already if there are any."""
        for hive in tuple(_open):
            if hive.serves(self):
                return hive.apply(self, force=force, reason=reason)
        with Hive.load(self.deployment, state=self.state, state_dir=self.state_dir or None) as own:
            return own.apply(self, force=force, reason=reason)

    def table(self) -> pd.DataFrame:
        """Return it as a DataFrame; columns as in `frames.plan_frame`."""
        return frames.plan_frame(self)

    def mermaid(self) -> str:
        """Return the picture of waves and relays as Mermaid text."""
        return mermaid(self)

    def svg(self) -> str:
        """Return the picture of waves and relays as a static SVG."""
        return svg(self)

    def __str__(self) -> str:
        return plan_text(self)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a survey is to find out, beside how the hosts are."""

    evaluate: bool = True
    measure: bool = False
    no: tuple[str, ...] = ()


def _on_one_reading(method: Callable[Concatenate[Hive, P], T]) -> Callable[Concatenate[Hive, P], T]:
    """Have a method work on one reading of the deployment from its start to its end, whatever becomes of the files."""

    @functools.wraps(method)
    def call(self: Hive, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.held():
            return method(self, *args, **kwargs)

    return call


class Hive:
    """One loaded deployment. Connections stay open from call to call; `close` ends them, and so does leaving Python."""

    def __init__(
        self,
        loaded: Loaded,
        path: str,
        *,
        places: Places,
        limits: Limits | None = None,
        show_trace: bool = False,
        named_dir: str = "",
    ) -> None:
        """Use `Hive.load`."""
        self.path = path
        self.places = places
        self.limits = limits or Limits()
        self.show_trace = show_trace
        self.warn: Callable[[str], None] = warnings.warn
        """Tells what is amiss without being a failure."""
        self.picked: Callable[[], Sequence[str]] = tuple
        """Gives the instances of `@picked`: a notebook's picker."""
        self.standings: dict[str, Standing] = {}
        """How instances stood when they were last asked; what was worked on since is not in it."""
        self._loaded = loaded
        self._named_dir = named_dir
        self._holding = 0
        self._access: Access | None = None
        self._disbelieved: list[str] = []
        """What was warned of in the state file."""

    @classmethod
    def load(
        cls,
        path: str | Path = "hive.nix",
        *,
        state: str | Path = ".hive.state",
        state_dir: str | Path | None = None,
        limits: Limits | None = None,
        show_trace: bool = False,
    ) -> Self:
        """Evaluate a deployment: a file, or a folder with a `default.nix`.

        `state` is the file with the results of builds, `state_dir` the folder of journals, outputs, `--once` keys and
        roots: by default a `.hive` that is there, else one below `$XDG_STATE_HOME` for this deployment. `limits` says
        how many hosts are worked on at once. Raises `DeploymentError`.
        """
        refused = log_as_environment_says()
        if refused:
            warnings.warn(refused, stacklevel=2)
        places = places_of(Path(path).expanduser(), state, state_dir)
        loaded = load(path, show_trace=show_trace, own=_unwatched(places))
        named = str(places.folder) if state_dir else ""
        hive = cls(loaded, str(path), places=places, limits=limits, show_trace=show_trace, named_dir=named)
        _open.add(hive)
        return hive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        inventory = self._loaded.inventory
        return f"Hive({self.path!r}: {len(inventory.systems)} systems, {len(inventory.instances)} instances)"

    def close(self) -> None:
        """Close every connection."""
        if self._access is not None:
            self._access.close()
            self._access = None

    @property
    def state_file(self) -> Path:
        """The file with the results of builds."""
        return self.places.state

    @property
    def state_dir(self) -> Path:
        """The folder of journals, outputs, keys of `--once` and roots; it is made when something is put there."""
        return self.places.folder

    def serves(self, plan: Plan) -> bool:
        """Return whether a plan is for this deployment and state file."""
        return (str(self._loaded.path), str(self.state_file)) == (plan.deployment, plan.state)

    # What is there

    @property
    def inventory(self) -> Inventory:
        """The evaluated deployment. It is evaluated anew only when a file that it depends on has changed."""
        with self.held() as inventory:
            return inventory

    @contextlib.contextmanager
    def held(self) -> Iterator[Inventory]:
        """Read the deployment, and keep to that: in this block no file is looked at again. Raises `DeploymentError`.

        Each method does so by itself, and each command for all that it calls.
        """
        if not self._holding and self._loaded.changed() is not None:
            self.reload()
        self._holding += 1
        try:
            yield self._loaded.inventory
        finally:
            self._holding -= 1

    @property
    def loaded(self) -> Inventory:
        """The deployment as it was evaluated last. No file is looked at: it may have changed since."""
        return self._loaded.inventory

    def reload(self) -> Inventory:
        """Evaluate the deployment anew."""
        # Where it is: the current folder may be another one by now.
        own = _unwatched(self.places)
        self._loaded = load(self._loaded.path, name=self.path, show_trace=self.show_trace, own=own)
        return self._loaded.inventory

    @_on_one_reading
    def targets(self, *patterns: Pattern) -> Targets:
        """Return the instances that patterns name, each pattern a wave, a list of patterns one. Raises `TargetError`.

        `@unreachable` and `@outdated` ask the hosts.
        """
        return select_instances(self.inventory, patterns, self._group)

    @_on_one_reading
    def instances(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the instances that patterns name; columns as in `frames.instances_frame`."""
        targets = self.targets(*patterns)
        return frames.instances_frame(self._routed(targets), targets)

    @_on_one_reading
    def systems(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the systems that patterns name; columns as in `frames.systems_frame`."""
        return frames.systems_frame(self.inventory, select_systems(self.inventory, _flat(patterns)), self._remembered())

    @_on_one_reading
    def document(self, report: Report | None = None, *, remembered: bool = False) -> dict[str, Any]:
        """Get the inventory as the JSON object that `build` prints, with the results of a run or of the state file."""
        known = self._remembered() if remembered else {}
        if report is not None:
            known |= {record.system: (record.result, record.derivation) for record in report.systems()}
        return self.inventory.to_json(known)

    # How it is

    @_on_one_reading
    def survey(
        self, *patterns: Pattern, measure: bool = False, no: Collection[str] = (), follow: Follow | None = None
    ) -> Survey:
        """Evaluate the systems of the targeted instances and ask these how they are, side by side, changing nothing.

        `measure` also finds out what each lacks of its system, where that is built already. Hosts that do not answer
        are told in the result.
        """
        return self._survey(self.targets(*patterns), Asked(measure=measure, no=tuple(no)), follow)

    @_on_one_reading
    def status(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Return how instances stand to what is wanted of them; columns as in `frames.status_frame`."""
        return frames.status_frame(self.survey(*patterns, no=no, follow=follow))

    @_on_one_reading
    def generations(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the generations of the system profiles; columns as in `frames.generations_frame`."""
        names = self.targets(*patterns).instances
        return frames.generations_frame(*self._generations(names))

    @_on_one_reading
    def check(self, *patterns: Pattern, follow: Follow | None = None) -> pd.DataFrame:
        """Run the checks of instances now; columns as in `frames.check_frame`. Does not raise for one that fails.

        Raises `OptionError` when none of them has a check.
        """
        targets = self.targets(*patterns)
        plan = plan_checks(self._routed(targets), targets)
        if not plan.steps:
            raise OptionError(
                f"None of these instances of {self.path} has a check. Write some: `systems.NAME.checks` or "
                "`instances.NAME.checks`."
            )
        return frames.check_frame(*checks_of(self._carry_out(plan, follow)))

    @_on_one_reading
    def diff(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Build what is wanted, and give what differs from what runs; columns as in `frames.diff_frame`.

        What runs needs to be on the host alone. Raises `RunFailed` when a system cannot be built.
        """
        targets = self.targets(*patterns)
        instances = self._loaded.inventory.instances
        systems = {name: instances[name].system for name in targets.instances}
        report = self._done(self.plan("build", sorted(set(systems.values())), no=no, follow=follow), follow)
        results = {record.system: record.result for record in report.systems()}
        survey = self._survey(targets, Asked(evaluate=False))
        wanted = {name: results[system] for name, system in systems.items()}
        found, errors = diffs_of(self._connections, survey.seen, wanted, parallel=self.limits.parallel)
        return frames.diff_frame(found, errors)

    def history(self, run: str = "") -> pd.DataFrame:
        """Return the runs of this folder, newest first (columns as in `frames.history_frame`), or what one run did.

        Raises `OptionError` for a run that is not there.
        """
        if not run:
            return frames.history_frame(history.runs(self.state_dir))
        return self.report(run).table()

    def report(self, run: str = "") -> RunReport:
        """Return the report of a run of this folder: of the last one, or that of an id. Raises `OptionError`."""
        return RunReport.of(history.report_of(history.find(self.state_dir, run)))

    # What is done

    @_on_one_reading
    def plan(
        self,
        verb: Verb,
        *patterns: Pattern,
        to: int = 0,
        measure: bool = False,
        follow: Follow | None = None,
        **how: Unpack[How],
    ) -> Plan:
        """Return what a verb would do, without doing it: deploy, push, build, rollback or reboot.

        The systems are evaluated and the hosts asked; `measure` also finds out how much must move. `to` is the
        generation that a rollback goes to; without it the one before. Raises `TargetError`, `OptionError`,
        `DeploymentError`, and `ConnectionFailed` where a rollback does not know where to go.
        """
        options = options_of(how, verb)
        no = tuple(how.get("no", ()))
        if verb == "build":
            return self._own(self._build_plan(patterns, options, no, follow), patterns, no)
        targets = self.targets(*patterns)
        asked = Asked(evaluate=verb in plans.BRINGING, measure=measure, no=no)
        survey = self._survey(targets, asked, follow)
        request = plans.Plan(
            verb=verb, source=self.path, systems=(), targets=(), steps=(), options=options, no=no, to=to
        )
        return self._own(self._instance_plan(request, targets, survey), patterns, no, to)

    @_on_one_reading
    def resume(self, run: str = "", *, follow: Follow | None = None) -> Plan:
        """Plan a deploy or push of this folder anew (the last one, or that of an id), without what hosts say is done.

        The plan has no targets when nothing is left to do. Raises `OptionError` when there is no such run.
        """
        entry = history.find(self.state_dir, run) if run else history.last(self.state_dir, plans.BRINGING)
        if entry.state == "running":
            raise OptionError(f"Run {entry.run} still goes on: wait until it has ended, or cancel it.")
        verb, patterns, how = history.request_of(entry)
        if verb not in plans.BRINGING:
            raise OptionError(f"Run {entry.run} was a {verb}; a deploy or a push can be resumed. Do it again.")
        options, no = options_of(how, verb), tuple(how.get("no", ()))
        targets = self.targets(*patterns)
        survey = self._survey(targets, Asked(measure=verb == "push", no=no), follow)
        done = confirmed(survey, verb, options)
        plan = plan_transfer(
            self._routed(targets), targets, verb, options, self._known(no), survey=survey, leave_out=done
        )
        return self._own(msgspec.structs.replace(plan, left_out=tuple(sorted(done))), patterns, no)

    @_on_one_reading
    def apply(self, plan: Plan, *, force: bool = False, reason: str = "", follow: Follow | None = None) -> pd.DataFrame:
        """Carry out a plan that was made before. Columns as in `frames.outcome_frame` (`build_frame` for a build).

        Raises `PlanStale`, saying what differs, when the deployment, a derivation or what a host runs has changed
        since (not with `force`), and `RunFailed` when not every instance is as wanted.
        """
        self.check_fits(plan, force=force, follow=follow)
        return self._done(plan, follow, Note(reason=reason), force=force).table()

    @_on_one_reading
    def check_fits(self, plan: Plan, *, force: bool = False, follow: Follow | None = None) -> None:
        """Raise `PlanStale` when a plan does not fit any more what is wanted, or how the hosts are.

        With `force` it has to be for this deployment, and all that it is about has to be there.
        """
        if not self.serves(plan):
            raise PlanStale(f"Plan {plan.digest} is for {plan.deployment}, and not for {self._loaded.path}.")
        self._check_there(plan)
        if force:
            return
        options, patterns = plan.options, plan.patterns
        if plan.verb == "build":
            fresh = self._build_plan(patterns, options, plan.no, follow)
        else:
            targets = self.targets(*patterns)
            survey = self._survey(targets, Asked(evaluate=plan.verb in plans.BRINGING, no=plan.no), follow)
            fresh = self._instance_plan(plan, targets, survey)
        found = differences(plan, fresh)
        if found:
            raise PlanStale(
                "\n".join(
                    [
                        f"Plan {plan.digest} does not fit any more:",
                        *(f"  {line}" for line in found),
                        "Make a new plan, or apply this one all the same with --force.",
                    ]
                )
            )

    def execute(
        self,
        plan: plans.Plan,
        *,
        follow: Follow | None = None,
        note: Note | None = None,
        claim: Claim | None = None,
        force: bool = False,
    ) -> RunReport:
        """Carry out a plan and give the report, whatever the outcome. The run is noted in `runs` of `state_dir`.

        A host that somebody else has changed since the plan was made is refused, unless with `force`.

        An interrupt (Ctrl-C) starts nothing more and lets running activations come to their end; a second one leaves
        at once. The interrupt then goes on up. A `claim` is settled when all is well.
        """
        note = note or Note()
        self._warn_of_others(plan)
        with contextlib.closing(self._journal(plan, note)) as journal:
            self._forget(plan)
            report = RunReport.of(self._carry_out(plan, follow, journal, force=force))
            _log.info("run %s has ended: %s", journal.run, headline(report))
            _settle(claim, report, journal, note)
            return report

    def begin(
        self,
        plan: plans.Plan,
        *,
        follow: Follow | None = None,
        note: Note | None = None,
        claim: Claim | None = None,
        force: bool = False,
    ) -> BackgroundRun:
        """Carry out a plan in the background, with connections of its own, and give its handle at once.

        `force` as with `execute`. A `claim` is taken over: it is settled when all is well, and let go of when the run
        has ended. A script has to `wait`: when Python ends, nothing more is started.
        """
        note = note or Note()
        self._warn_of_others(plan)
        self._forget(plan)
        own = Hive(self._loaded, self.path, places=self.places, limits=self.limits, show_trace=self.show_trace)
        with interrupts_held(), contextlib.ExitStack() as failed:
            last = failed.enter_context(contextlib.ExitStack())
            kept = last.enter_context(contextlib.closing(claim.handed_over())) if claim is not None else None
            journal = last.enter_context(contextlib.closing(self._journal(plan, note)))
            last.callback(own.close)

            def end(run: BackgroundRun) -> None:
                with last:
                    if journal.failure:
                        self.warn(f"The journal of run {journal.run} is not whole: {journal.failure}.")
                    _settle(kept, run.report, journal, note)

            carried = under_way(
                plan,
                own._backend(plan, force=force, run=journal.run),
                limits=own.limits,
                follow=follow,
                journal=journal,
                warn=self.warn,
            )
            run = BackgroundRun(journal.run, carried, end)
            failed.pop_all()  # the rest is for the end of the run
            return run

    def claim(self, key: str) -> Claim:
        """Hold a key of `--once`: what it stands for is done by us, or was done. Raises `OptionError`."""
        return Claim.take(self.places.make(), key)

    @_on_one_reading
    def build(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> pd.DataFrame:
        """Build the systems that patterns name; none means all. Columns as in `frames.build_frame`.

        Raises `RunFailed` when a system could not be built.
        """
        return self._done(self.plan("build", *patterns, follow=follow, **how), follow).table()

    @_on_one_reading
    def push(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> pd.DataFrame:
        """Build, and bring the systems to stores and instances. Columns as in `frames.outcome_frame`."""
        return self._done(self.plan("push", *patterns, follow=follow, **how), follow).table()

    @_on_one_reading
    def deploy(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> pd.DataFrame:
        """Build, push, and activate on each instance that patterns name, wave by wave.

        Columns as in `frames.outcome_frame`. Raises `RunFailed` when not every instance is as wanted.
        """
        return self._done(self.plan("deploy", *patterns, follow=follow, **how), follow).table()

    @_on_one_reading
    def rollback(
        self, *patterns: Pattern, to: int = 0, follow: Follow | None = None, **how: Unpack[How]
    ) -> pd.DataFrame:
        """Activate the generation before, or generation `to`, on each instance. Columns as in `outcome_frame`."""
        plan = self.plan("rollback", *patterns, to=to, follow=follow, **how)
        return self._done(plan, follow).table()

    @_on_one_reading
    def reboot(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> pd.DataFrame:
        """Reboot instances, wave by wave, and see that they run what they should. Columns as in `outcome_frame`."""
        return self._done(self.plan("reboot", *patterns, follow=follow, **how), follow).table()

    @_on_one_reading
    def run(
        self,
        patterns: Pattern,
        command: str = "",
        *,
        script: str = "",
        shell: str | Sequence[str] = (),
        sudo: bool = False,
        variables: Mapping[str, str] | None = None,
        stdin: bytes | str | None = None,
        timeout: float | None = None,
        each: bool = False,
        logs: bool = False,
        listener: Listener | None = None,
    ) -> pd.DataFrame:
        """Run a command, or a script, on each instance at once. Columns as in `frames.run_frame`.

        `command` goes to the login shell of the host, as with `ssh`; `script` is run by `/bin/sh`. `shell` is another
        program for either, with its first words. `sudo` has root run it, without a password. `variables` are in its
        environment and `stdin` is its input: neither stands in a list of processes. `timeout` is in seconds, for one
        host. With `each` it is one host after the other, up to the first that fails; the rest have rows that say so.

        Of each stream `limits.output` bytes are kept; of a longer one the beginning and the end, and a log in `output`
        of `state_dir` has all of it, up to `limits.log` bytes. `logs` keeps outputs there, too, that are only too long
        for a cell; `listener` hears what happens. Does not raise for a command that fails, or a host out of reach.
        Raises `OptionError` where there is neither a command nor a script, or both, for a name that cannot be one of a
        variable, for what is not text, and for a timeout that is none. An interrupt ends what runs and goes on up as
        `hosts_run.RunInterrupted`, whose `report` has the hosts that were done.
        """
        cut_also((variables or {}).values())
        errand = errand_of(command, script=script, shell=shell, sudo=sudo, variables=variables, stdin=stdin)
        names = self.targets(patterns).instances
        try:
            rows = run_everywhere(
                self._connections,
                names,
                errand,
                parallel=self.limits.parallel,
                timeout=timeout,
                each=each,
                logs=self.state_dir if logs else None,
                spill=self.state_dir,
                output=self.limits.output,
                log=self.limits.log,
                listener=listener,
                warn=self.warn,
            )
        except RunInterrupted as error:
            error.report = frames.run_frame(error.rows)
            raise
        return frames.run_frame(rows)

    @_on_one_reading
    def ssh_config(self) -> str:
        """Return the generated OpenSSH configuration; it extends the user's own."""
        # In a place that stays: the text names the file of host keys, and is used after we are gone. Nobody else's: ssh
        # takes no configuration of another user.
        folder = self.places.make()
        own = f"ssh-{os.getuid()}" if is_shared(folder) else "ssh"
        return write_ssh_files(self.inventory, folder / own).config.read_text()

    @_on_one_reading
    def ssh_argv(self, program: str, words: Iterable[str], *, batch: bool = False) -> list[str]:
        """Return the `ssh` or `scp` command with the generated configuration; `batch` for one that must not ask."""
        files = self._connected(self.inventory).files
        return [program, "-F", str(files.batch if batch else files.config), *words]

    def check_way(self, host: str) -> None:
        """Raise `ConnectionFailed` for a host that ssh would reach through itself, and so start itself without end."""
        self._connected(self.inventory).resolve.way(host)

    # How plans are made

    def _build_plan(
        self, patterns: Sequence[Pattern], options: Options, no: Sequence[str], follow: Follow | None
    ) -> plans.Plan:
        inventory = self.inventory
        known = self._known(no)
        systems = select_systems(inventory, _flat(patterns))
        new = [name for name in systems if not known.get(name)]
        if options.realise:
            check_platforms(inventory, new)
        survey = self._found(plan_evaluation(inventory, new), follow)
        return plan_build(inventory, systems, options, known, survey=survey)

    def _survey(self, targets: Targets, asked: Asked, follow: Follow | None = None) -> Survey:
        inventory, known = self._routed(targets), self._known(asked.no)
        if asked.evaluate:
            systems = dict.fromkeys(inventory.instances[name].system for name in targets.instances)
            check_platforms(inventory, [name for name in systems if not known.get(name)])
        options = options_of(How(), "survey")
        plan = plan_survey(inventory, targets, options, known, evaluate=asked.evaluate, measure=asked.measure)
        survey = self._found(plan, follow)
        if asked.evaluate:
            self.standings |= standings(survey)
        return survey

    def _found(self, plan: plans.Plan, follow: Follow | None) -> Survey:
        """Carry out a survey, and warn of what lies where a system takes it into the store."""
        survey = survey_of(self._carry_out(plan, follow))
        for text in (*evaluation_warnings(survey.wanted), *taken_along_text(survey.wanted)):
            self.warn(text)
        return survey

    def _instance_plan(self, request: plans.Plan, targets: Targets, survey: Survey) -> plans.Plan:
        """Return the plan that a request (the verb, the options, `no` and `to` of a plan) makes of a survey."""
        inventory, options = self._routed(targets), request.options
        if request.verb == "rollback":
            return plan_rollback(inventory, targets, options, self._goals(targets.instances, request.to), survey)
        if request.verb == "reboot":
            return plan_reboot(inventory, targets, options, survey)
        known = self._known(request.no)
        return plan_transfer(
            inventory, targets, request.verb, options, known, survey=survey, leave_out=request.left_out
        )

    def _own(self, plan: plans.Plan, patterns: Sequence[Pattern], no: Sequence[str], to: int = 0) -> Plan:
        fields = {name: getattr(plan, name) for name in plan.__struct_fields__}
        asked = tuple((one,) if isinstance(one, str) else tuple(one) for one in patterns)
        place = {"deployment": str(self._loaded.path), "state": str(self.state_file), "state_dir": self._named_dir}
        return Plan(**{**fields, **place, "patterns": asked, "no": tuple(no), "to": to})

    def _goals(self, names: Sequence[str], to: int) -> Mapping[str, Goal]:
        """Return where each instance goes back to. Raises `OptionError` where one has no such generation."""
        found, errors = self._generations(names)
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
        return goals_of(found, to)

    def _group(self, name: str) -> Collection[str]:
        """Return the instances of `@picked`, `@failed`, `@unreachable` or `@outdated`."""
        if name == "picked":
            return self._picked()
        if name == "failed":
            return self._failed()
        wanted = {"outdated": TO_DEPLOY, "unreachable": ("unreachable",)}[name]
        every = select_instances(self._loaded.inventory, ())
        survey = self._survey(every, Asked(evaluate=name == "outdated"))
        found = standings(survey)
        self._warn_of_unknown(name, found, survey)
        return {instance for instance, state in found.items() if state in wanted}

    def _warn_of_unknown(self, name: str, found: Mapping[str, str], survey: Survey) -> None:
        """Say which instances could be in a group as well, for all that is known."""
        unknown = {instance for instance, state in found.items() if state in ("unreachable", "unknown")}
        if name == "unreachable" or not unknown:
            return
        why = {one.instance: one.error for one in survey.seen}
        said = [f"  {one}: {why.get(one) or 'its system cannot be evaluated.'}" for one in found if one in unknown]
        more = [f"  and {len(said) - _NAMED} more"] if said[_NAMED:] else []
        self.warn("\n".join([f"@{name} is without those of which it is not known:", *said[:_NAMED], *more]))

    def _failed(self) -> Collection[str]:
        entry = history.last(self.state_dir, plans.ON_INSTANCES, ended=True)
        records = history.report_of(entry).instances()
        failed = {record.instance for record in records if record.outcome not in (*GOOD, None)}
        missing = failed - self._loaded.inventory.instances.keys()
        if missing:
            names = ", ".join(sorted(missing))
            self.warn(
                f"@failed is without {names}: run {entry.run} failed there, and {self.path} has no such instance."
            )
        return failed - missing

    def _picked(self) -> Collection[str]:
        names = self.picked()
        if not names:
            raise TargetError("Nothing is picked. In a notebook, `%hive targets` shows a picker for @picked.")
        gone = [name for name in names if name not in self._loaded.inventory.instances]
        if gone:
            raise TargetError(f"@picked: {', '.join(gone)} is not in {self.path} any more. Pick anew: %hive targets.")
        return names

    # How runs are made

    def _check_there(self, plan: plans.Plan) -> None:
        """Raise `PlanStale` for a plan with an instance or a system that the deployment does not have any more."""
        missing = gone(plan, self._loaded.inventory)
        if missing:
            raise PlanStale(
                "\n".join(
                    [
                        f"Plan {plan.digest} cannot be carried out: {self.path} does not have all of it any more:",
                        *(f"  {line}" for line in missing),
                        "Make a new plan.",
                    ]
                )
            )

    def _warn_of_others(self, plan: plans.Plan) -> None:
        """Say which instances a run in the background is at: of two that change one, the later finds it locked."""
        names = {target.instance for target in plan.targets} if plan.verb != "build" else set()
        for run in going():
            shared = [target.instance for target in run.plan.targets if target.instance in names]
            if shared and run.plan.deployment == plan.deployment and run.plan.verb != "build":
                told = f"{', '.join(shared[:_NAMED])}{f' and {len(shared) - _NAMED} more' if shared[_NAMED:] else ''}"
                self.warn(
                    f"Run {run.run} ({run.plan.verb}) goes on in the background, on {told} as well. What it is at then "
                    "is locked: wait for it (run.wait(), or --wait SECONDS), or cancel it (run.cancel())."
                )

    def _forget(self, plan: plans.Plan) -> None:
        for target in plan.targets:
            self.standings.pop(target.instance, None)

    def _done(
        self, plan: plans.Plan, follow: Follow | None, note: Note | None = None, *, force: bool = False
    ) -> RunReport:
        report = self.execute(plan, follow=follow, note=note, force=force)
        if not report.ok:
            raise RunFailed(failure_text(report), report)
        return report

    def _journal(self, plan: plans.Plan, note: Note) -> Journal:
        header = note.header(source=self.path, deployment=self._loaded.path)
        journal = Journal.begin(self.places.make(), header, plan, log=self.limits.log)
        _log.info("run %s begins: %s of plan %s, journal %s", journal.run, plan.verb, plan.digest, journal.path)
        return journal

    def _carry_out(
        self, plan: plans.Plan, follow: Follow | None, journal: Journal | None = None, *, force: bool = False
    ) -> Report:
        backend = self._backend(plan, force=force, run=journal.run if journal else "")
        report = carry_out(plan, backend, limits=self.limits, follow=follow, journal=journal, warn=self.warn)
        if journal is not None and journal.failure:
            self.warn(f"The journal of this run is not whole: {journal.failure}.")
        return report

    def _backend(self, plan: plans.Plan, *, force: bool = False, run: str = "") -> NixSsh:
        # The deployment as it was planned from: a file that changes now is for the next plan.
        inventory = self._loaded.inventory
        self._check_there(plan)
        access = self._connected(inventory)
        return NixSsh(
            inventory,
            self._loaded.path,
            access.files,
            access.connections,
            plan=plan,
            owner=f"{user_name()} ({plan.verb}, plan {plan.digest})",
            places=self.places,
            copies=self.limits.copies,
            show_trace=self.show_trace,
            force=force,
            run=run or "run",
        )

    @property
    def _connections(self) -> Connections:
        return self._connected(self._loaded.inventory).connections

    def _connected(self, inventory: Inventory) -> Access:
        if self._access is not None and not self._access.serves(inventory):
            self.close()
        if self._access is None:
            self._access = Access(inventory)
        return self._access

    def _generations(self, names: Sequence[str]) -> tuple[dict[str, tuple[Generation, ...]], dict[str, str]]:
        return generations_of(self._connections, names, parallel=self.limits.parallel)

    def _routed(self, targets: Targets) -> Inventory:
        """Get the deployment with the jumps of targeted instances as OpenSSH reads them, the user's own files too."""
        inventory = self._loaded.inventory
        return self._connected(inventory).routed(inventory, targets.instances)

    def _remembered(self) -> dict[str, tuple[str, str]]:
        found, wrong = believed(read_known(self.places))
        if wrong and wrong != self._disbelieved:
            self.warn(
                f"The state file {self.state_file} holds what is no path of the Nix store, which counts as not there: "
                f"{wrong[0]}{f' (and {len(wrong) - 1} more)' if wrong[1:] else ''}. Build it anew, or take it out."
            )
        self._disbelieved = wrong
        return {name: found.get(name, ("", "")) for name in self._loaded.inventory.systems}

    def _known(self, no: Collection[str]) -> dict[str, str]:
        return {name: result for name, (result, _) in self._remembered().items()} if "build" in no else {}


def _unwatched(places: Places) -> tuple[str, ...]:
    return (str(places.folder), str(places.state), f"{places.state}.lock")


def _settle(claim: Claim | None, report: Report, journal: Journal, note: Note) -> None:
    """Note that what a key stands for is done. A dry activation has done nothing."""
    if claim is not None and report.ok and report.plan.options.type != "dry-activate":
        claim.settle(Done(run=journal.run, ended=report.ended, words=note.words))


def _flat(patterns: Sequence[Pattern]) -> list[str]:
    return [name for one in patterns for name in ([one] if isinstance(one, str) else one)]
