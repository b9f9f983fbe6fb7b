"""Moving systems: from here to stores, and from relays to instances."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.errors import HiveError, LinkLost, NoAnswer, StepFailed, WorkerLost
from nixhive_nb.hosts.closures import lacking
from nixhive_nb.hosts.privilege import NOBODY, elevation
from nixhive_nb.nix import commands, fetching
from nixhive_nb.nix.complaints import why_copy_failed
from nixhive_nb.nix.getting import Got, TakenContent, fetched, last_words, not_taken, why_not_taken
from nixhive_nb.nix.log import NixLog
from nixhive_nb.nix.roots import Roots
from nixhive_nb.nix.stillness import Stillness, stream_moving
from nixhive_nb.nix.stores import SshStore, ssh_store, store_for_nix
from nixhive_nb.plan.events import Result
from nixhive_nb.plan.plan import STALL_SECONDS
from nixhive_nb.ssh import knock
from nixhive_nb.ssh.config import NIX_SSHOPTS, nix_ssh_opts
from nixhive_nb.ssh.marks import MarkedOutput
from nixhive_nb.util import process
from nixhive_nb.util.redaction import CUT
from nixhive_nb.util.said import MOST_LINE
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from nixhive_nb.hosts.password import Password
    from nixhive_nb.hosts.privilege import Elevation
    from nixhive_nb.nix.build import Built
    from nixhive_nb.plan.protocol import Tell
    from nixhive_nb.plan.step import Step
    from nixhive_nb.ssh.config import SshFiles
    from nixhive_nb.ssh.link import HostLinks

_log = logging.getLogger(__name__)
Heard = Callable[[str], None]
_Run = Callable[[str, TakenContent], Awaitable[str]]
"""Has a host run words that fetch; gives why it did not, or nothing."""

_UNREACHED = "cannot connect to"
"""What Nix says of a store that it does not reach by ssh."""
_KEPT_LINES = 500
"""How many of the last lines of a copy are looked at for why it failed; the other side may have said any number."""
_SEE_SECONDS = 120
"""How long a host may take to look for one path."""
_FETCHING = fetching.FETCH_SECONDS + 60
"""How long we wait for a host that fetches: it ends that by itself before."""
_REROUTED = 4
"""How many hosts that read from another relay may read from one beside its own, at once."""
_FREELY = contextlib.nullcontext()


class Transfer:
    """The steps `push` and `fetch` of one run."""

    def __init__(
        self,
        instances: Container[str],
        files: SshFiles,
        links: HostLinks,
        *,
        way: Callable[[str], object],
        stores: Mapping[str, str] | None = None,
        copies: int = 4,
        run: str = "run",
        stall: float = STALL_SECONDS,
        elevate: Mapping[str, Sequence[str]] | None = None,
        passwords: Mapping[str, Password] | None = None,
        trust: float = 5.0,
        renew: float = 3600.0,
        gone: Sequence[str] = (),
    ) -> None:
        """Take what a run knows: `stores`, URLs by name; `copies`, how many may leave this machine at once.

        `way` raises `ConnectionFailed` for a host that ssh would reach through itself, without end. What is moved is
        kept on hosts by roots that are named after the `run`, and made as new each `renew` seconds. What moves no byte
        for `stall` seconds is given up. A store that can hold no root is taken for `trust` seconds to have what it was
        seen to have. `elevate` has how root is become, for instances where that is not by sudo, and
        `passwords` what sudo is told where it asks for one. What runs that are `gone` have left on a host is
        removed when something is kept there.
        """
        self._gone = tuple(gone)
        self._there: dict[tuple[SshStore, str], bool] = {}
        """What is kept on hosts of stores that build, and whether as on a relay."""
        self._elevate = elevate or {}
        self._passwords = passwords or {}
        self._roots = Roots(self._on, run=run, renew=renew, by=self._by)
        self._trust = trust
        self._stall = stall
        self._pushed: dict[tuple[str, str], _Pushed] = {}
        self._rerouted: dict[str, asyncio.Semaphore] = {}
        self._way = way
        self._instances = instances
        self._stores = stores or {}
        self._files = files
        self._links = links
        self._copies = asyncio.Semaphore(copies)

    async def push(self, step: Step, built: Built, tell: Tell, sources: Sequence[str] = ()) -> Result:
        """Bring a system to a store: it may be able to get the path by itself, otherwise it is copied from here.

        `sources` are the stores above it, the nearest first: what is there is expected to come from there.
        """
        store = self._url_of(step.store)
        where = ssh_store(store)
        pushed = self._pushed[step.store, built.path] = _Pushed()
        tried: tuple[str, ...] = ()
        if where is not None and not where.is_elsewhere:
            got = await self._get(partial(self._fetched_there, where), built, tell, where, sources=sources, relay=True)
            if got.is_rooted:
                pushed.rooted = where
                self._roots.hold(where, built.path, relay=True)
            if got.taken:
                pushed.is_there = True
                usual = f"from {sources[0]}" if sources else "got by itself"
                return msgspec.structs.replace(fetched(built, got.taken, got.how(usual)), warning=got.warning())
            tried = got.tried
        copied = await self._push_from_here(store, built, tell)
        pushed.is_there = True
        if not sources or copied.outcome == "unchanged":
            return copied
        return msgspec.structs.replace(copied, warning=f"{not_taken(tried)}: copied from here")

    async def _push_from_here(self, store: str, built: Built, tell: Tell) -> Result:
        where = ssh_store(store)
        copied = await self._copy(built, store, tell, asked=where.host if where and self._is_ours(where) else "")
        if where is not None and self._is_ours(where) and not where.is_elsewhere:
            # A login that only serves a store answers Nix, and none of our questions.
            with swallowed(_log, f"asking {where.host} over the kept link", NoAnswer):
                await self._see_on(where.host, built.path)
                return copied
        await self._see_there(built.path, store)
        return copied

    async def copy_recipe(self, store: str, recipe: Built, lacks: int, tell: Tell) -> Result:
        """Copy a derivation and all that it needs to the store that will build it, which `lacks` so many bytes."""
        url = self._url_of(store)
        where = ssh_store(url)
        # Its own substituters have no derivations.
        asked = where.host if where and self._is_ours(where) else ""
        return await self._copy(recipe, url, tell, asked=asked, substitute=False, expected=lacks)

    async def on(
        self, store: str, command: str, *, seconds: float, on_line: Callable[[str], None] = lambda _: None
    ) -> int:
        """Run a command on the host of a store that builds, and return its exit status. Raises `HiveError`."""
        return await self._on(self._builder(store), command, seconds=seconds, on_line=on_line)

    async def build(self, store: str, derivation: str, flags: Iterable[str], heard: Heard) -> int:
        """Have the host of a store build a derivation that is kept there, and return the exit status."""
        by = self._by(self._builder(store))
        command = fetching.build(derivation, self._roots.name(derivation), list(flags), by=by)
        return await self.on(store, command, seconds=fetching.FETCH_SECONDS + 60, on_line=heard)

    async def keep_there(self, store: str, path: str, *, relay: bool = False) -> None:
        """Keep a path on the host of a store that builds, also before it is there."""
        where = self._builder(store)
        # First: of a link that is lost it is not known what was done.
        self._roots.hold(where, path, relay=relay)
        self._there[where, path] = relay
        by = self._by(where)
        command = fetching.keep(path, self._roots.name(path, relay=relay), by=by, gone=self._gone)
        await self._on(where, command, seconds=_SEE_SECONDS, stdin=by.line() or None)

    async def let_go_there(self, store: str, path: str) -> None:
        """Let a path go that is not needed any more on the host of a store that builds."""
        await self._let_go(self._builder(store), path)

    async def let_all_go_there(self, *, keep_pushed: bool) -> None:
        """Let all go that is kept on hosts of stores that build; with `keep_pushed` not what was pushed there, too."""
        if keep_pushed:
            pushed = {(one.rooted, path) for (_, path), one in self._pushed.items()}
            self._there = {pair: relay for pair, relay in self._there.items() if not relay or pair not in pushed}
        await asyncio.gather(*(self._let_go(where, path) for where, path in tuple(self._there)))

    async def _let_go(self, where: SshStore, path: str) -> None:
        relay = self._there.get((where, path))
        if relay is not None and await self._roots.release(where, path, relay=relay):
            self._there.pop((where, path), None)

    @property
    def has_left(self) -> bool:
        """Whether something is kept yet on hosts of stores that build."""
        return bool(self._there)

    async def sign_there(self, store: str, paths: Sequence[str], key: str) -> None:
        """Sign paths on the host of a store with a key that is here. Raises `StepFailed`."""
        url, options = self._for_nix(self._url_of(store))
        # The older protocol cannot take signatures.
        argv = commands.sign_paths(paths, key, f"ssh-ng://{url.partition('://')[2]}")
        ask = partial(process.stream, argv, env=self._environment(options))
        ended = await knock.persist(ask, _without_options(store), lambda _: None, ssh=self._ssh(store))
        if ended.status:
            raise StepFailed(last_words(ended.stderr))

    def _builder(self, store: str) -> SshStore:
        where = ssh_store(self._url_of(store))
        if where is None or where.is_elsewhere:
            raise StepFailed(f"{store} cannot build: its login has to be that of a host with a Nix of its own.")
        return where

    async def fetch(self, step: Step, built: Built, tell: Tell, sources: Sequence[str] = ()) -> Result:
        """Bring a system to an instance: from its relay if it can, otherwise from here.

        Where its own relay does not have it, it is told to take it from another one of `sources`.
        """
        lost = await self._see_stored(step.store, built, tell)
        host = SshStore(host=step.instance)
        sources = sources or ((step.store,) if step.store else ())
        got = await self._get(partial(self._fetched_on, step.instance), built, tell, host, sources=sources, relay=False)
        if got.is_rooted:
            self._roots.hold(host, built.path)
        if got.taken:
            result = fetched(built, got.taken, got.how("from relay" if step.store else "from its caches"))
            return msgspec.structs.replace(result, warning="; ".join(filter(None, [lost, got.warning()])))
        _log.info("%s: did not get %s by itself, it is copied from here: %s", step.instance, built.path, got.tried)
        copied = await self._copy(
            built, commands.instance_store(step.instance), tell, asked=step.instance, substitute=not got.is_dead
        )
        await self._see_on(step.instance, built.path)
        came = f"copied from {built.there} through this machine" if built.there else "copied from here"
        if copied.outcome == "unchanged":  # it was not there when we asked first
            came = "it got it by itself when it was asked again"
            copied = msgspec.structs.replace(copied, outcome="done", how="got by itself")
        if not step.store and not got.is_dead:
            return copied
        warning = f"{not_taken(got.tried)}: {came}"
        return msgspec.structs.replace(copied, warning="; ".join(filter(None, [lost, warning])))

    def rooted(self, instance: str, path: str) -> str:
        """Return the name of the root that keeps a path on an instance; empty where there is none."""
        return self._roots.held(SshStore(host=instance), path)

    def let_go(self, instance: str, path: str) -> None:
        """Take in that this root is gone."""
        self._roots.drop(SshStore(host=instance), path)

    async def release(self, instance: str, path: str) -> None:
        """Let a path on an instance go that is used now. What cannot be let go is swept by a later run."""
        await self._roots.release(SshStore(host=instance), path)

    async def release_pushed(self, store: str, path: str) -> None:
        """Let a path in a store go that nobody of the run needs there any more."""
        pushed = self._pushed.get((store, path))
        # What is built there is kept to the end: others may take it from there as well.
        if pushed is not None and pushed.rooted is not None and (pushed.rooted, path) not in self._there:
            await self._roots.release(pushed.rooted, path, relay=True)

    async def _see_stored(self, store: str, built: Built, tell: Tell) -> str:
        """See before use that a store that can hold no root still has what was pushed; push it again where not.

        Return what has to be told of that.
        """
        pushed = self._pushed.get((store, built.path))
        if pushed is None or not pushed.is_there or pushed.rooted is not None:
            return ""
        url = self._url_of(store)
        async with pushed.lock:
            now = time.monotonic()
            if now - pushed.seen >= self._trust and not await self._is_stored(built.path, url):
                tell.line(f"{built.path} is not in {_without_options(store)} any more: it is pushed again")
                try:
                    await self._push_from_here(url, built, tell)
                except HiveError as error:
                    _log.info("pushing %s to %s again: %s", built.path, _without_options(store), error)
                    return f"it is not in {_without_options(store)} any more, and cannot be pushed there again"
                pushed.lost = f"it was not in {_without_options(store)} any more, and was pushed again"
            pushed.seen = time.monotonic()
        return pushed.lost

    async def _is_stored(self, path: str, store: str) -> bool:
        ended = await self._path_info(path, store)
        return ended.status == 0 and path in ended.stdout.split()

    async def _path_info(self, path: str, store: str) -> process.Finished:
        url, options = self._for_nix(store)
        ask = partial(process.stream, commands.path_info(path, url), env=self._environment(options))
        return await knock.persist(ask, _without_options(store), lambda _: None, ssh=self._ssh(store))

    def _ssh(self, store: str) -> knock.ProgramRun | None:
        """Return what only logs in to where a store is; None for one that is not reached by ssh."""
        where = ssh_store(self._url_of(store))
        if where is None:
            return None
        return partial(process.stream, where.argv(str(self._files.batch), "true"), env=self._files.environment)

    def _url_of(self, store: str) -> str:
        """Return the URL of a store by its name in a plan: without a secret that is the URL itself."""
        url = self._stores.get(store, store)
        if CUT in url and store not in self._stores:
            raise StepFailed(f"The deployment has no store {store} any more, and the plan does not hold its password.")
        return url

    async def _get(
        self, run: _Run, built: Built, tell: Tell, where: SshStore, *, sources: Sequence[str], relay: bool
    ) -> Got:
        """Have a host fetch a path from its own substituters, and where these fail from others, one after the other.

        The first of `sources` is one of its own. What was not seen to come to one of the others is not asked for there.
        """
        root = self._roots.name(built.path, relay=relay)
        own = sources[0] if sources else "its caches"
        others = [name for name in sources[1:] if self._is_pushed(name, built.path)]
        # One that cannot reach its relay learns that path by path, each time after a while.
        known = self._pushed.get((own, built.path))
        is_missing = known is not None and not known.is_there
        tried = [f"{own} (it was not brought there)"] if is_missing else []
        is_rooted, is_dead = False, is_missing
        for name in (*([] if is_missing else [""]), *others):
            words = ("--option", "substituters", name) if name else ()
            taken = TakenContent(built, tell, where.host)
            by = await self._by_kept(where, built.path, root, taken)
            command = fetching.fetch(built.path, root, stall=self._stall, by=by, words=words, gone=self._gone)
            async with self._rerouted.setdefault(name, asyncio.Semaphore(_REROUTED)) if name else _FREELY:
                why = await run(command, taken)
            is_rooted = is_rooted or taken.rooted
            if not why:
                return Got(taken=taken, is_rooted=is_rooted, source=name, tried=tuple(tried))
            is_dead = is_dead or taken.stalled or _UNREACHED in why
            tried.append(f"{name or own} ({taken.why or why})")
        return Got(is_rooted=is_rooted, is_dead=is_dead, tried=tuple(tried))

    def _is_pushed(self, store: str, path: str) -> bool:
        """Return whether a store has a path, and can be named to a host: its URL holds no password."""
        pushed = self._pushed.get((store, path))
        return pushed is not None and pushed.is_there and self._url_of(store) == store

    async def _fetched_on(self, instance: str, command: str, taken: TakenContent) -> str:
        """Have an instance fetch a path; return why it did not."""
        ended = await self._links.kept(instance).run(command, seconds=_FETCHING, on_line=taken.heard)
        return why_not_taken(ended.stderr) if ended.exited else ""

    async def _fetched_there(self, where: SshStore, command: str, taken: TakenContent) -> str:
        """Have the host of a store fetch a path; return why it did not.

        Its login may be one that serves a store, and runs no commands.
        """
        said: deque[str] = deque(maxlen=_KEPT_LINES)

        def heard(line: str) -> None:
            taken.heard(line)
            if fetching.read(line) is None:
                said.append(line)

        try:
            status = await self._on(where, command, seconds=_FETCHING, on_line=heard)
        except WorkerLost:
            raise  # another one has it fetch
        except (NoAnswer, LinkLost) as error:
            _log.debug("having %s fetch", where.host, exc_info=True)
            return str(error)
        return why_not_taken("\n".join(said)) if status else ""

    async def _on(
        self,
        where: SshStore,
        command: str,
        *,
        seconds: float,
        on_line: Callable[[str], None] = lambda _: None,
        stdin: str | None = None,
    ) -> int:
        """Run a command on the host of a store, and return its exit status. Only an instance gets an input."""
        if self._is_ours(where):
            link = self._links.kept(where.host)
            return (await link.run(command, seconds=seconds, on_line=on_line, stdin=stdin)).exited
        await asyncio.to_thread(self._way, where.host)
        answer = MarkedOutput()
        argv = where.argv(str(self._files.batch), commands.posix(answer.marked(command)))
        said: list[str] = []

        def heard(line: str) -> None:
            said.append(line)
            for own in answer.heard(line):
                on_line(strip_control(own))

        run = partial(process.stream, argv, on_stdout=heard, env=self._files.environment)
        async with asyncio.timeout(seconds):
            ended = await knock.persist(run, where.host, on_line, lambda line: on_line(strip_control(line)))
        return answer.status(msgspec.structs.replace(ended, stdout="\n".join(said)), where.host)

    async def _see_on(self, instance: str, path: str) -> None:
        """See that a path is valid on an instance, by our own connection. Raises `StepFailed` where it is not."""
        ended = await self._links.kept(instance).run(commands.remote_invalid([path]), seconds=_SEE_SECONDS)
        if ended.exited or path in ended.stdout.split():
            raise StepFailed(
                f"{path} was copied to {instance} and is not in its store: {last_words(ended.stderr)}. Does its ssh "
                "lead to another host than that of Nix?"
            )

    async def _see_there(self, path: str, store: str) -> None:
        """See that a path is valid in a store, as Nix reaches it. Raises `StepFailed` where it is not."""
        ended = await self._path_info(path, store)
        if ended.status or path not in ended.stdout.split():
            raise StepFailed(
                f"{path} was copied to {_without_options(store)} and is not there: {last_words(ended.stderr)}"
            )

    def _for_nix(self, store: str) -> tuple[str, str]:
        """Return the URL of a store for Nix, and its `NIX_SSHOPTS`."""
        url, ssh_words = store_for_nix(store)
        options = (nix_ssh_opts(self._files), ssh_words)
        return url, " ".join(filter(None, options))

    def _environment(self, options: str) -> dict[str, str]:
        return {NIX_SSHOPTS: options, **self._files.environment}

    def _by(self, where: SshStore) -> Elevation:
        if not self._is_ours(where):
            return elevation((), root=False)
        return elevation(self._elevate.get(where.host, ()), root=False, password=self._passwords.get(where.host))

    async def _by_kept(self, where: SshStore, path: str, root: str, taken: TakenContent) -> Elevation:
        """Return how root is become for the root of a path that is to come.

        What fetches has no input for a password: where one is asked for, the root is made here, before that.
        """
        by = self._by(where)
        if by.password is None:
            return by
        keep = fetching.keep(path, root, by=by)
        await self._on(where, keep, seconds=_SEE_SECONDS, on_line=taken.heard, stdin=by.line())
        return NOBODY

    def _is_ours(self, where: SshStore) -> bool:
        """Return whether a store is that of an instance, as we reach it."""
        return where.host in self._instances and not where.user and not where.port

    async def _moves_on(self, instance: str) -> fetching.Moves | None:
        """Return what Nix on an instance waits for; None where it cannot be asked."""
        try:
            ended = await self._links.kept(instance).run(fetching.look(), seconds=_SEE_SECONDS)
        except HiveError:
            _log.debug("%s: cannot tell what Nix waits for", instance, exc_info=True)
            return None
        found = [said for line in ended.stdout.splitlines() if isinstance(said := fetching.read(line), fetching.Moves)]
        return found[-1] if found else None

    async def _lacks(self, instance: str, sizes: Mapping[str, int]) -> int:
        """Return the bytes that an instance lacks; of one that cannot tell, all."""
        try:
            return await lacking(self._links, instance, sizes)
        except (HiveError, OSError):  # the copy itself will say what is wrong
            _log.debug("%s: cannot tell what it lacks", instance, exc_info=True)
            return sum(sizes.values())

    async def _copy(
        self,
        built: Built,
        store: str,
        tell: Tell,
        *,
        asked: str = "",
        substitute: bool = True,
        expected: int | None = None,
    ) -> Result:
        """Copy from here. `asked` is the instance whose store it is, where there is one: it tells what it lacks."""
        if not built.local and not built.there:
            raise StepFailed(
                f"{built.path} is not in this machine's store, and {shown_store(store)} cannot get it by itself. "
                "Build it: leave out --no build."
            )
        if expected is None:
            expected = await self._lacks(asked, built.sizes) if asked else built.size
        log = NixLog(built.sizes)
        said: deque[str] = deque(maxlen=_KEPT_LINES)

        def heard(line: str) -> None:
            for text in log.feed(line):
                said.append(text[:MOST_LINE])
                tell.line(text)
            tell.progress(log.bytes_copied, expected)

        url, options = self._for_nix(store)
        # Through this machine, which keeps nothing of it: those two do not reach, or do not trust, each other.
        source = "" if built.local else self._for_nix(self._url_of(built.there))[0]
        if source:
            tell.line(f"{built.path} goes from {built.there} to {shown_store(store)} through this machine")
        user_options = commands.copy_options(os.environ)
        argv = commands.copy(built.path, url, user_options, substitute=substitute, source=source)
        copy = partial(
            stream_moving,
            argv,
            env=self._environment(options),
            stall=self._stall,
            stillness=Stillness(tell, asked or _without_options(store)),
            ask=partial(self._moves_on, asked) if asked else None,
            limit=fetching.FETCH_SECONDS,
        )
        async with self._copies:
            try:
                ended = await knock.persist(
                    copy, asked or _without_options(store), tell.line, heard, ssh=None if source else self._ssh(store)
                )
            except StepFailed as error:
                raise StepFailed(f"nix copy to {_without_options(store)} was given up: {error}.") from None
        if ended.status:
            often = f". It was tried {knock.TRIES} times. {knock.MANY}" if knock.is_hung_up(ended.stderr) else ""
            raise StepFailed(f"nix copy to {_without_options(store)} failed: {why_copy_failed(said, log)}{often}")
        if not log.paths_copied:
            return Result(outcome="unchanged", path=built.path, how="present", size=built.size)
        return Result(
            path=built.path,
            how=f"from {built.there} through here" if source else "from here",
            sent=log.bytes_copied,
            size=built.size,
        )


class _Pushed:
    """A path that is pushed to a store."""

    def __init__(self) -> None:
        self.is_there = False
        """Whether it was seen there."""
        self.rooted: SshStore | None = None
        """Where a root keeps it; None in a store that can hold none."""
        self.seen = time.monotonic()
        """When it was there the last time."""
        self.lost = ""
        """What is told of one that was not there any more."""
        self.lock = asyncio.Lock()


def _without_options(store: str) -> str:
    return shown_store(store).partition("?")[0]
