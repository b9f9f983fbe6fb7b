"""`Hive`: one loaded deployment, and every verb as a method. This is the Python API, and all that the faces use.

hive = Hive.load("example")
hive.instances("web")
hive.deploy("portico", "*")
"""

from __future__ import annotations

import contextlib
import shutil
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from nixhive_nb import frames
from nixhive_nb.backend.nix_ssh import NixSsh
from nixhive_nb.backend.ssh_config import private_folder, write_ssh_files
from nixhive_nb.deployment.load import check_platforms, load
from nixhive_nb.deployment.targets import select_instances, select_systems
from nixhive_nb.errors import HiveError, OptionError, RunFailed
from nixhive_nb.plan.engine import Limits, Run
from nixhive_nb.plan.plan import Options
from nixhive_nb.plan.planner import plan_build, plan_transfer
from nixhive_nb.plan.summary import failure_text
from nixhive_nb.state import read_state
from nixhive_nb.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from contextlib import AbstractContextManager

    import pandas as pd

    from nixhive_nb.backend.connections import Connections
    from nixhive_nb.backend.ssh_config import SshFiles
    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.load import Loaded
    from nixhive_nb.deployment.targets import Pattern, Targets
    from nixhive_nb.plan.plan import Plan, SwitchType, Verb
    from nixhive_nb.plan.report import Report

    Follow = Callable[[Run], AbstractContextManager[object]]
    """Shows a run from its start to its end."""

TYPES = ("switch", "boot", "test", "dry-activate")
STEPS = ("build", "realise")
PARALLEL = 32
_GRACE = 5.0
"""Seconds that a run has to end after a second interrupt."""
_READ_SCRIPT = "exec /bin/sh -c 'hive_script=$(cat); eval \"$hive_script\" </dev/null'"


