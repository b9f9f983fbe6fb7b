"""Evaluating, building and signing systems on this machine."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.nix_errors import warnings_in
from nixhive_nb.deployment.own_files import taken_along
from nixhive_nb.deployment.places import ROOTS
from nixhive_nb.deployment.sources.source import EVALUATED
from nixhive_nb.deployment.state import remember
from nixhive_nb.errors import NixError, StepFailed
from nixhive_nb.hosts.closures import chunks
from nixhive_nb.nix import commands
from nixhive_nb.nix.eval_jobs import PROGRAM
from nixhive_nb.nix.realise import Realised, Recipes, Together, invalid, realise
from nixhive_nb.nix.recipes import needs_of
from nixhive_nb.nix.signatures import signed_lines, vouched
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.facts import Wanted
from nixhive_nb.ssh.config import NIX_SSHOPTS, nix_ssh_opts
from nixhive_nb.util import process
from nixhive_nb.util.files import file_name, make_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.deployment.places import Places
    from nixhive_nb.deployment.sources.source import Source
    from nixhive_nb.nix.ahead import Ahead
    from nixhive_nb.nix.eval_jobs import EvalJobs
    from nixhive_nb.plan.places import BuildNeed
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step
    from nixhive_nb.ssh.config import SshFiles


_UNTRUSTED = "not privileged"
"""What the daemon of this machine says where it does not trust us."""
_MAY_NOT_SIGN = (
    "Nix on this machine does not trust your user, so nothing is signed here. Name it in trusted-users of its "
    "nix.conf, or use Nix 2.17 or newer, which lets everybody sign"
)
_NOT_SIGNED = (
    f"{_MAY_NOT_SIGN}. Until then it is signed where it is pushed to, as far as the login there may do that; what goes "
    "to an instance directly is taken where its Nix trusts the login"
)
_LOOKS_ANYWAY = frozenset({"--check", "--repair"})
"""Flags of `nix-store --realise` with which it has something to do with what is there."""
_OF_SYSTEM = re.compile(r"^\W*nix-hive: system (.*)$", re.MULTILINE)
"""The frame that `Source.toplevels` promises."""
_SHORT = 2
"""Lines of a message of Nix that are read as well in one."""
_TOLD = ("trace:", "warning:", "evaluation warning:")
"""How lines of Nix begin that are passed on while it evaluates."""
_LOG_LINES = 200
"""How many of the last lines of a failed evaluation a plan keeps."""


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A system's result: its store path, its derivation, and the bytes of each path of its closure."""

    path: str
    derivation: str = ""
    sizes: dict[str, int] = {}
    local: bool = True
    """Whether the path is in this machine's store."""
    there: str = ""
    """Name of the store that it was built at, where that was not here."""

    @property
    def size(self) -> int:
        """Size of the closure in bytes."""
        return sum(self.sizes.values())


class _Failure(msgspec.Struct, frozen=True):
    """Why an evaluation of several systems failed."""

    failed: StepFailed
    named: tuple[str, ...]
    """The one that Nix names; none where it names none (it ran out of memory, say), or more than that."""


