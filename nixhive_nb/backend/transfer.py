"""Moving systems: from here to stores, and from relays to instances."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
from collections import deque
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from nixhive_nb import process
from nixhive_nb.backend import nix
from nixhive_nb.backend.marks import Answer
from nixhive_nb.backend.measure import lacking
from nixhive_nb.backend.nix_log import NixLog
from nixhive_nb.backend.ssh_config import nix_ssh_opts
from nixhive_nb.deployment.stores import shown_store
from nixhive_nb.errors import HiveError, LinkLost, NoAnswer, StepFailed
from nixhive_nb.plan.event import Result
from nixhive_nb.redaction import CUT
from nixhive_nb.said import MOST_LINE
from nixhive_nb.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping

    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.builds import Built
    from nixhive_nb.backend.remote import Remote
    from nixhive_nb.backend.ssh_config import SshFiles
    from nixhive_nb.plan.step import Step

_log = logging.getLogger(__name__)

FETCH_TIMEOUT = 6 * 3600
"""Seconds that a host may take to fetch a system."""
_COPYING = re.compile(r"copying path '([^']+)' from")
_COMPLAINT = re.compile(r"\berror:|^ssh: |Permission denied|Host key|[Cc]onnection (?:refused|closed|timed out)")
_KEPT_LINES = 500
"""How many of the last lines of a copy are looked at for why it failed; the other side may have said any number."""
_SSH_SCHEMES = ("ssh", "ssh-ng")
_ELSEWHERE = ("remote-store", "remote-program", "root", "state", "store", "real")
"""Parameters of a store's URL by which it is not the store that `nix-store` has on that host."""
_SEE_SECONDS = 120
"""How long a host may take to look for one path."""
_log = logging.getLogger(__name__)


class SshStore(msgspec.Struct, frozen=True, kw_only=True):
    """Where an `ssh://` or `ssh-ng://` store is."""

    host: str
    user: str | None = None
    port: int | None = None
    is_elsewhere: bool = False
    """Whether the URL leads on to another store than that of the host's own Nix."""

    def argv(self, config: str, command: str) -> list[str]:
        """Give the OpenSSH command that runs `command` there."""
        user = ["-l", self.user] if self.user else []
        port = ["-p", str(self.port)] if self.port else []
        return ["ssh", "-F", config, *user, *port, "--", self.host, command]


def ssh_store(url: str) -> SshStore | None:
    """Give where a store URL leads to by ssh, None for a store of another kind."""
    parts = urlsplit(url)
    if parts.scheme not in _SSH_SCHEMES or not parts.hostname:
        return None
    # `urlsplit` gives host names in lower case; ssh's names of hosts are told apart by case.
    authority = parts.netloc.rpartition("@")[2]
    host = authority[1 : authority.index("]")] if authority.startswith("[") else authority.partition(":")[0]
    return SshStore(
        host=host,
        user=unquote(parts.username) if parts.username else None,
        port=parts.port,
        is_elsewhere=any(name in _ELSEWHERE for name, _ in parse_qsl(parts.query, keep_blank_values=True)),
    )


def store_for_nix(url: str) -> tuple[str, str]:
    """Give a store's URL for `nix copy`, and the words for ssh that go with it.

    It is passed as written, but for the port of an ssh store: Nix 2.8 takes it for a part of the host's name.
    """
    where = ssh_store(url)
    if where is None or where.port is None:
        return url, ""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.removesuffix(f":{where.port}")).geturl(), f"-p {where.port}"


