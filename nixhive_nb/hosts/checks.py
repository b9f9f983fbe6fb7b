"""Whether an instance does its work: its checks, run side by side, each tried until it holds or its time is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from nixhive_nb.errors import HiveError
from nixhive_nb.hosts.facts import FAILED_UNITS, parse_failed_units
from nixhive_nb.plan.facts import CheckResult
from nixhive_nb.ssh.config import SESSIONS
from nixhive_nb.ssh.probe import ProbeChannel, broken, dial_here, explain, http_status, parse_url
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nixhive_nb.deployment.inventory import Check
    from nixhive_nb.ssh.link import Channel, HostLink, RemoteResult

_log = logging.getLogger(__name__)

_LAST_TRY = 0.5
"""Seconds that are kept for the last try."""
_GRACE = 15.0
"""Seconds that a host has to end a command that took too long, before its link is given up."""


async def run_checks(
    checks: Sequence[Check],
    reach: HostLink,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> tuple[CheckResult, ...]:
    """Run the checks of one instance, all at once, and give how each went, in their order.

    The time of a check begins when it does: not while it waits for a session of the connection (see `longest`).
    Whatever goes wrong in a check, the instance's being out of reach too, is its result and is not raised.
    """
    if not checks:
        return ()
    # Threads of our own: in asyncio's few, the checks of a fleet would wait for each other until their time is over.
    pool = ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="hive-check")
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_run(check, _Site(reach, pool), clock, sleep)) for check in checks]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return tuple(task.result() for task in tasks)


def longest(checks: Sequence[Check]) -> int:
    """Return the seconds after which the checks of an instance have all ended, whatever they do.

    Those that need a session go on at once as far as the connection has sessions, and wait in turn beyond that.
    """
    waiting = [_span(check) for check in checks if check.kind in _IN_SESSIONS]
    most = max(map(_span, checks), default=0.0)
    if len(waiting) <= SESSIONS:
        return math.ceil(most)
    # No session is idle while one waits, so the last to begin does so when all are used up at the latest.
    return math.ceil(max(most, sum(waiting) / SESSIONS + max(waiting)))


def _span(check: Check) -> float:
    """Get the seconds after which a check has ended: it may begin to hold late, and the last try may be a slow one."""
    return check.timeout + (check.hold + check.timeout if check.hold else 0.0)


def describe(check: Check) -> str:
    """Return a check in a few words: `http http://localhost/ = 200`."""
    what = {
        "command": shlex.join(check.command),
        "http": f"{check.url} = {check.expect}",
        "tcp": str(check.port),
        "units": "",
    }[check.kind]
    here = "from here" if check.here and check.kind in ("http", "tcp") else ""
    hold = f"for {check.hold:g} s" if check.hold else ""
    return " ".join(strip_control(redact(f"{check.kind} {what} {here} {hold}")).split())


def complaint(results: Sequence[CheckResult]) -> str:
    """Return the first check that does not hold, and how many more; empty when all hold."""
    bad = [result for result in results if not result.ok]
    if not bad:
        return ""
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return f"check {bad[0].name} failed: {bad[0].reason.rstrip('.')}{more}"


class _Site:
    """Where the checks of an instance run."""

    def __init__(self, reach: HostLink, pool: ThreadPoolExecutor) -> None:
        self.reach = reach
        self._pool = pool

    async def address(self) -> str:
        """Return where the instance is. Not in the loop: ssh may have to read its configuration for that."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self.reach.address)

    async def aside(self, where: str, look: Callable[[ProbeChannel], str]) -> str:
        """Look at a server in a thread, and give what is wrong. When cancelled, close what was opened and leave it."""
        opened = ProbeChannel()

        def work() -> str:
            try:
                return look(opened)
            except TimeoutError:
                raise
            except broken() as error:
                return explain(error, where)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            opened.close()


async def _run(
    check: Check, site: _Site, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
) -> CheckResult:
    # Held from the first try to the last: one that queued between its tries would lose its time there.
    async with site.reach.room if check.kind in _IN_SESSIONS else contextlib.nullcontext():
        return await _begun(check, site, clock, sleep)


