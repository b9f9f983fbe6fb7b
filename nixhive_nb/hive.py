"""`Hive`: one loaded deployment, and every verb as a method. This is the Python API, and all that the faces use.

hive = Hive.load("example")
hive.status("web")
plan = hive.plan("deploy", "portico", "*")
hive.apply(plan).frame
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import warnings
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from nixhive_nb import doctor, planning, queries, runs
from nixhive_nb.deployment.load import load
from nixhive_nb.deployment.places import places_of
from nixhive_nb.deployment.sources.source import Evaluation
from nixhive_nb.deployment.sources.where import deployment_path
from nixhive_nb.errors import OptionError
from nixhive_nb.frames import doctor_frame
from nixhive_nb.hosts.command import errand_of
from nixhive_nb.hosts.password import Password
from nixhive_nb.plan.options import check_taken, check_verb, steps_left_out
from nixhive_nb.planning import Asked, Request
from nixhive_nb.run.carry import Note
from nixhive_nb.run.limits import Limits
from nixhive_nb.run.once import Claim
from nixhive_nb.ssh.aliases import with_aliases
from nixhive_nb.ssh.config import write_ssh_files
from nixhive_nb.util.files import is_shared
from nixhive_nb.util.log import cut_also, log_as_environment_says
from nixhive_nb.workspace import Reading, Workspace, unwatched

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.targets import Pattern, Targets
    from nixhive_nb.handle import RunHandle
    from nixhive_nb.plan.examined import Diagnosis
    from nixhive_nb.plan.options import How
    from nixhive_nb.plan.plan import Plan, Survey, Verb
    from nixhive_nb.plan.status import Standing
    from nixhive_nb.run.carry import Follow
    from nixhive_nb.run.everywhere import Listener
    from nixhive_nb.run.report import Report
    from nixhive_nb.ssh.carrier import Carrier
    from nixhive_nb.workers.cluster import Cluster
    from nixhive_nb.workers.placing import Placed

P = ParamSpec("P")
T = TypeVar("T")


def _on_one_reading(method: Callable[Concatenate[Hive, P], T]) -> Callable[Concatenate[Hive, P], T]:
    """Have a method work on one reading of the deployment from its start to its end, whatever becomes of the files."""

    @functools.wraps(method)
    def call(self: Hive, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.held():
            return method(self, *args, **kwargs)

    return call


def _check_limits(limits: object) -> None:
    if not isinstance(limits, Limits | None):
        raise OptionError(f"limits is {limits!r}, and no Limits: write limits=Limits(parallel=…).")


def _cluster_at(on: object, tls: str | None) -> Cluster:
    from nixhive_nb.workers.cluster import cluster_at  # noqa: PLC0415 - few commands need it

    return cluster_at(on, tls)


class Hive:
    """One loaded deployment. Connections stay open from call to call; `close` ends them, and so does leaving Python."""

    def __init__(self, work: Workspace) -> None:
        """Use `Hive.load`."""
        self._work = work

    @classmethod
    def load(
        cls,
        path: str | Path = "hive.nix",
        *,
        state: str | Path = ".hive.state",
        state_dir: str | Path | None = None,
        limits: Limits | None = None,
        show_trace: bool = False,
        warn: Callable[[str], None] = warnings.warn,
        picked: Callable[[], Sequence[str]] = tuple,
        format: str | None = None,  # noqa: A002 - the word of the option
        impure: bool = False,
        override_inputs: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        anew: bool = True,
        on: object = None,
        tls: str | None = None,
    ) -> Self:
        """Evaluate a deployment: a file, a folder with a `default.nix`, `hive.nix` or `flake.nix`, or a flake.

        `format` is `hive` (ours), `flake`, `colmena`, `deploy-rs` or `morph`; without it that is found out. For a
        flake, `impure` lets it look outside of itself, and `override_inputs` has other flakes by the names of inputs.
        `options` are settings of Nix for evaluations. Unless it is to be evaluated `anew`, what a flake evaluated to
        in an earlier program is taken where nothing that its evaluation may look at has changed since.

        `state` is the file with the results of builds, `state_dir` the folder of journals, outputs, `--once` keys and
        roots: by default a `.hive` that is there, else one below `$XDG_STATE_HOME` for this deployment. `limits` says
        how many hosts are worked on at once. `warn` is told what is amiss without being a failure, `picked` gives the
        instances of `@picked`. `on` is the address of a Dask scheduler, or a client of one, whose workers reach the
        hosts, `tls` the folder with the certificates for it: see `using`. Raises `DeploymentError`.
        """
        refused = log_as_environment_says()
        if refused:
            warnings.warn(refused, stacklevel=2)
        _check_limits(limits)
        how = Evaluation.of(format=format, impure=impure, override_inputs=override_inputs, options=options)
        places = places_of(deployment_path(path), state, state_dir)
        own = unwatched(places)
        work = Workspace(
            reading=Reading(load(path, how=how, show_trace=show_trace, own=own, anew=anew), str(path), own, how),
            path=str(path),
            places=places,
            limits=limits or Limits(),
            show_trace=show_trace,
            warn=warn,
            picked=picked,
            named_dir=str(places.folder) if state_dir else "",
        )
        return cls(work).using(on=on, tls=tls)

    def using(
        self,
        *,
        limits: Limits | None = None,
        show_trace: bool | None = None,
        password: Callable[[str, Sequence[str]], str] | None = None,
        password_for: Sequence[str] = (),
        on: object = None,
        tls: str | None = None,
    ) -> Self:
        """Return the same deployment with other limits, on the same connections; what is None stays as it is.

        `password` gives the password that sudo asks logins for: it is called when one is needed, with "" and the
        instances that ask for one, or with the pattern of `password_for` that has one of its own. What it gives is
        kept in memory until `forget_passwords` or `close` of the `Hive` that this returns. A wrong one raises
        `PasswordRefused`.

        `on` is the address of a Dask scheduler (`tls://HOST:PORT`), or a client of one: workers of `nix-hive worker`
        there reach the hosts that they are near, and "" is this machine again. `tls` is the folder with ca.pem,
        cert.pem and key.pem. A password cannot be given then: it would pass the scheduler. Raises `OptionError`,
        `MissingProgram` without the extra `nixhive_nb[dask]`, and `ConnectionFailed`.
        """
        _check_limits(limits)
        work = self._work
        if tls is not None and not (on or (on is None and work.cluster)):
            raise OptionError(
                "--tls has the certificates for --on ADDRESS: name the scheduler as well, or leave it out."
            )
        if on is not None:
            work = dataclasses.replace(work, cluster=_cluster_at(on, tls) if on != "" else None)
        if work.cluster is not None and password is not None:
            raise OptionError(
                "With --on no password can be given: it would pass the scheduler, and whoever reaches that. Have the "
                "login become root without one, or leave --on out."
            )
        if password is not None:
            powers = work.powers.for_command(lambda label, names: Password(password(label, names)), password_for)
            work = dataclasses.replace(work, powers=powers)
        traced = work.show_trace if show_trace is None else show_trace
        other = dataclasses.replace(work, limits=limits or work.limits, show_trace=traced)
        return self if other == self._work else type(self)(other)

    def forget_passwords(self) -> None:
        """Wipe the passwords that were asked for, or have a run in the background do so when it has ended."""
        self._work.powers.let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        inventory = self.loaded
        return f"Hive({self.path!r}: {len(inventory.systems)} systems, {len(inventory.instances)} instances)"

    def close(self) -> None:
        """Close every connection, and wipe passwords."""
        self._work.close()
        self._work.powers.let_go()

    @property
    def path(self) -> str:
        """The deployment, as it was named."""
        return self._work.path

    @property
    def file(self) -> Path:
        """The file of the deployment, whatever the current folder."""
        return self._work.places.deployment

    @property
    def limits(self) -> Limits:
        """How much is done at once."""
        return self._work.limits

    @property
    def state_file(self) -> Path:
        """The file with the results of builds."""
        return self._work.places.state

    @property
    def state_dir(self) -> Path:
        """The folder of journals, outputs, keys of `--once` and roots; it is made when something is put there."""
        return self._work.places.folder

    @property
    def standings(self) -> dict[str, Standing]:
        """How instances stood when they were last asked; what was worked on since is not in it."""
        return self._work.standings

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
        with self._work.reading.held(show_trace=self._work.show_trace) as inventory:
            yield inventory

    @property
    def loaded(self) -> Inventory:
        """The deployment as it was evaluated last. No file is looked at: it may have changed since."""
        return self._work.inventory

    def reload(self) -> Inventory:
        """Evaluate the deployment again."""
        return self._work.reading.again(show_trace=self._work.show_trace)

    @_on_one_reading
    def targets(self, *patterns: Pattern) -> Targets:
        """Return the instances that patterns name, each pattern a wave, a list of patterns one. Raises `TargetError`.

        `@unreachable` and `@outdated` ask the hosts.
        """
        return planning.targets_of(self._work, patterns)

    @_on_one_reading
    def instances(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the instances that patterns name; columns as in `frames.instances_frame`."""
        return queries.instances(self._work, patterns)

    @_on_one_reading
    def systems(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the systems that patterns name; columns as in `frames.systems_frame`."""
        return queries.systems(self._work, patterns)

    @_on_one_reading
    def document(self, report: Report | None = None, *, remembered: bool = False) -> dict[str, Any]:
        """Get the inventory as the JSON object that `build` prints, with the results of a run or of the state file."""
        return queries.document(self._work, report, remembered=remembered)

    @_on_one_reading
    def converted(self, folder: str | Path | None = None) -> str:
        """Return a deployment in another format as one in ours: a `hive.nix`, or of a flake its output `nixhive`.

        What cannot be said there is in comments. `folder` is where the text is to lie, by default where the deployment
        does. Raises `OptionError` for one that is in our format.
        """
        return queries.converted(self._work, folder)

    # How it is

    @_on_one_reading
    def survey(
        self, *patterns: Pattern, measure: bool = False, no: Collection[str] = (), follow: Follow | None = None
    ) -> Survey:
        """Evaluate the systems of the targeted instances and ask these how they are, side by side, changing nothing.

        `measure` also finds out what each lacks of its system, where that is built already. Hosts that do not answer
        are told in the result.
        """
        asked = Asked(measure=measure, no=steps_left_out(no))
        return planning.survey(self._work, self.targets(*patterns), asked, follow)

    @_on_one_reading
    def status(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Return how instances stand to what is wanted of them; columns as in `frames.status_frame`."""
        return queries.status(self._work, patterns, no=no, follow=follow)

    @_on_one_reading
    def carriers(self, *patterns: Pattern) -> dict[str, Carrier]:
        """Return what carries the commands of instances, and why, by their names. No host is asked.

        It is as somebody has said, as the ssh options of an instance ask for, or as its last login has shown. One whose
        ssh options cannot be read is left out.
        """
        return queries.carriers(self._work, patterns)

    def placed(self, plan: Plan) -> tuple[Placed, ...]:
        """Return the subtrees of a plan, each on the worker that carries it now; none without workers."""
        return self._work.placed(plan)

    @_on_one_reading
    def generations(self, *patterns: Pattern) -> pd.DataFrame:
        """Return the generations of the system profiles; columns as in `frames.generations_frame`."""
        return queries.generations(self._work, patterns)

    @_on_one_reading
    def check(self, *patterns: Pattern, follow: Follow | None = None) -> pd.DataFrame:
        """Run the checks of instances now; columns as in `frames.check_frame`. Does not raise for one that fails.

        Raises `OptionError` when none of them has a check.
        """
        return queries.check(self._work, patterns, follow=follow)

    @_on_one_reading
    def doctor(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Return whether instances can be deployed to, and what is amiss; columns as in `frames.doctor_frame`.

        Nothing is changed. A host that cannot be asked is a row with the reason, and the lines that would help.
        """
        return doctor_frame(self.diagnose(*patterns, no=no, follow=follow))

    @_on_one_reading
    def diagnose(
        self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None
    ) -> tuple[Diagnosis, ...]:
        """Return the same as values: of each instance how it is reached, what it says, and its shortcomings."""
        return doctor.diagnose(self._work, patterns, no=steps_left_out(no), follow=follow)

    @_on_one_reading
    def diff(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Build what is wanted, and give what differs from what runs; columns as in `frames.diff_frame`.

        What runs needs to be on the host alone. Raises `RunFailed` when a system cannot be built.
        """
        return queries.diff(self._work, patterns, no=no, follow=follow)

    def history(self, run: str = "") -> pd.DataFrame:
        """Return the runs of this folder, newest first (columns as in `frames.history_frame`), or what one run did.

        Raises `OptionError` for a run that is not there.
        """
        return queries.history(self._work, run)

    def report(self, run: str = "") -> Report:
        """Return the report of a run of this folder: of the last one, or that of an id. Raises `OptionError`."""
        return queries.report(self._work, run)

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
        check_verb(verb)
        check_taken(how, verb)
        return planning.plan_of(self._work, Request.of(verb, patterns, how, to=to), measure=measure, follow=follow)

    @contextlib.contextmanager
    def building_ahead(self) -> Iterator[None]:
        """Have what a plan will build begin to be built in this block, while the plan is made.

        It is for a build, push or deploy that is planned and carried out in the block, without being looked at in
        between. What no run took over is ended with the block.
        """
        with runs.building_ahead(self._work):
            yield

    @_on_one_reading
    def resume(self, run: str = "", *, refuse: Collection[str] = (), follow: Follow | None = None) -> Plan:
        """Plan a deploy or push of this folder anew (the last one, or that of an id), without what hosts say is done.

        Its options are those of that run, but for `refuse`, where that is given.

        The plan has no targets when nothing is left to do. Raises `OptionError` when there is no such run.
        """
        return planning.resumed(self._work, run, refuse=refuse, follow=follow)

    @_on_one_reading
    def apply(self, plan: Plan, *, force: bool = False, reason: str = "", follow: Follow | None = None) -> Report:
        """Carry out a plan that was made before.

        Raises `PlanStale`, saying what differs, when the deployment, a derivation or what a host runs has changed
        since (not with `force`), and `RunFailed` when not every instance is as wanted.
        """
        self.check_fits(plan, force=force, follow=follow)
        return self.execute(plan, follow=follow, note=Note(reason=reason), force=force).raise_if_failed()

    @_on_one_reading
    def check_fits(self, plan: Plan, *, force: bool = False, follow: Follow | None = None) -> None:
        """Raise `PlanStale` when a plan does not fit any more what is wanted, or how the hosts are.

        With `force` it has to be for this deployment, and all that it is about has to be there.
        """
        planning.check_fits(self._work, plan, force=force, follow=follow)

    def execute(
        self,
        plan: Plan,
        *,
        follow: Follow | None = None,
        note: Note | None = None,
        claim: Claim | None = None,
        force: bool = False,
    ) -> Report:
        """Carry out a plan and give the report, whatever the outcome. The run is noted in `runs` of `state_dir`.

        A host that somebody else has changed since the plan was made is refused, unless with `force`. Raises
        `PlanRefused` where the deployment refuses it (see `refuse` there).

        An interrupt (Ctrl-C) starts nothing more and lets running activations come to their end; a second one leaves
        at once. The interrupt is then raised. A `claim` is settled when all is well.
        """
        planning.check_guards(self._work, plan)
        return runs.execute(self._work, plan, follow=follow, note=note, claim=claim, force=force)

    def begin(
        self,
        plan: Plan,
        *,
        follow: Follow | None = None,
        note: Note | None = None,
        claim: Claim | None = None,
        force: bool = False,
    ) -> RunHandle:
        """Carry out a plan in the background, with connections of its own, and give its handle at once.

        `force` as with `execute`. A `claim` is taken over: it is settled when all is well, and let go of when the run
        has ended. A script has to `wait`: when Python ends, nothing more is started.
        """
        planning.check_guards(self._work, plan)
        return runs.begin(self._work, plan, follow=follow, note=note, claim=claim, force=force)

    def claim(self, key: str) -> Claim:
        """Hold a key of `--once`: what it stands for is done by us, or was done. Raises `OptionError`."""
        return Claim.take(self._work.places.make(), key)

    def build(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> Report:
        """Build the systems that patterns name; none means all.

        Raises `RunFailed` when a system could not be built.
        """
        return self._do("build", patterns, how, follow)

    def push(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> Report:
        """Build, and bring the systems to stores and instances. Raises `RunFailed` as `deploy`."""
        return self._do("push", patterns, how, follow)

    def deploy(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> Report:
        """Build, push, and activate on each instance that patterns name, wave by wave.

        Raises `RunFailed` when not every instance is as wanted.
        """
        return self._do("deploy", patterns, how, follow)

    def rollback(self, *patterns: Pattern, to: int = 0, follow: Follow | None = None, **how: Unpack[How]) -> Report:
        """Activate the generation before, or generation `to`, on each instance. Raises `RunFailed` as `deploy`."""
        return self._do("rollback", patterns, how, follow, to=to)

    def reboot(self, *patterns: Pattern, follow: Follow | None = None, **how: Unpack[How]) -> Report:
        """Reboot instances, wave by wave, and see that they run what they should. Raises `RunFailed` as `deploy`."""
        return self._do("reboot", patterns, how, follow)

    @_on_one_reading
    def _do(self, verb: Verb, patterns: Sequence[Pattern], how: How, follow: Follow | None, *, to: int = 0) -> Report:
        with self.building_ahead():
            plan = self.plan(verb, *patterns, to=to, follow=follow, **how)
            return self.execute(plan, follow=follow).raise_if_failed()

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
        program for either, with its first words. `sudo` has root run it. `variables` are in its
        environment and `stdin` is its input: neither stands in a list of processes. `timeout` is in seconds, for one
        host. With `each` it is one host after the other, up to the first that fails; the rest have rows that say so.

        Of each stream `limits.output` bytes are kept; of a longer one the beginning and the end, and a log in `output`
        of `state_dir` has all of it, up to `limits.log` bytes. `logs` keeps outputs there, too, that are only too long
        for a cell; `listener` hears what happens. Does not raise for a command that fails, or a host out of reach.
        Raises `OptionError` where there is neither a command nor a script, or both, for a name that cannot be one of a
        variable, for what is not text, and for a timeout that is none. An interrupt ends what runs and is raised as
        `RunInterrupted`, whose `frame` has the hosts that were done.
        """
        cut_also((variables or {}).values())
        errand = errand_of(command, script=script, shell=shell, sudo=sudo, variables=variables, stdin=stdin)
        return queries.run_on(self._work, patterns, errand, timeout=timeout, each=each, logs=logs, listener=listener)

    # OpenSSH

    @_on_one_reading
    def ssh_config(self) -> str:
        """Return the generated OpenSSH configuration; it extends the user's own."""
        # In a place that stays: the text names the file of host keys, and is used after we are gone. Nobody else's: ssh
        # takes no configuration of another user.
        folder = self._work.places.make()
        own = f"ssh-{os.getuid()}" if is_shared(folder) else "ssh"
        inventory = with_aliases(self.inventory, folder / own)
        return write_ssh_files(inventory, folder / own).config.read_text()

    @_on_one_reading
    def ssh_argv(self, program: str, words: Iterable[str], *, batch: bool = False) -> list[str]:
        """Return the `ssh` or `scp` command with the generated configuration; `batch` for one that must not ask."""
        files = self._work.access.files
        return [program, "-F", str(files.batch if batch else files.config), *words]

    @_on_one_reading
    def check_way(self, host: str) -> None:
        """Raise `ConnectionFailed` for a host that ssh would reach through itself, and so start itself without end."""
        self._work.access.resolve.way(host)