class Transfer:
    """The steps `push` and `fetch` of one run."""

    def __init__(
        self,
        instances: Container[str],
        files: SshFiles,
        remote: Remote,
        *,
        way: Callable[[str], object],
        stores: Mapping[str, str] | None = None,
        copies: int = 4,
    ) -> None:
        """`stores` has the URLs of stores by name; `copies` is how many may leave this machine at once.

        `way` raises `ConnectionFailed` for a host that ssh would reach through itself, without end.
        """
        self._way = way
        self._instances = instances
        self._stores = stores or {}
        self._files = files
        self._remote = remote
        self._copies = asyncio.Semaphore(copies)

    async def push(self, step: Step, built: Built, tell: Tell) -> Result:
        """Bring a system to a store: it may be able to get the path by itself, otherwise it is copied from here."""
        store = self._url_of(step.store)
        where = ssh_store(store)
        if where is not None and not where.is_elsewhere:
            counter = _Counter(built, tell)
            ended = await self._realise_there(where, built.path, counter)
            if ended == 0:
                return _fetched(built, counter, "got by itself")
        ours = where.host if where and self._is_ours(where) else ""
        copied = await self._copy(built, store, tell, asked=ours)
        await self._see_there(built.path, store)
        return copied

    async def fetch(self, step: Step, built: Built, tell: Tell) -> Result:
        """Bring a system to an instance: from its relay if it can, otherwise from here."""
        counter = _Counter(built, tell)
        command = nix.remote_realise(built.path, timeout=FETCH_TIMEOUT)
        ended = await self._remote(step.instance, command, seconds=FETCH_TIMEOUT + 60, on_line=counter.heard)
        if ended.exited == 0:
            return _fetched(built, counter, "from relay" if step.store else "from its caches")
        _log.info("%s: did not get %s by itself: it is copied from here", step.instance, built.path)
        copied = await self._copy(built, nix.instance_store(step.instance), tell, asked=step.instance)
        await self._see_on(step.instance, built.path)
        if not step.store:
            return copied
        warning = f"did not take it from {step.store} ({_why(ended.stderr)}): copied from here"
        return msgspec.structs.replace(copied, warning=warning)

    def _url_of(self, store: str) -> str:
        """Return the URL of a store by its name in a plan: without a secret that is the URL itself."""
        url = self._stores.get(store, store)
        if CUT in url and store not in self._stores:
            raise StepFailed(f"The deployment has no store {store} any more, and the plan does not hold its password.")
        return url

    async def _realise_there(self, where: SshStore, path: str, counter: _Counter) -> int | None:
        """Have the host of a store fetch a path, and give the exit status of that.

        None where its login runs no commands: it may be one that serves a store, and nothing else.
        """
        command = nix.remote_realise(path, timeout=FETCH_TIMEOUT)
        try:
            if self._is_ours(where):
                seconds = FETCH_TIMEOUT + 60
                ended = await self._remote(where.host, command, seconds=seconds, on_line=counter.heard)
                return ended.exited
            await asyncio.to_thread(self._way, where.host)
            answer = Answer()
            argv = where.argv(str(self._files.batch), nix.posix(answer.marked(command)))
            return answer.status(await process.stream(argv, on_stderr=counter.heard), where.host)
        except (NoAnswer, LinkLost):
            _log.debug("having %s fetch %s", where.host, path, exc_info=True)
            return None

    async def _see_on(self, instance: str, path: str) -> None:
        """See that a path is valid on an instance, by our own connection. Raises `StepFailed` where it is not."""
        ended = await self._remote(instance, nix.remote_invalid([path]), seconds=_SEE_SECONDS)
        if ended.exited or path in ended.stdout.split():
            raise StepFailed(
                f"{path} was copied to {instance} and is not in its store: {_why(ended.stderr)}. Does its ssh lead to "
                "another host than that of Nix?"
            )

    async def _see_there(self, path: str, store: str) -> None:
        """See that a path is valid in a store, as Nix reaches it. Raises `StepFailed` where it is not."""
        url, options = self._for_nix(store)
        ended = await process.stream(nix.path_info(path, url), env={"NIX_SSHOPTS": options})
        if ended.status or path not in ended.stdout.split():
            raise StepFailed(f"{path} was copied to {_without_options(store)} and is not there: {_why(ended.stderr)}")

    def _for_nix(self, store: str) -> tuple[str, str]:
        """Give the URL of a store for Nix, and its `NIX_SSHOPTS`."""
        url, ssh_words = store_for_nix(store)
        options = (nix_ssh_opts(self._files, os.environ.get("NIX_SSHOPTS")), ssh_words)
        return url, " ".join(filter(None, options))

    def _is_ours(self, where: SshStore) -> bool:
        """Tell whether a store is that of an instance, as we reach it."""
        return where.host in self._instances and not where.user and not where.port

    async def _lacks(self, instance: str, sizes: Mapping[str, int]) -> int:
        """Give the bytes that an instance lacks; of one that cannot tell, all."""
        try:
            return await lacking(self._remote, instance, sizes)
        except (HiveError, OSError):  # the copy itself will say what is wrong
            _log.debug("%s: cannot tell what it lacks", instance, exc_info=True)
            return sum(sizes.values())

    async def _copy(self, built: Built, store: str, tell: Tell, *, asked: str = "") -> Result:
        """Copy from here. `asked` is the instance whose store it is, where there is one: it tells what it lacks."""
        if not built.local:
            raise StepFailed(
                f"{built.path} is not in this machine's store, and {shown_store(store)} cannot get it by itself. "
                "Build it: leave out --no build."
            )
        expected = await self._lacks(asked, built.sizes) if asked else built.size
        log = NixLog(built.sizes)
        said: deque[str] = deque(maxlen=_KEPT_LINES)

        def heard(line: str) -> None:
            for text in log.feed(line):
                said.append(text[:MOST_LINE])
                tell.line(text)
            tell.progress(log.bytes_copied, expected)

        url, options = self._for_nix(store)
        argv = nix.copy(built.path, url, nix.copy_options(os.environ))
        async with self._copies:
            ended = await process.stream(argv, on_stderr=heard, env={"NIX_SSHOPTS": options})
        if ended.status:
            raise StepFailed(f"nix copy to {_without_options(store)} failed: {_why_copy(said, log)}")
        if not log.paths_copied:
            return Result(outcome="unchanged", path=built.path, how="present", size=built.size)
        return Result(path=built.path, how="from here", sent=log.bytes_copied, size=built.size)