async def _begun(
    check: Check, site: _Site, clock: Callable[[], float], sleep: Callable[[float], Awaitable[object]]
) -> CheckResult:
    began, tries, broke = clock(), 0, ""
    reason = silence = f"no answer within {check.timeout:g} s"
    holds_since: float | None = None
    until = began + check.timeout
    while until > clock():
        tries += 1
        found = await _try(check, site, until - clock() if holds_since is None else check.timeout)
        # A try that was cut short says less than those before it.
        reason = (reason or silence) if found is None else found
        now = clock()
        if reason and holds_since is not None:
            broke = f" (it had held for {now - holds_since:.1f} s, and must for {check.hold:g} s)"
        if reason:
            holds_since, until = None, began + check.timeout
        elif holds_since is None:
            holds_since, until = now, now + check.hold
        left, last = until - now, _LAST_TRY if reason else min(_LAST_TRY, check.hold / 2)
        if left <= last:
            break
        await sleep(min(check.period, left - last))
    reason += broke if reason else ""
    return CheckResult(
        name=check.name,
        kind=check.kind,
        ok=not reason,
        reason=redact(reason),
        tries=tries,
        seconds=clock() - began,
        description=check.description,
    )


async def _try(check: Check, site: _Site, seconds: float) -> str | None:
    """Return what is wrong in one line; nothing where the check holds, None where that took too long."""
    try:
        async with asyncio.timeout(seconds):
            return _one_line(await _KINDS[check.kind](check, site, seconds))
    except TimeoutError:
        _log.debug("check %s: no answer in %.1f s", check.name, seconds, exc_info=True)
        return None
    except HiveError as error:
        return _one_line(str(error))


async def _command(check: Check, site: _Site, seconds: float) -> str:
    return _wrong_end(await site.reach.run(_bounded(check.command, seconds), seconds=seconds + _GRACE))


async def _units(_check: Check, site: _Site, seconds: float) -> str:
    words = _bounded(("sh", "-c", FAILED_UNITS), seconds)
    ended = await site.reach.run(words, seconds=seconds + _GRACE)
    failed = parse_failed_units(strip_control(ended.stdout))
    if failed is None:
        return _wrong_end(ended) or "systemd does not run there"
    return f"failed: {', '.join(failed)}" if failed else ""


async def _tcp(check: Check, site: _Site, seconds: float) -> str:
    host = await site.address() if check.here else "localhost"

    def look(opened: ProbeChannel) -> str:
        _dial(check, site.reach, (host, check.port), seconds, opened)
        return ""

    return await site.aside(f"{host}:{check.port}", look)


async def _http(check: Check, site: _Site, seconds: float) -> str:
    def look(opened: ProbeChannel) -> str:
        url = parse_url(check.url)
        status = http_status(_dial(check, site.reach, (url.host, url.port), seconds, opened), url)
        return "" if status == check.expect else f"answered {status}, not {check.expect}"

    return await site.aside(check.url, look)


_KINDS = {"command": _command, "http": _http, "tcp": _tcp, "units": _units}
_IN_SESSIONS = ("command", "units")
"""The kinds that need a session of the connection."""


def _bounded(words: Sequence[str], seconds: float) -> str:
    """Get shell words that end on the host itself, just after we have let go of them: else they would go on there."""
    return shlex.join(["timeout", "-k", "2", str(math.ceil(seconds) + 1), *words])


def _wrong_end(ended: RemoteResult) -> str:
    if ended.exited == 0:
        return ""
    lines = [line for line in strip_control(ended.stderr).split("\n") if line.strip()]
    return f"ended with {ended.exited}{f': {lines[-1]}' if lines else ''}"


def _dial(check: Check, reach: HostLink, where: tuple[str, int], seconds: float, opened: ProbeChannel) -> Channel:
    if check.here:
        return dial_here(*where, seconds, opened)
    return opened.keep(reach.dial(*where, seconds))


def _one_line(text: str) -> str:
    return " ".join(strip_control(text).split())[:300]