class Hive:
    """One loaded deployment. Connections stay open from call to call; `close` ends them, and so does leaving Python."""

    def __init__(
        self, loaded: Loaded, path: str, *, state: str | Path, parallel: int = PARALLEL, show_trace: bool = False
    ) -> None:
        """Use `Hive.load`."""
        if parallel < 1:
            raise OptionError(f"--parallel {parallel}: it must be at least 1.")
        self.path = path
        self.state_file = Path(state).absolute()
        self.parallel = parallel
        self.show_trace = show_trace
        self._loaded = loaded
        self._ssh: _Ssh | None = None

    @classmethod
    def load(
        cls,
        path: str | Path = "hive.nix",
        *,
        state: str | Path = ".hive.state",
        parallel: int = PARALLEL,
        show_trace: bool = False,
    ) -> Self:
        """Evaluate a deployment: a file, or a folder with a `default.nix`.

        `parallel` limits how many hosts are worked on at once. Raises `DeploymentError`.
        """
        loaded = load(path, show_trace=show_trace)
        return cls(loaded, str(path), state=state, parallel=parallel, show_trace=show_trace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        inventory = self._loaded.inventory
        return f"Hive({self.path!r}: {len(inventory.systems)} systems, {len(inventory.instances)} instances)"

    def close(self) -> None:
        """Close every connection."""
        if self._ssh is not None:
            self._ssh.close()
            self._ssh = None

    # What is there

    @property
    def inventory(self) -> Inventory:
        """The evaluated deployment. It is evaluated anew only when a file that it depends on has changed."""
        if self._loaded.changed() is not None:
            self.reload()
        return self._loaded.inventory

    def reload(self) -> Inventory:
        """Evaluate the deployment anew."""
        self._loaded = load(self.path, show_trace=self.show_trace)
        return self._loaded.inventory

    def targets(self, *patterns: Pattern) -> Targets:
        """Give the instances that patterns name, each pattern a wave, a list of patterns one. Raises `TargetError`."""
        return select_instances(self.inventory, patterns)

    def instances(self, *patterns: Pattern) -> pd.DataFrame:
        """Give the instances that patterns name; columns as in `frames.instances_frame`."""
        return frames.instances_frame(self.inventory, self.targets(*patterns))

    def systems(self, *patterns: Pattern) -> pd.DataFrame:
        """Give the systems that patterns name; columns as in `frames.systems_frame`."""
        return frames.systems_frame(self.inventory, select_systems(self.inventory, _flat(patterns)), self._remembered())

    def document(self, report: Report | None = None, *, remembered: bool = False) -> dict[str, Any]:
        """Give the inventory as the JSON object that `build` prints, with the results of a run or of the state file."""
        known = self._remembered() if remembered else {}
        if report is not None:
            known |= {record.system: (record.result, record.derivation) for record in report.systems()}
        return self.inventory.to_json(known)

    # What is done

    def plan(
        self,
        verb: Verb,
        *patterns: Pattern,
        type: str = "switch",  # noqa: A002 - the option's name in Nix-Hive
        force: bool = False,
        no: Collection[str] = (),
    ) -> Plan:
        """Give what a verb would do, without doing it.

        `no` holds steps to leave out: "build" takes the results that the state file knows, "realise" (with the verb
        build) instantiates only. Raises `TargetError`, `OptionError`, `DeploymentError`.
        """
        if type not in TYPES:
            raise OptionError(f"-t {type}: there is no such type. It is one of {', '.join(TYPES)}.")
        unknown = sorted(set(no) - set(STEPS))
        if unknown:
            raise OptionError(f"--no {unknown[0]}: no such step can be left out. It is one of {', '.join(STEPS)}.")
        if "realise" in no and verb != "build":
            raise OptionError(f"--no realise goes with build alone: {verb} needs results that exist.")
        options = Options(type=cast("SwitchType", type), force=force, realise="realise" not in no)
        inventory = self.inventory
        known = {name: result for name, (result, _) in self._remembered().items()} if "build" in no else {}
        if verb == "build":
            plan = plan_build(inventory, select_systems(inventory, _flat(patterns)), options, known)
        else:
            plan = plan_transfer(inventory, select_instances(inventory, patterns), verb, options, known)
        new = [name for name in plan.systems if not known.get(name)]
        if options.realise:
            check_platforms(inventory, new)
        return plan

    def execute(self, plan: Plan, *, follow: Follow | None = None) -> Report:
        """Carry out a plan and give the report, whatever the outcome.

        An interrupt (Ctrl-C) starts nothing more and lets running activations come to their end; a second one leaves
        at once. The interrupt then goes on up.
        """
        backend = self._backend(plan)
        run = Run(plan, backend, limits=Limits(parallel=self.parallel))
        try:
            with follow(run) if follow else contextlib.nullcontext():
                _wait(run.start())
        finally:
            backend.close()
        return run.report()

    def build(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Build the systems that patterns name; none means all. Columns as in `frames.build_frame`.

        Raises `RunFailed` when a system could not be built.
        """
        return frames.build_frame(self._done(self.plan("build", *patterns, no=no), follow))

    def push(self, *patterns: Pattern, no: Collection[str] = (), follow: Follow | None = None) -> pd.DataFrame:
        """Build, and bring the systems to stores and instances. Columns as in `frames.outcome_frame`."""
        return frames.outcome_frame(self._done(self.plan("push", *patterns, no=no), follow))

    def deploy(
        self,
        *patterns: Pattern,
        type: str = "switch",  # noqa: A002 - the option's name in Nix-Hive
        force: bool = False,
        no: Collection[str] = (),
        follow: Follow | None = None,
    ) -> pd.DataFrame:
        """Build, push, and activate on each instance that patterns name, wave by wave.

        Columns as in `frames.outcome_frame`. Raises `RunFailed` when not every instance is done or unchanged.
        """
        plan = self.plan("deploy", *patterns, type=type, force=force, no=no)
        return frames.outcome_frame(self._done(plan, follow))

    def run(
        self,
        patterns: Pattern,
        command: str = "",
        *,
        script: str = "",
        timeout: float | None = None,
        on_result: Callable[[dict[str, Any]], None] | None = None,
    ) -> pd.DataFrame:
        """Run a command, or a shell script, on each instance at once. Columns as in `frames.run_frame`.

        `command` goes to the login shell of the host, as with `ssh`; `script` is given to `/bin/sh` as it is.
        `on_result` gets each row in the order of the targets. Does not raise for a command that fails.
        """
        inventory = self.inventory
        names = select_instances(inventory, [patterns]).instances
        connections = self._connected(inventory).connections

        def one(name: str) -> dict[str, Any]:
            return _run_one(connections, name, command, script, timeout)

        rows = []
        with ThreadPoolExecutor(max_workers=max(1, min(self.parallel, len(names)))) as pool:
            try:
                for row in pool.map(one, names):
                    rows.append(row)
                    if on_result is not None:
                        on_result(row)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for name in names:
                    connections.abort(name)
                raise
        return frames.run_frame(rows)

    def ssh_config(self) -> str:
        """Give the generated OpenSSH configuration; it extends the user's own."""
        # In a place that stays: the text names the file of host keys, and is used after we are gone.
        return write_ssh_files(self.inventory, self._folder / "ssh").config.read_text()

    def ssh_argv(self, program: str, words: Iterable[str], *, batch: bool = False) -> list[str]:
        """Give the `ssh` or `scp` command with the generated configuration; `batch` for one that must not ask."""
        files = self._connected(self.inventory).files
        return [program, "-F", str(files.batch if batch else files.config), *words]

    def _done(self, plan: Plan, follow: Follow | None) -> Report:
        report = self.execute(plan, follow=follow)
        if not report.ok:
            raise RunFailed(failure_text(report), report)
        return report

    def _backend(self, plan: Plan) -> NixSsh:
        # The deployment as it was planned from: a file that changes now is for the next plan.
        inventory = self._loaded.inventory
        ssh = self._connected(inventory)
        return NixSsh(
            inventory,
            self._loaded.path,
            ssh.files,
            ssh.connections,
            options=plan.options,
            folder=self._folder,
            state=self.state_file,
            parallel=self.parallel,
            show_trace=self.show_trace,
        )

    @property
    def _folder(self) -> Path:
        return self.state_file.parent / ".hive"

    def _connected(self, inventory: Inventory) -> _Ssh:
        if self._ssh is not None and not self._ssh.serves(inventory):
            self.close()
        if self._ssh is None:
            self._ssh = _Ssh(inventory)
        return self._ssh

    def _remembered(self) -> dict[str, tuple[str, str]]:
        state = read_state(self.state_file)
        names = self._loaded.inventory.systems
        return {name: (state.results.get(name, ""), state.derivations.get(name, "")) for name in names}


def _flat(patterns: Sequence[Pattern]) -> list[str]:
    return [name for one in patterns for name in ([one] if isinstance(one, str) else one)]


class _Ssh:
    """The generated configuration and the open connections that belong to one state of the deployment."""

    def __init__(self, inventory: Inventory) -> None:
        self._made_for = _ssh_facts(inventory)
        folder = private_folder()
        self.files: SshFiles = write_ssh_files(inventory, folder)
        self._inventory = inventory
        self._resources = contextlib.ExitStack()
        self._resources.callback(shutil.rmtree, folder, ignore_errors=True)
        self.close = weakref.finalize(self, self._resources.close)

    @cached_property
    def connections(self) -> Connections:
        """The warm connections; nothing is opened before it is used."""
        from nixhive_nb.backend.connections import Connections  # noqa: PLC0415 - Fabric, which `ssh` does not need

        return self._resources.enter_context(Connections(self._inventory, self.files))

    def serves(self, inventory: Inventory) -> bool:
        """Tell whether an inventory asks for the very same connections."""
        return self._made_for == _ssh_facts(inventory)


def _ssh_facts(inventory: Inventory) -> list[tuple[object, ...]]:
    return [(instance.name, instance.ssh, instance.host_keys) for instance in inventory.instances.values()]


def _wait(run: Run) -> None:
    try:
        run.wait()
    except KeyboardInterrupt:
        try:
            run.stop()
            run.wait()
        except KeyboardInterrupt:
            run.abandon()
            run.wait(_GRACE)
        raise


def _run_one(
    connections: Connections, instance: str, command: str, script: str, timeout: float | None
) -> dict[str, Any]:
    """Give a row of `run_frame`."""
    row: dict[str, Any] = {"instance": instance, "exit_code": None, "stdout": "", "stderr": "", "error": ""}
    began = time.monotonic()
    try:
        # The script comes by standard input, so that no shell on the way reads it, and what it starts gets none.
        ended = (
            connections.run(instance, _READ_SCRIPT, stdin=script, timeout=timeout)
            if script
            else connections.run(instance, command, timeout=timeout)
        )
    except HiveError as error:
        return row | {"error": str(error), "seconds": time.monotonic() - began}
    return row | {
        "exit_code": ended.exited,
        "seconds": time.monotonic() - began,
        "stdout": strip_control(ended.stdout),
        "stderr": strip_control(ended.stderr),
    }
