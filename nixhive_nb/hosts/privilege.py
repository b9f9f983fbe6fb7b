"""How a login becomes root: the only place that knows. A value of one login, and the words that it makes."""

from __future__ import annotations

import re
import secrets
import shlex
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.deployment.elevating import NONE, PROGRAMS
from nixhive_nb.hosts.password import Password
from nixhive_nb.util import said
from nixhive_nb.util.text import count_text

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
_MISSING = re.compile(r"(?:.*\bexec: \S+: )?(?:command )?(?:not found|No such file or directory)")
"""What a shell says, as a whole, of a program that is not there. What the program itself says begins in another way."""
_LOCKED = r"account (?:is|has been|was) (?:temporarily )?locked"
_EXPIRED = r"(?:account|password) (?:is|has) expired|account validation failure|reset your password|password change"
_UNLOCK = (
    "It takes no password of that user for a while, since some were wrong: wait, or have root say "
    "`faillock --user USER --reset` there"
)
_AT_TERMINAL = "It asks for a password at a terminal alone, which nobody has here"
_RULE = (
    f"{_AT_TERMINAL}: have a polkit rule answer, in "
    "/etc/polkit-1/rules.d or security.polkit.extraConfig: `polkit.addRule(function(action, subject) { if "
    '(action.id == "org.freedesktop.systemd1.manage-units" && subject.user == "USER") return '
    "polkit.Result.YES; });`"
)
_ADVICE: dict[str, tuple[tuple[str, str], ...]] = {
    "sudo": (
        (r"\btty\b", "It wants a terminal, which nobody has here: say `Defaults:USER !requiretty` in its sudoers"),
        (r"setuid|privileges", "It has no right of its own to make root: see how its file and its mount are set"),
        (_LOCKED, _UNLOCK),
        (_EXPIRED, "Log in as that user and set a new password, or have root do so"),
        (
            r"password is required",
            "Let the login user use sudo without a password, or say --ask-password",
        ),
        (r"sudoers|not allowed|may not run", "Let the login user run everything: `USER ALL=(root) NOPASSWD: ALL`"),
        (r"incorrect|try again", "Its password is another one by now"),
        ("", "Let the login user use sudo without a password"),
    ),
    "doas": (
        (
            r"tty|uthentication",
            f"{_AT_TERMINAL}: say `permit nopass USER as root` in its doas.conf",
        ),
        (r"not enabled|syntax error|writable|owned", "See that its doas.conf says `permit nopass USER as root`"),
        ("", "Say `permit nopass USER as root` in its doas.conf"),
    ),
    "run0": (
        ("option", "It needs systemd 256 or newer"),
        (r"connect to.*bus|D-?Bus|Transport endpoint", "It needs a systemd and a system bus that run there"),
        ("", _RULE),
    ),
}
"""What to do, by the program and by what it said: the first that fits."""
_NOTHING = "Nothing was changed."
_TAKE = ("sudo",)
"""The programs that take a password from us."""
_ASKED_FOR = "nixhive-asks-for:"
"""Stands in the prompt of sudo, which is never shown, before whose password it wants, and who wants to be root."""
_ASKS = re.compile(r"password is required|Authentication required", re.IGNORECASE)
_WRONG = re.compile(r"incorrect password|incorrect authentication|try again|no password was provided", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"sudoers|not allowed to|may not run|\btty\b|no printf of its own", re.IGNORECASE)
"""What it says of a login that lacks something else than the right password."""
_FOR_USER = re.compile(rf"{_ASKED_FOR}([^:\s]{{1,64}}):([^:\s]{{1,64}}):")
_COUNTS = "nixhive-counts: "
_FAILURES = re.compile(rf"^{_COUNTS}([0-9]{{1,6}})$\n?", re.MULTILINE)
REFUSED = 231
"""How the words below end where root is not become."""
# No quotation mark but ", no backslash and no newline stands in these, which login shells understand in different ways.
# A password comes twice: for a look whether it is right, whose input ends with it, so that nothing else is tried as a
# password; and for the command itself. `-k` has sudo neither use nor leave a note that it was asked a moment ago.
# A printf that is a program would have the password among its arguments.
_OWN_PRINTF = (
    'case $(command -v printf) in */*) echo "sudo: it was given no password: /bin/sh there has no printf of its own" '
    f">&2; exit {REFUSED};; esac; "
)
_TAKE_PASSWORD = f"{_OWN_PRINTF}IFS= read -r _hive_secret || exit {REFUSED}; "
# What counts failures says nothing through sudo: an account that it has locked looks like a wrong password.
_COUNTED = (
    '_hive_count=$(PATH=$PATH:/usr/sbin:/sbin faillock 2>/dev/null | grep -c " V$") && '
    f'echo "{_COUNTS}$_hive_count" >&2; '
)
_FEED = '{ printf %s "$_hive_secret"; echo; }'
# Where sudo has not asked after all, the second one is still there: what is before the mark is never run.
_DROP = 'while IFS= read -r _hive_it || exit {refused}; do [ "$_hive_it" != {mark} ] || break; done; unset _hive_it; '