class Builds:
    """The steps `instantiate`, `build`, `register` and `sign` of one run."""

    def __init__(
        self,
        inventory: Inventory,
        source: Source,
        files: SshFiles,
        *,
        places: Places,
        realise: bool,
        show_trace: bool,
        wanted: Sequence[Wanted] = (),
        elsewhere: Collection[str] = (),
        ahead: Ahead | None = None,
        jobs: EvalJobs | None = None,
    ) -> None:
        """`source` instantiates the systems; those that are `elsewhere` are built on other machines.

        `places` has the state file, and the folder for links that keep results from being collected.

        `wanted` is what systems evaluated to when the plan was made, and `ahead` what began to be built then.
        `jobs` evaluates systems in place of processes of ours, where it can.
        """
        self._ahead = ahead
        self._jobs = jobs
        self._files = files
        self._inventory = inventory
        self._source = source
        self._places = places
        self._realise = realise
        self._elsewhere = elsewhere
        self._show_trace = show_trace
        self._wanted = {one.system: (one.path, one.derivation) for one in wanted if one.derivation}
        self._warnings: dict[str, tuple[str, ...]] = {}
        self._takes = {one.system: one.takes for one in wanted if one.derivation}
        self._needs = {one.system: one.needs for one in wanted if one.derivation}
        self._present: set[str] = set()
        self._seen: set[str] = set()
        """The systems that Nix has evaluated, if in a process that then failed for another."""
        self._unsigned: set[str] = set()
        """The systems that this machine's Nix does not let us sign."""
        self._failed = {one.system: StepFailed(one.error, log=one.log) for one in wanted if one.error}
        self._built: dict[str, Built] = {}
        self._known: dict[str, asyncio.Future[Built | None]] = {}

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags for builds that the deployment has."""
        return self._inventory.build_flags

    @property
    def results(self) -> Mapping[str, Built]:
        """The results of the systems whose `register` step is done."""
        return self._built

    def result(self, system: str) -> Built:
        """Return the result of a system whose `build` step is done."""
        return self._built[system]

    def wanted(self, system: str) -> str:
        """Return the store path that a system evaluated to."""
        return self._wanted[system][0]

    def derivation(self, system: str) -> str:
        """Return the derivation of a system that was evaluated."""
        return self._wanted[system][1]

    async def known(self, system: str, path: str = "") -> Built | None:
        """Return a system whose result is in this machine's store already, None for one that is not."""
        path = path or self._wanted.get(system, ("", ""))[0]
        if not path:
            return None
        # Each instance asks, and all of one system ask the same.
        if path not in self._known:
            self._known[path] = asyncio.ensure_future(self._look_at(path))
        return await asyncio.shield(self._known[path])

    async def _look_at(self, path: str) -> Built | None:
        return None if await invalid([path]) else Built(path=path, sizes=await self._sizes(path))

    async def instantiate(self, step: Step, tell: Tell) -> Result:
        """Evaluate the systems of a group in one process; the others again without one that fails.

        One that fails is told in the result: its `build` fails with it, and the others go on.
        """
        self._count(step, tell)
        left = await self._by_jobs(step, tell)
        if left:
            await self._evaluate_all(step, left, tell)
        return Result(wanted=tuple(map(self._evaluated, step.systems)))

    def _count(self, step: Step, tell: Tell) -> None:
        """Tell how many systems of a group are evaluated, or known to be broken."""
        tell.progress(sum(name in self._seen or name in self._failed for name in step.systems), len(step.systems))

    async def _by_jobs(self, step: Step, tell: Tell) -> Sequence[str]:
        """Evaluate systems of a group with `nix-eval-jobs`; return those that are to be evaluated without it."""
        if self._jobs is None:
            return step.systems

        def done(system: str) -> None:
            self._seen.add(system)
            self._count(step, tell)

        jobs = await self._jobs.of(step.systems, done)
        if why := self._jobs.why_ended:
            tell.line(f"{PROGRAM}: {why}. What it has not evaluated is evaluated without it.")
        good = [system for system, job in jobs.items() if job.is_evaluated]
        self._failed |= {system: self._explained(job.error) for system, job in jobs.items() if not job.is_evaluated}
        for system in good:
            self._wanted[system] = (jobs[system].result, jobs[system].derivation)
        said = {system: "\n".join(self._jobs.said(system)) for system in good}
        for line in dict.fromkeys(line for text in said.values() for line in text.splitlines()):
            if line.startswith(_TOLD):
                tell.line(line)
        self._warnings |= {system: warnings_in(text) for system, text in said.items()}
        await self._look_into(good)
        return [system for system in step.systems if system not in jobs]

    def _explained(self, said: str) -> StepFailed:
        reason = self._source.explained(said)
        # What fits into the reason needs no lines below it.
        below = self._source.explained(said, show_trace=True) if self._show_trace else reason
        return StepFailed(reason, log=lines if len(lines := below.splitlines()) > _SHORT else ())

    async def _evaluate_all(self, step: Step, systems: Sequence[str], tell: Tell, *, more: bool = False) -> None:
        """Evaluate systems of a group. Where one fails that Nix names, the others are without it; else in halves.

        `more` is whether another has failed already: then there may be many, and halves are found sooner.
        """
        failure = await self._evaluate(step, systems, tell)
        named = () if failure is None else (systems[0],) if len(systems) == 1 else failure.named
        if failure is not None:
            self._failed |= dict.fromkeys(named, failure.failed)
        self._count(step, tell)
        if failure is None:
            return
        rest = [system for system in systems if system not in named]
        middle = 0 if named and not more else len(rest) // 2
        for part in (rest[:middle], rest[middle:]):
            if part:
                await self._evaluate_all(step, part, tell, more=bool(named))

    def _evaluated(self, system: str) -> Wanted:
        failure = self._failed.get(system)
        if failure is not None:
            return Wanted(system=system, error=" ".join(str(failure).split()), log=failure.log[-_LOG_LINES:])
        path, derivation = self._wanted[system]
        return Wanted(
            system=system,
            path=path,
            derivation=derivation,
            takes=self._takes[system],
            needs=self._needs.get(system, ()),
            warnings=self._warnings.get(system, ()),
        )

    async def _evaluate(self, step: Step, systems: Sequence[str], tell: Tell) -> _Failure | None:
        argv = self._source.toplevels(self._inventory, systems)
        log: list[str] = []

        def heard(line: str) -> None:
            if line.startswith(EVALUATED):
                self._seen.add(line.removeprefix(EVALUATED))
                self._count(step, tell)
                return
            log.append(line)
            if line.startswith(_TOLD):
                tell.line(line)

        ended = await process.stream(argv, on_stderr=heard)
        if ended.status:
            said = "\n".join(log)
            return _Failure(self._explained(said), _named_system(said, systems))
        self._warnings |= dict.fromkeys(systems, warnings_in("\n".join(log)))
        for system, found in json.loads(ended.stdout).items():
            self._wanted[system] = (found["result"], found["derivation"])
            self._seen.add(system)
        await self._look_into(systems)
        return None

    async def _look_into(self, systems: Sequence[str]) -> None:
        """Find out what systems that are evaluated take into the store, and ask of the machine that builds them."""
        if not systems:
            return
        paths = self._inventory.include_paths(systems[0])
        self._takes |= await self._taken_along(systems, [path.partition("=")[2] for path in paths])
        for system in systems:
            if system in self._elsewhere:
                self._needs[system] = await self.needs(system)

    async def _taken_along(self, systems: Sequence[str], paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return what each of these systems takes of ours into the store, by its sources there and include paths."""
        own = (self._places.state, self._places.folder)

        async def taken(names: Sequence[str]) -> tuple[str, ...]:
            derivations = dict.fromkeys(self._wanted[name][1] for name in names)
            ended = await process.stream(["nix-store", "--query", "--requisites", *derivations])
            sources = [path for path in ended.stdout.split() if not path.endswith(".drv")]
            stored = [path for path in paths if path.startswith("/nix/store/")]
            found = await asyncio.to_thread(taken_along, [*sources, *stored], self._source.path, own)
            return tuple(map(str, found))

        if not await taken(systems):  # as nearly always, and one question for all
            return dict.fromkeys(systems, ())
        return {system: await taken([system]) for system in systems}

    async def build(self, step: Step, tell: Tell) -> Result:
        """Build every derivation of the run in one program of Nix; but for those whose build has begun before."""
        wanted = {system: self._wanted[system] for system in step.systems if system in self._wanted}
        if not wanted:
            return Result(how="nothing to build")
        begun = self._ahead.take() if self._ahead is not None else {}
        early = {system: paths for system, paths in wanted.items() if begun.get(system) == paths}
        late = {system: paths for system, paths in wanted.items() if system not in early}
        # What has begun was not there when it did.
        here = [path for path, _ in late.values()]
        self._present = set(here) - await invalid(here)
        if _LOOKS_ANYWAY.isdisjoint(self._inventory.build_flags):
            late = {system: paths for system, paths in late.items() if paths[0] not in self._present}
        ended = await self._realised(early, late, tell)
        for one in ended:
            self._failed |= one.failed
        failures = [one.failure for one in ended if one.failure is not None]
        if not failures:
            return Result(how=f"{len(early)} of {len(wanted)} begun early" if early else "")
        broken = [system for system in wanted if system in self._failed]
        reason = f"{', '.join(broken)} failed" if broken else str(failures[-1])
        raise StepFailed(reason, log=[line for failure in failures for line in failure.log])

    async def _realised(self, early: Recipes, late: Recipes, tell: Tell) -> Sequence[Realised]:
        """Build what has not begun yet, and wait for what has; what that did not come to is built after it."""
        # A remote builder may be an instance of this very deployment.
        env = {NIX_SSHOPTS: nix_ssh_opts(self._files), **self._files.environment}
        together, flags = Together(tell), self._inventory.build_flags

        async def built(recipes: Recipes) -> Sequence[Realised]:
            return [await realise(recipes, flags, env, together.part())] if recipes else []

        if self._ahead is None or not early:
            return await built(late)
        before, after = await asyncio.gather(self._ahead.ended(together.part()), built(late))
        done = {system for one in before for system in one.systems}
        left = {system: paths for system, paths in early.items() if system not in done}
        return [*before, *after, *await built(left)]

    async def register(self, step: Step, _tell: Tell) -> Result:
        """Return the verdict on one system: rooted, measured and remembered, or why not."""
        system = step.system
        if system in self._failed:
            raise self._failed[system]
        if step.path:
            return await self._keep(system, step.path)
        path, derivation = self._wanted[system]
        if not self._realise or system in self._elsewhere:
            self._built[system] = Built(path=path, derivation=derivation, local=False)
            return Result(path=path, derivation=derivation, how="instantiated")
        built = Built(path=path, derivation=derivation, sizes=await self._sizes(path))
        await self._root(system, path)
        await self.remember(system)
        self._built[system] = built
        if path in self._present:
            return Result(outcome="unchanged", path=path, derivation=derivation, how="present", size=built.size)
        return Result(path=path, derivation=derivation, how="built", size=built.size)

    async def remember(self, system: str) -> None:
        """Note the result of a system that is built, for later runs."""
        await asyncio.to_thread(
            remember,
            self._places,
            {system: self._wanted[system]},
            taken_along=any(str(self._places.state) in taken for taken in self._takes.values()),
            all_seen=self._takes.keys() >= self._inventory.systems.keys(),
        )

    async def recipe(self, system: str) -> Built:
        """Return what builds a system, as something to be copied: its derivation, with all that this needs."""
        derivation = self._wanted[system][1]
        return Built(path=derivation, sizes=await self._sizes(derivation))

    async def needs(self, system: str) -> tuple[BuildNeed, ...]:
        """Return what a system, and all that builds it, ask of the machine that builds them; see `needs_of`."""
        if self._needs.get(system):
            return self._needs[system]
        derivation = self._wanted[system][1]
        closure = (await _checked(commands.closure(derivation))).split()
        derivations = [path for path in closure if path.endswith(".drv")]
        return await asyncio.to_thread(needs_of, derivation, derivations)

    async def unsigned(self, paths: Collection[str], keys: Collection[str]) -> set[str]:
        """Return those of the paths that neither their content nor one of these keys (by name) vouches for."""
        found: set[str] = set()
        for some in chunks(path for path in paths if not path.endswith(".drv")):
            said = await _checked(commands.signatures(some))
            found |= {path for path, words in signed_lines(said) if not vouched(words, keys)}
        return found

    @property
    def signing_key(self) -> str:
        """The file with the key of the deployment; empty where it has none."""
        return self._inventory.signing_key or ""

    async def sign_paths(self, paths: Sequence[str]) -> None:
        """Sign paths of this store. Raises `NixError`."""
        try:
            await _checked(commands.sign_paths(paths, self.signing_key))
        except NixError as error:
            if _UNTRUSTED in str(error):
                raise NixError(_MAY_NOT_SIGN, log=error.log) from None
            raise

    async def sign(self, step: Step, _tell: Tell) -> Result:
        """Sign the closure of a system, so that instances accept it from their relay."""
        built, key = self.result(step.system), self._inventory.signing_key or ""
        if not built.local:
            return Result(outcome="unchanged", path=built.path, how="not in this store")
        if not await asyncio.to_thread(Path(key).is_file):
            raise StepFailed(f"signing.keyFile names {key}, and there is no such file on this machine.")
        ended = await process.stream(commands.sign(built.path, key))
        if ended.status and _UNTRUSTED in ended.stderr:
            self._unsigned.add(step.system)
            return Result(outcome="warned", path=built.path, warning=_NOT_SIGNED)
        if ended.status:
            raise StepFailed(f"signing failed: {_last(ended.stderr)}", log=ended.stderr.splitlines())
        return Result(path=built.path)

    def is_unsigned(self, system: str) -> bool:
        """Return whether a system was to be signed here, and this machine's Nix did not let us."""
        return system in self._unsigned

    async def _keep(self, system: str, path: str) -> Result:
        """Take a result that an earlier run left. It need not be here: a relay may be able to get it by itself."""
        local = not await invalid([path])
        sizes = await self._sizes(path) if local else {}
        if local:
            await self._root(system, path)
        self._built[system] = Built(path=path, sizes=sizes, local=local)
        return Result(outcome="unchanged", path=path, how="kept", size=sum(sizes.values()))

    async def _root(self, system: str, path: str) -> None:
        folder = make_folder(self._places.make() / ROOTS)
        await _checked(commands.root(path, folder / file_name(system)))

    async def _sizes(self, path: str) -> dict[str, int]:
        return commands.sized_lines(await _checked(commands.closure_sizes(path)))


def _named_system(said: str, systems: Sequence[str]) -> tuple[str, ...]:
    found = {name.strip() for name in _OF_SYSTEM.findall(said)}
    return tuple(found) if len(found) == 1 and found <= {*systems} else ()


async def _checked(argv: Sequence[str]) -> str:
    ended = await process.stream(argv)
    if ended.status:
        command = argv[len(commands.NEW_COMMAND)] if argv[0] == "nix" else argv[1]
        raise NixError(f"{argv[0]} {command} failed: {_last(ended.stderr)}", log=ended.stderr.splitlines())
    return ended.stdout


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else "it said nothing"