class _Counter:
    """Counts the content that a host says it takes from elsewhere.

    Nix first lists the paths that will be fetched, then names each as it begins with it.
    """

    def __init__(self, built: Built, tell: Tell) -> None:
        self._sizes = built.sizes
        self._tell = tell
        self._listed: dict[str, int] = {}
        self.paths: list[str] = []
        self._begun: set[str] = set()
        self._moved = self._told = 0

    def heard(self, line: str) -> None:
        found = _COPYING.search(line)
        if found:
            # What else it says matters only if nothing else helps, and then it is in the warning.
            self._tell.line(strip_control(line))
            self._say()  # those before it are there
            # It may name any path, any number of times: each of the system counts once.
            if not self.paths or (found[1] in self._sizes and found[1] not in self._begun):
                self.paths.append(found[1])
                self._begun.add(found[1])
        elif not self.paths and line.startswith("  ") and line.strip() in self._sizes:
            self._listed[line.strip()] = self._sizes[line.strip()]

    def end(self) -> None:
        """Say that all of it is there."""
        if self.paths:
            self._say()

    def _say(self) -> None:
        for path in self.paths[self._told :]:
            self._moved += self._sizes.get(path, 0)
        self._told = len(self.paths)
        self._tell.progress(self._moved, sum(self._listed.values()) or sum(self._sizes.values()))


def _fetched(built: Built, counter: _Counter, how: str) -> Result:
    counter.end()
    if counter.paths:
        return Result(path=built.path, how=how, size=built.size)
    return Result(outcome="unchanged", path=built.path, how="present", size=built.size)


def _why(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return shlex.quote(strip_control(lines[-1]))[:200].strip("'") if lines else "it said nothing"


def _why_copy(said: Iterable[str], log: NixLog) -> str:
    """Give what the other side or ssh complained of; Nix itself often sees only that the link has ended."""
    theirs = [line for line in said if _COMPLAINT.search(line) and line not in log.errors]
    text = (theirs or log.errors or ["it said nothing"])[-1]
    return " ".join(text.removeprefix("error: ").split())[:300]


def _without_options(store: str) -> str:
    return shown_store(store).partition("?")[0]