_QUIET_PROMPT = ""


class Elevation(msgspec.Struct, frozen=True):
    """How one login becomes root. Without words nothing is put before a command."""

    words: tuple[str, ...] = ("sudo", "-n", "--")
    password: Password | None = None
    """What it is asked there; `input` sends it in front of what the command itself reads."""
    mark: str = ""
    """What stands between that and the rest of the input. It is new each time, and no secret."""

    @property
    def program(self) -> str:
        """The program that makes it root; empty where none does."""
        return self.words[0].rpartition("/")[2] if self.words else ""

    def input(self, text: str = "") -> str:
        """Return what is to be the input of a command by `shell` or `asking`: a text, behind the password if any."""
        if self.password is None:
            return text
        return f"{self.line()}{self.line()}{self.mark}\n{text}"

    def line(self) -> str:
        """Return what is to be the input of a command with `taking`: the password; nothing where there is none."""
        return f"{self.password.text()}\n" if self.password is not None else ""

    def shell(self, run: str, words: Sequence[str] = (), *, says_login: bool = False) -> str:
        """Return the text of a shell that has root run a text with these words; root needs no further shell for it.

        `says_login`: where root has to be become, the number of the user that has logged in is one more word.
        """
        if not self.words:
            return f"set -- {shlex.join(words)}\n{run}"
        login = _LOGIN if says_login else ""
        if self.password is not None:
            return self.asking(f"/bin/sh -c {shlex.quote(self.behind_mark(run))} nixhive {shlex.join(words)}{login}")
        return f"exec {shlex.join(self.words)} /bin/sh -c {shlex.quote(run)} nixhive {shlex.join(words)}{login}"

    def before(self, command: str) -> str:
        """Return shell words that have root run a command, itself shell words, that reads no input.

        With a password, `taking` stands once before all of them.
        """
        if self.password is not None:
            return f"{_FEED} | {self._sudo(_QUIET_PROMPT)} {command}"
        return f"{shlex.join(self.words)} {command}" if self.words else command

    @property
    def taking(self) -> str:
        """Shell words that take the password from the input, for `before`; none where there is none."""
        return _TAKE_PASSWORD if self.password is not None else ""

    def behind_mark(self, run: str) -> str:
        """Return the text of a shell that runs a text whose input is that behind the mark."""
        return f"{_DROP.format(refused=REFUSED, mark=self.mark)}{run}" if self.password is not None else run

    def asking(self, command: str) -> str:
        """Return shell words that have root run a command in their place, by a password that their input begins with.

        `command` are shell words, and has to run something by `behind_mark`. A wrong password is tried once.
        """
        look = f"{_FEED} | LC_ALL=C {self._sudo(f'{_ASKED_FOR}%p:%u:')} /bin/sh -c : 2>&1"
        told = f'{_COUNTED}printf %s "$_hive_said" >&2; echo >&2; exit {REFUSED}'
        return (
            f"{_TAKE_PASSWORD}_hive_said=$({look}) || {{ {told}; }}; "
            f"unset _hive_secret _hive_said; exec {self._sudo(_QUIET_PROMPT)} {command}"
        )

    def _sudo(self, prompt: str) -> str:
        first, *options = self.words
        return f'{shlex.quote(first)} -S -k -p "{prompt}" {shlex.join(options)}'


AS_IT_IS = Elevation(())
"""For a login that is root, or is to be taken as it is."""
NOBODY = Elevation(("false",))
"""For a command that has no way to root: what needs one fails in it."""
SUDO = Elevation()
"""What is done where nothing is said."""


