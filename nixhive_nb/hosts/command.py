"""A command for any number of hosts: what sshd is asked to start, and what travels over its standard input.

What sshd starts stands in the list of processes of a host, for all to read. So scripts and the values of variables
come over the standard input, before the input of the command itself: a line each, read by a shell that is the same for
all of them. Nothing runs before all of it has come.
"""

from __future__ import annotations

import functools
import re
import secrets
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.hosts import privilege
from nixhive_nb.hosts.privilege import REFUSED, SUDO, elevation
from nixhive_nb.nix import commands
from nixhive_nb.ssh.bound import END_SESSION

if TYPE_CHECKING:
    from nixhive_nb.hosts.password import Password
    from nixhive_nb.hosts.privilege import Elevation
    from nixhive_nb.ssh.link import RemoteResult

SHELL = ("/bin/sh",)
"""What runs a script."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_OURS = "_hive_"
_SHELLS_OWN = frozenset((
    "_", "BASH", "BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0", "BASH_CMDS",
    "BASH_COMMAND", "BASH_LINENO", "BASH_MONOSECONDS", "BASH_SOURCE", "BASH_SUBSHELL", "BASH_TRAPSIG", "BASH_VERSINFO",
    "BASH_VERSION", "COMP_WORDBREAKS", "DIRSTACK", "EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS",
    "HISTCMD", "IFS", "LINENO", "OLDPWD", "OPTERR", "OPTIND", "PIPESTATUS", "PPID", "PS1", "PS2", "PWD", "RANDOM",
    "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM", "UID",
))  # fmt: skip
"""What dash or bash refuses to take, or takes and then sets to a value of its own, most of it without a word."""

# No quotation mark, backslash or newline stands in these, which login shells understand in different ways. `read` takes
# no more from a pipe than its line, so that the rest is the input of the command.
_READ = (
    # What we need ourselves, whatever the variables are.
    '_hive_path=$PATH; _hive_shell="${SHELL:-/bin/sh}"; '
    # Most lines stand for themselves, which takes no process.
    "_hive_read() { IFS= read -r _hive_it || exit 1; case $_hive_it in =*) _hive_it=${_hive_it#=};; *) "
    '_hive_it=$(printf "%b." "${_hive_it#?}"); _hive_it=${_hive_it%.};; esac; }; '
    '_hive_read; _hive_left=$_hive_it; while [ "$_hive_left" -gt 0 ]; do '
    '_hive_read; _hive_name=$_hive_it; _hive_read; export "$_hive_name=$_hive_it"; '
    "_hive_left=$((_hive_left - 1)); done; "
    'set --; _hive_read; _hive_left=$_hive_it; while [ "$_hive_left" -gt 0 ]; do '
    '_hive_read; set -- "$@" "$_hive_it"; _hive_left=$((_hive_left - 1)); done; '
    "_hive_read; _hive_ending=$_hive_it; _hive_read; _hive_size=$_hive_it; "
    "_hive_read; _hive_text=$_hive_it; exec 5<&0; "
)
# A process beside the command goes on reading after its input. It ends the whole session at our word, and when its
# input ends before the command did: then our side of the link is gone. sshd would pass a signal on, but not where root
# has logged in. It is not a child of the command, which may wait for all that it has. Two variables of bash would end
# it: how long to wait for input, and how deep functions may go.
_LISTEN = (
    f"{END_SESSION}"
    '_hive_end() { trap "" TERM HUP INT; PATH=$_hive_path; while IFS= read -r _hive_it; do '
    'if [ "$_hive_it" = "$_hive_ending" ]; then _hive_end_session; return; fi; done; '
    "if kill -0 $$; then _hive_end_session; fi; }; "
    "_hive_listen() { ( { unset TMOUT FUNCNEST; _hive_end; } <&5 >/dev/null 2>&1 & ) }; "
)
_RUN = (
    # Without a program it is a command for the login shell. Where that is the one that runs this, no other is started,
    # which would take as long as many a command.
    '_hive_run() { exec 5<&-; if [ "$#" -eq 0 ]; then '
    # It is waited for: OpenSSH does not tell of a signal that ends what sshd has started.
    '[ "$_hive_shell" = /bin/sh ] || { "$_hive_shell" -c "$_hive_text"; exit; }; '
    'eval "unset _hive_text; $_hive_text"; exit; fi; '
    # The script is a file of its own to the program, which keeps its input.
    'exec 4<&0; printf "%s" "$_hive_text" | "$@" /dev/fd/3 3<&0 <&4 4<&-; }; '
    'if [ "$_hive_size" -gt 0 ]; then { PATH=$_hive_path head -c "$_hive_size" <&5; _hive_listen; } | _hive_run "$@"; '
    'else _hive_listen; exec </dev/null; _hive_run "$@"; fi'
)
_BEGIN = f"{_READ}{_LISTEN}{_RUN}"
_AS_ROOT = (
    'if [ "$(id -u)" -eq 0 ]; then exec /bin/sh -c "$1" /bin/sh; fi; _hive_begin=$1; shift; '
    '"$@" /bin/sh -c "$_hive_begin" /bin/sh; _hive_status=$?; '
    # Its own failure has the status of many a command: see whether it would start anything.
    'case $_hive_status in 1|126|127) "$@" /bin/sh -c : 2>/dev/null || exit REFUSED;; esac; exit "$_hive_status"'
).replace("REFUSED", str(REFUSED))


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What is to run on a host."""

    what: str
    """What it is called: the command, or `a script`."""
    command: str
    """For the login shell; as root by `sudo`, where that is wanted. See `command_by`."""
    stdin: bytes
    ending: bytes
    """What ends it when it is sent after `stdin`."""
    sudo: bool = False

    def elevation_for(self, elevate: Sequence[str], password: Password | None = None) -> Elevation | None:
        """Return how an instance becomes root for it, where that is another way than `command` has; else None."""
        return elevation(elevate, root=False, password=password) if self.sudo and (elevate or password) else None

    def command_by(self, by: Elevation | None) -> str:
        """Return the command for an instance whose logins become root in a way of their own."""
        return _as_root(by) if by is not None else self.command

    def stdin_by(self, by: Elevation | None) -> bytes:
        """Return the input for that: a password, where there is one, and what it is without."""
        return (_encoded(by.input()) if by is not None else b"") + self.stdin


