"""Moving systems: from here to stores, and from relays to instances."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shlex
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from nixhive_nb import process
from nixhive_nb.backend import nix
from nixhive_nb.backend.measure import lacking
from nixhive_nb.backend.nix_log import NixLog
from nixhive_nb.backend.ssh_config import nix_ssh_opts
from nixhive_nb.errors import HiveError, StepFailed
from nixhive_nb.plan.event import Result
from nixhive_nb.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from nixhive_nb.backend.base import Tell
    from nixhive_nb.backend.builds import Built
    from nixhive_nb.backend.connections import RemoteResult
    from nixhive_nb.backend.remote import Remote
    from nixhive_nb.backend.ssh_config import SshFiles
    from nixhive_nb.plan.step import Step

_log = logging.getLogger(__name__)

FETCH_TIMEOUT = 6 * 3600
"""Seconds that a host may take to fetch a system."""
_COPYING = re.compile(r"copying path '([^']+)' from")
_COMPLAINT = re.compile(r"\berror:|^ssh: |Permission denied|Host key|[Cc]onnection (?:refused|closed|timed out)")
_SSH_SCHEMES = ("ssh", "ssh-ng")


class SshStore(msgspec.Struct, frozen=True, kw_only=True):
    """Where an `ssh://` or `ssh-ng://` store is."""

    host: str
    user: str | None = None
    port: int | None = None

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
    return SshStore(host=host, user=unquote(parts.username) if parts.username else None, port=parts.port)


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

    def __init__(self, instances: Container[str], files: SshFiles, remote: Remote, *, copies: int = 4) -> None:
        """`copies` is how many may leave this machine at once."""
        self._instances = instances
        self._files = files
        self._remote = remote
        self._copies = asyncio.Semaphore(copies)

    async def push(self, step: Step, built: Built, tell: Tell) -> Result:
        """Bring a system to a store: it may be able to get the path by itself, otherwise it is copied from here."""
        where = ssh_store(step.store)
        if where is not None:
            counter = _Counter(built, tell)
            ended = await self._realise_there(where, built.path, counter)
            if ended.exited == 0:
                return _fetched(built, counter, "got by itself")
        return await self._copy(built, step.store, tell, asked=where.host if where and self._is_ours(where) else "")

    async def fetch(self, step: Step, built: Built, tell: Tell) -> Result:
        """Bring a system to an instance: from its relay if it can, otherwise from here."""
        counter = _Counter(built, tell)
        command = nix.remote_realise(built.path, timeout=FETCH_TIMEOUT)
        ended = await self._remote(step.instance, command, seconds=FETCH_TIMEOUT + 60, on_line=counter.heard)
        if ended.exited == 0:
            return _fetched(built, counter, "from relay" if step.store else "from its caches")
        _log.info(
            "%s: did not get %s by itself, it is copied from here: %s", step.instance, built.path, _why(ended.stderr)
        )
        copied = await self._copy(built, nix.instance_store(step.instance), tell, asked=step.instance)
        if not step.store:
            return copied
        warning = f"did not take it from {step.store} ({_why(ended.stderr)}): copied from here"
        return msgspec.structs.replace(copied, warning=warning)

    async def _realise_there(self, where: SshStore, path: str, counter: _Counter) -> RemoteResult | _Ended:
        command = nix.remote_realise(path, timeout=FETCH_TIMEOUT)
        if self._is_ours(where):
            return await self._remote(where.host, command, seconds=FETCH_TIMEOUT + 60, on_line=counter.heard)
        argv = where.argv(str(self._files.batch), nix.posix(command))
        ended = await process.stream(argv, on_stderr=counter.heard)
        return _Ended(exited=ended.status)

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
                f"{built.path} is not in this machine's store, and {store} cannot get it by itself. "
                "Build it: leave out --no build."
            )
        expected = await self._lacks(asked, built.sizes) if asked else built.size
        log = NixLog(built.sizes)
        said: list[str] = []

        def heard(line: str) -> None:
            for text in log.feed(line):
                said.append(text)
                tell.line(text)
            tell.progress(log.bytes_copied, expected)

        url, ssh_words = store_for_nix(store)
        options = " ".join(
            part for part in (nix_ssh_opts(self._files, os.environ.get("NIX_SSHOPTS")), ssh_words) if part
        )
        argv = nix.copy(built.path, url, nix.copy_options(os.environ))
        async with self._copies:
            ended = await process.stream(argv, on_stderr=heard, env={"NIX_SSHOPTS": options})
        if ended.status:
            raise StepFailed(f"nix copy to {_without_options(store)} failed: {_why_copy(said, log)}")
        if not log.paths_copied:
            return Result(outcome="unchanged", path=built.path, how="present", size=built.size)
        return Result(path=built.path, how="from here", sent=log.bytes_copied, size=built.size)


class _Ended(msgspec.Struct, frozen=True):
    exited: int


class _Counter:
    """Counts the content that a host says it takes from elsewhere.

    Nix first lists the paths that will be fetched, then names each as it begins with it.
    """

    def __init__(self, built: Built, tell: Tell) -> None:
        self._sizes = built.sizes
        self._tell = tell
        self._listed: dict[str, int] = {}
        self.paths: list[str] = []

    def heard(self, line: str) -> None:
        found = _COPYING.search(line)
        if found:
            # What else it says matters only if nothing else helps, and then it is in the warning.
            self._tell.line(strip_control(line))
            self._say()  # those before it are there
            self.paths.append(found[1])
        elif not self.paths and line.startswith("  ") and line.strip() in self._sizes:
            self._listed[line.strip()] = self._sizes[line.strip()]

    def end(self) -> None:
        """Say that all of it is there."""
        if self.paths:
            self._say()

    def _say(self) -> None:
        moved = sum(self._sizes.get(path, 0) for path in self.paths)
        self._tell.progress(moved, sum(self._listed.values()) or sum(self._sizes.values()))


def _fetched(built: Built, counter: _Counter, how: str) -> Result:
    counter.end()
    if counter.paths:
        return Result(path=built.path, how=how, size=built.size)
    return Result(outcome="unchanged", path=built.path, how="present", size=built.size)


def _why(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return shlex.quote(strip_control(lines[-1]))[:200].strip("'") if lines else "it said nothing"


def _why_copy(said: Sequence[str], log: NixLog) -> str:
    """Give what the other side or ssh complained of; Nix itself often sees only that the link has ended."""
    theirs = [line for line in said if _COMPLAINT.search(line) and line not in log.errors]
    text = (theirs or log.errors or ["it said nothing"])[-1]
    return " ".join(text.removeprefix("error: ").split())[:300]


def _without_options(store: str) -> str:
    return store.partition("?")[0]