def elevation(elevate: Sequence[str], *, root: bool, password: Password | None = None) -> Elevation:
    """Return how a login becomes root, by what the deployment says of that, if anything. One that is root is so."""
    if root or tuple(elevate) == (NONE,):
        return AS_IT_IS
    if password is not None and takes_password(elevate):
        first, *rest = elevate or ("sudo",)
        options = [word for word in rest if word not in (_QUIET["sudo"], _ENDS)]
        return Elevation((first, *options, _ENDS), password, secrets.token_hex(8))
    if not elevate:
        return SUDO
    first, *rest = elevate
    program = first.rpartition("/")[2]
    if program not in PROGRAMS:
        return Elevation((first, *rest))
    rest = rest[:-1] if rest[-1:] == [_ENDS] else rest
    quiet = [_QUIET[program]] if _QUIET[program] not in rest else []
    return Elevation((first, *quiet, *rest, _ENDS))


def takes_password(elevate: Sequence[str]) -> bool:
    """Return whether what makes root takes a password from us."""
    return (elevate[0].rpartition("/")[2] if elevate else "sudo") in _TAKE


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a login that is not root."""

    why: str = ""
    """Why it does not become root, and what to do; empty where it does."""
    asks: bool = False
    """Whether a password is all that it lacks, and it takes one from us."""
    wrong: bool = False
    """Whether the password that was tried is refused there."""


async def power_of(link: HostLink, elevate: Sequence[str], password: Password | None = None) -> Power:
    """See whether a login that is not root becomes it: without a question, or by a password, which is tried once.

    Raises `ConnectionFailed`, `LinkLost` or `NoAnswer`.
    """
    by = elevation(elevate, root=False, password=password)
    if not by.words:
        return Power(why=refused("", by))
    # Its own language is no matter of ours: what it says is compared.
    words = f"LC_ALL=C; export LC_ALL; {by.shell(_PROBE)}"
    ended = await link.run(words, seconds=_PROBE_SECONDS, stdin=by.input() if by.password else None)
    if ended.exited == 0:
        return Power()
    if ended.exited == _OTHER:
        return Power(why=refused("it starts programs, and not as root", by))
    if by.password is not None:
        return _refused_password(ended.stderr, by)
    told = _said_by(ended.stderr, by) or _last(ended.stderr)
    return Power(why=refused(told, by), asks=takes_password(elevate) and bool(_ASKS.search(told)))


def _refused_password(stderr: str, by: Elevation) -> Power:
    """Return what became of a password that was tried: refused, or of no use since something else is missing.

    What a refused one is answered with can be set (`insults`, `authfail_message`). So all that follows its question
    counts as that, but for what is known to be something else: a wrong password must not go to the next host.
    """
    failures, stderr = _FAILURES.search(stderr), _FAILURES.sub("", stderr)
    asked, text = _FOR_USER.search(stderr), _FOR_USER.sub("", stderr)
    told = _said_by(text, by) or _last(text)
    # Behind the question it tells that this very attempt was one too many.
    before = stderr[: asked.start()] if asked else stderr
    if locked := _line_with(_LOCKED, before) or _line_with(_EXPIRED, text):
        return Power(why=refused(locked, by))
    if _NOT_ALLOWED.search(told) or not (asked or _WRONG.search(text)):
        return Power(why=refused(told, by))
    # So it is with rootpw, targetpw and runaspw in its sudoers.
    other = f"; it asked for the password of {asked[1]}, not of {asked[2]}" if asked and asked[1] != asked[2] else ""
    counted = f"; {_counted_text(int(failures[1]))}" if failures else ""
    return Power(why=f"{told}{other}{counted}", wrong=True)


def _counted_text(count: int) -> str:
    return (
        f"faillock counts {count_text(count, 'failure')} of that user: where these are too many, no password is taken"
    )


def _line_with(pattern: str, text: str) -> str:
    """Return the first line in which a pattern is found; empty where it is in none."""
    lines = [line for line in text.splitlines() if re.search(pattern, line, re.IGNORECASE)]
    return said.one_line(lines[0], _MOST_SAID).strip().removeprefix("sudo: ") if lines else ""


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
    if _MISSING.fullmatch(why):
        others = ", ".join(f'"{one}"' for one in PROGRAMS if one != by.program)
        what = f"there is no {by.program} on the host: set `elevate` ({others}, or a list of words), or log in as root"
        return f"{what}. {_NOTHING}"
    advice = next((advice for cause, advice in _ADVICE.get(by.program, ()) if re.search(cause, why, re.IGNORECASE)), "")
    usual = f"See that `{shlex.join(by.words)}` makes root there without a question"
    return f"{by.program} was refused ({why or 'it said nothing'}). {advice or usual}, or log in as root. {_NOTHING}"
