"""How a login becomes root: the only place that knows. A value of one login, and the words that it makes."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.elevating import NONE, PROGRAMS
from nixhive_nb.util import said

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixhive_nb.ssh.link import HostLink

_QUIET = {"sudo": "-n", "doas": "-n", "run0": "--no-ask-password"}
"""What keeps a program from asking: nobody is there to answer."""
_ENDS = "--"
_PROBE_SECONDS = 60
"""How long it may take: sudo waits where a host asks others who its users are."""
_OTHER = 65
_PROBE = f'[ "$(id -u)" = 0 ] || exit {_OTHER}'
_LOGIN = ' "$(id -u)"'
_MOST_SAID = 200
_OF_RUN0 = re.compile(r"transient service unit|uthentication required|Access denied|unrecognized option")
"""What it says without its name."""
_MISSING = re.compile(r"not found$|No such file or directory$")
_ADVICE: dict[str, tuple[tuple[str, str], ...]] = {
    "sudo": (
        (r"\btty\b", "It wants a terminal, which nobody has here: say `Defaults:USER !requiretty` in its sudoers"),
        (r"setuid|privileges", "It has no right of its own to make root: see how its file and its mount are set"),
        (r"sudoers|not allowed|may not run", "Let the login user run everything: `USER ALL=(root) NOPASSWD: ALL`"),
        ("", "Let the login user use sudo without a password"),
    ),
    "doas": (
        (r"tty|uthentication", "It takes no password here: say `permit nopass USER as root` in its doas.conf"),
        ("", "Say `permit nopass USER as root` in its doas.conf"),
    ),
    "run0": (
        ("option", "It needs systemd 256 or newer"),
        (
            "",
            "A polkit rule has to let the login user do org.freedesktop.systemd1.manage-units without a question",
        ),
    ),
}
"""What to do, by the program and by what it said: the first that fits."""
_NOTHING = "Nothing was changed."


class Elevation(msgspec.Struct, frozen=True):
    """How one login becomes root. Without words nothing is put before a command."""

    words: tuple[str, ...] = ("sudo", "-n", "--")

    @property
    def program(self) -> str:
        """The program that makes it root; empty where none does."""
        return self.words[0].rpartition("/")[2] if self.words else ""

    def shell(self, run: str, words: Sequence[str] = (), *, says_login: bool = False) -> str:
        """Return the text of a shell that has root run a text with these words; root needs no further shell for it.

        `says_login`: where root has to be become, the number of the user that has logged in is one more word.
        """
        if not self.words:
            return f"set -- {shlex.join(words)}\n{run}"
        login = _LOGIN if says_login else ""
        return f"exec {shlex.join(self.words)} /bin/sh -c {shlex.quote(run)} nixhive {shlex.join(words)}{login}"

    def before(self, command: str) -> str:
        """Return shell words that have root run a command, itself shell words."""
        return f"{shlex.join(self.words)} {command}" if self.words else command


AS_IT_IS = Elevation(())
"""For a login that is root, or is to be taken as it is."""
SUDO = Elevation()
"""What is done where nothing is said."""


def elevation(elevate: Sequence[str], *, root: bool) -> Elevation:
    """Return how a login becomes root, by what the deployment says of that, if anything. One that is root is so."""
    if root or tuple(elevate) == (NONE,):
        return AS_IT_IS
    if not elevate:
        return SUDO
    first, *rest = elevate
    program = first.rpartition("/")[2]
    if program not in PROGRAMS:
        return Elevation((first, *rest))
    rest = rest[:-1] if rest[-1:] == [_ENDS] else rest
    quiet = [_QUIET[program]] if _QUIET[program] not in rest else []
    return Elevation((first, *quiet, *rest, _ENDS))


async def powerless(link: HostLink, elevate: Sequence[str]) -> str:
    """See whether a login that is not root becomes it. Return why not, and what to do; empty where it does.

    Raises `ConnectionFailed`, `LinkLost` or `NoAnswer`.
    """
    by = elevation(elevate, root=False)
    if not by.words:
        return refused("", by)
    ended = await link.run(f"exec {shlex.join(by.words)} /bin/sh -c {shlex.quote(_PROBE)}", seconds=_PROBE_SECONDS)
    if ended.exited == 0:
        return ""
    if ended.exited == _OTHER:
        return refused("it starts programs, and not as root", by)
    return refused(_said_by(ended.stderr, by) or _last(ended.stderr), by)


def refusal(stderr: str, by: Elevation, *, root: bool) -> str:
    """Return the message for what ended before it began, where that is since root was not become; else nothing."""
    if root:
        return ""
    if not by.words:
        return refused("", by)
    told = _said_by(stderr, by)
    return refused(told, by) if told else ""


def _said_by(stderr: str, by: Elevation) -> str:
    """Return why the program that was to make root, or the shell for it, says that it did not; empty where it did."""
    # Its warnings stand before what the script itself says, which is not of it then.
    last = _last(stderr)
    ours = re.search(rf"(?:^|[\s/]){re.escape(by.program)}(?:-rs)?: (.*)$", last)
    if ours:
        return ours[1].strip()
    return last if by.program == "run0" and _OF_RUN0.search(last) else ""


def _last(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return said.one_line(lines[-1], _MOST_SAID).strip() if lines else ""


def refused(why: str, by: Elevation = SUDO) -> str:
    """Return the message for a login that does not become root: what was said, and what to do."""
    if not by.words:
        return f'the login is not root, and `elevate` is "none": log in as root, or leave `elevate` out. {_NOTHING}'
    if _MISSING.search(why):
        others = ", ".join(f'"{one}"' for one in PROGRAMS if one != by.program)
        what = f"there is no {by.program} on the host: set `elevate` ({others}, or a list of words), or log in as root"
        return f"{what}. {_NOTHING}"
    advice = next((advice for cause, advice in _ADVICE.get(by.program, ()) if re.search(cause, why, re.IGNORECASE)), "")
    usual = f"See that `{shlex.join(by.words)}` makes root there without a question"
    return f"{by.program} was refused ({why or 'it said nothing'}). {advice or usual}, or log in as root. {_NOTHING}"