@functools.cache
def own_script(name: str) -> str:
    """Return a script of ours as it is sent, with each question to each host: without what is for readers."""
    lines = (line.strip() for line in files("nixhive_nb").joinpath(name).read_text().splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("#"))


def errand_of(
    command: str = "",
    *,
    script: str = "",
    shell: str | Sequence[str] = (),
    sudo: bool = False,
    variables: Mapping[str, str] | None = None,
    stdin: bytes | str | None = None,
) -> Errand:
    """Return what has a host run a command in its login shell, or a script.

    `shell` is the program and its first words that get the script as a file, without one `/bin/sh`; a command is a
    script for it, too. `sudo` has root run it. `variables` are in its environment, `stdin` is its input. Raises
    `OptionError` where there is neither or both, for a name that cannot be one of a variable, and for what is not text.
    """
    if bool(command) == bool(script):
        raise OptionError("Give a command or a script to run, and not both.")
    variables = variables or {}
    if not isinstance(stdin, str | bytes | None):
        raise OptionError(f"The input is not text and no bytes, but {type(stdin).__name__}.")
    if not isinstance(shell, Sequence):
        raise OptionError(f"The shell is not text and no list of words, but {type(shell).__name__}.")
    if not isinstance(variables, Mapping):
        raise OptionError(f"The variables are no dict of names and values, but {type(variables).__name__}.")
    data = _encoded(stdin) if isinstance(stdin, str) else stdin or b""
    for name in variables:
        check_name(name)
    pairs = [text for pair in variables.items() for text in pair]
    words = (shell,) if isinstance(shell, str) else tuple(shell) or (SHELL if script else ())
    ending = secrets.token_hex(8)
    head = [str(len(variables)), *pairs, str(len(words)), *words, ending, str(len(data)), script or command]
    begin = _as_root(SUDO) if sudo else f"{commands.posix(_BEGIN)} /bin/sh"
    return Errand(
        what="a script" if script else command,
        command=begin,
        stdin=_encoded("".join(f"{_line(text)}\n" for text in head)) + data,
        ending=f"\n{ending}\n".encode(),
        sudo=sudo,
    )


def _as_root(by: Elevation) -> str:
    if not by.words:
        only = f'[ "$(id -u)" -eq 0 ] || exit {REFUSED}; exec /bin/sh -c "$1" /bin/sh'
        return f"{commands.posix(only)} nixhive {shlex.quote(_BEGIN)}"
    if by.password is not None:
        asking = by.asking('/bin/sh -c "$1" /bin/sh')
        return f"{commands.posix(asking)} nixhive {shlex.quote(by.behind_mark(_BEGIN))}"
    return f"{commands.posix(_AS_ROOT)} nixhive {shlex.quote(_BEGIN)} {shlex.join(by.words)}"


def is_name(text: object) -> bool:
    """Return whether a text has the form of the name of a variable."""
    return isinstance(text, str) and bool(_NAME.fullmatch(text))


def check_name(name: str) -> None:
    """Raise `OptionError` for what cannot be the name of a variable."""
    if not is_name(name):
        raise OptionError(f"'{name}' cannot be the name of a variable: use letters, digits and _, and no digit first.")
    if name in _SHELLS_OWN:
        raise OptionError(f"'{name}' cannot be the name of a variable: shells set it themselves.")
    if name.startswith(_OURS):
        raise OptionError(f"'{name}' cannot be the name of a variable: names with {_OURS} are our own.")


def refusal(errand: Errand, ended: RemoteResult, elevate: Sequence[str] = ()) -> str:
    """Return the message for a host where root was not become, by what was said there; empty where it was."""
    if not errand.sudo or ended.exited != REFUSED:
        return ""
    return privilege.refusal(ended.stderr, elevation(elevate, root=False), root=False)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise OptionError("A script, a variable or the input is not valid Unicode (half a surrogate pair).") from None


def _line(text: object) -> str:
    """Return a text as one line: behind a `=` as it is, or behind a `%` so that `printf %b` makes it again."""
    if not isinstance(text, str):
        raise OptionError(f"There is a value that is not text, but {type(text).__name__}: make it text with str().")
    if "\0" in text:
        raise OptionError("There is a NUL in a script or a variable, which no shell and no environment can hold.")
    if "\\" not in text and "\n" not in text:
        return f"={text}"
    return "%" + text.replace("\\", "\\\\").replace("\n", "\\n")
