"""Programs that log in by OpenSSH: run again where sshd hung up before the login, as it does when many come at once."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from nixhive_nb.util.process import Finished
from nixhive_nb.util.said import MOST_LINE

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

TRIES = 6
_HUNG_UP = re.compile(r"^(?:kex|ssh)_exchange_identification: ", re.MULTILINE)
# The ssh in front of a jump host says that as well, whatever was wrong there: the jump's own ssh tells.
_ANOTHER_REASON = re.compile(
    r"Permission denied|Host key verification|HOST IDENTIFICATION|^ssh: |Connection (?:refused|timed out)|No route to",
    re.MULTILINE,
)
_UNTOLD = re.compile(r"failed to start SSH connection to")
"""What Nix (seen with 2.34) says where it ended its ssh, before or after that could tell why."""
_REASON = re.compile(rf"{_HUNG_UP.pattern}|{_ANOTHER_REASON.pattern}", re.MULTILINE)
_ASKED_SECONDS = 30.0
"""How long ssh may take to tell why a host does not take us."""
_KEPT_LINES = 500
MANY = "Do too many log in at once (MaxStartups)?"


class ProgramRun(Protocol):
    """Runs a program."""

    async def __call__(self, *, on_stderr: Callable[[str], None]) -> Finished:
        """Return how it ended, and hand each line of its standard error on."""


def is_hung_up(stderr: str) -> bool:
    """Return whether ssh was hung up on before the login: the host may take us the next time."""
    return bool(_HUNG_UP.search(stderr)) and not _ANOTHER_REASON.search(stderr)


async def persist(
    run: ProgramRun,
    where: str,
    tell: Callable[[str], None],
    on_stderr: Callable[[str], None] = lambda _: None,
    *,
    ssh: ProgramRun | None = None,
) -> Finished:
    """Run what logs in by OpenSSH, again where it was hung up on; return how it ended at last, with its last lines.

    At most `TRIES` times, within some ten seconds beside its own. `where` is what it logs in to, for a line of that.
    `ssh` does nothing but log in there: it tells why where Nix does not.
    """
    for tries in range(1, TRIES + 1):
        ended = await _heard(run, on_stderr)
        may_be_taken, what = is_hung_up(ended.stderr), "hung up before the login"
        if ssh is not None and ended.status and is_untold(ended.stderr):
            asked = await _asked(ssh, on_stderr)
            ended = msgspec.structs.replace(ended, stderr=f"{ended.stderr}\n{asked.stderr}")
            may_be_taken = not asked.status or is_hung_up(asked.stderr)
            what = what if asked.status else "did not let Nix in, and lets ssh in now"
        if ended.status == 0 or tries == TRIES or not may_be_taken:
            break
        pause = random.uniform(0.5, 1.5) * min(0.2 * 2**tries, 3.0)  # noqa: S311 - spreads the load
        _log.info("%s: try %s of %s failed, the next comes in %.1f s", where, tries, TRIES, pause)
        tell(f"{where} {what}: it is tried again")
        await asyncio.sleep(pause)
    return ended


def is_untold(stderr: str) -> bool:
    """Return whether Nix could not log in, and nothing says why: it may end its ssh before that has said it."""
    return bool(_UNTOLD.search(stderr)) and not _REASON.search(stderr)


async def _asked(ssh: ProgramRun, on_stderr: Callable[[str], None]) -> Finished:
    try:
        async with asyncio.timeout(_ASKED_SECONDS):
            return await _heard(ssh, on_stderr)
    except TimeoutError:
        _log.debug("ssh does not tell why it is not let in", exc_info=True)
        return Finished(argv=(), status=1, stdout="", stderr="")


async def _heard(run: ProgramRun, on_stderr: Callable[[str], None]) -> Finished:
    said: deque[str] = deque(maxlen=_KEPT_LINES)

    def heard(line: str) -> None:
        said.append(line[:MOST_LINE])
        on_stderr(line)

    return msgspec.structs.replace(await run(on_stderr=heard), stderr="\n".join(said))
