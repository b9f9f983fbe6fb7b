"""Marks around what we ask of a host, by which its answer is known to be its own, and whole.

A login may run something else than what was asked: a forced command, `nologin`, a start-up file that exits. What that
prints is no answer. So each command of ours prints a mark before and behind its output, and none of them stands in the
words that are sent: who only repeats these has not run them.

The command comes over the standard input, as a line of its own. The login shell gets words that are always the same,
without a newline, a backslash, an exclamation mark or a quotation mark inside of the quotes: those are what shells
(fish, tcsh, nushell) read each in a way of their own.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import LinkLost, NoAnswer
from nixhive_nb.ssh.chatter import without_chatter
from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nixhive_nb.ssh.link import RemoteResult
    from nixhive_nb.util.process import Finished

WORDS = (
    "exec /bin/sh -c 'IFS= read -r hive_words; "
    # Most commands stand for themselves, which takes no process.
    'case $hive_words in =*) hive_words=${hive_words#=};; *) hive_words=$(printf %b "$hive_words");; esac; '
    """eval "$hive_words"'"""
)
"""What sshd is asked to start: a shell that reads the command as the first line of its input."""
_WORDS_SHOWN = 300
_LINES_SHOWN = 4
_LOG_LINES = 200
_LONGEST_STATUS = 3
_NOT_PLAIN = "\\\n#"
"""What a command may not have that stands for itself in a line: a comment in it would be all that follows."""


class MarkedOutput:
    """What one command prints: its lines while they come, its text and its exit status in the end."""

    def __init__(self) -> None:
        halves = [secrets.token_hex(6) for _ in range(4)]
        self._begin = f"{halves[0]}-{halves[1]}"
        self._end = f"{halves[2]}-{halves[3]}"
        self._begun = False
        self._before: list[str] = []
        self._blank = False
        self._exited: int | None = None

    def marked(self, command: str, *, last: str = "\n") -> str:
        """Return shell words that run a command, and `last` behind it, between our marks."""
        begin, end = (mark.replace("-", '-"') + '"' for mark in (self._begin, self._end))
        # In a shell of its own: an `exec` or an `exit` in it must not keep the second mark from us.
        own = f"({command}{last})"
        return f"echo; echo {begin}; {own}; hive_status=$?; echo; echo {end} $hive_status; exit $hive_status"

    def line(self, command: str) -> bytes:
        """Return the line that `WORDS` read: the marked command behind a `=`, or as `printf %b` makes it again."""
        if any(one in command for one in _NOT_PLAIN):
            text = self.marked(command).replace("\\", "\\\\").replace("\n", "\\n")
        else:
            text = f"={self.marked(command, last='')}"
        return f"{text}\n".encode("utf-8", "surrogateescape")

    def heard(self, line: str) -> Iterator[str]:
        """Take a line of the standard output, and give those that are the command's own."""
        if not self._begun:
            self._begun = line.rstrip("\r") == self._begin
            if not self._begun and len(self._before) < _LINES_SHOWN:
                self._before += _lines(line)
            return
        # Marks are new each time: a pattern made of one would have to be compiled for each command.
        told = line.removesuffix("\r").removeprefix(f"{self._end} ")
        if len(told) <= _LONGEST_STATUS and line.startswith(self._end) and told.isascii() and told.isdigit():
            self._exited = int(told)
        if self._exited is not None:
            return
        # The end of the line before our mark, unless more follows.
        if self._blank:
            yield ""
        self._blank = not line
        if line:
            yield line

    def result(self, ended: RemoteResult, host: str) -> RemoteResult:
        """Return what the command printed and how it ended.

        Raises `NoAnswer` where it was not run, and `LinkLost` where it did not come to its end; with what the login
        said.
        """
        exited = self._status(ended.stdout, ended.stderr, ended.exited, host)
        return msgspec.structs.replace(ended, exited=exited, stdout=self._own(ended.stdout))

    def _own(self, stdout: str) -> str:
        """Return what stands between the lines of our marks. What is cut may lack one."""
        _, begun, behind = f"\n{stdout}".partition(f"\n{self._begin}\n")
        if not begun:
            _, begun, behind = f"\n{stdout}".partition(f"\n{self._begin}\r\n")
        own, ended, _ = (behind if begun else stdout).partition(f"\n{self._end} ")
        return own.removesuffix("\r") if ended else own

    def lost(self, error: LinkLost, host: str) -> LinkLost:
        """Return the error for a link that was lost, with what the login said where that was no answer.

        It may run what waits for more input than there will be.
        """
        if self._begun or not self._before:
            return error
        words = " / ".join(self._before)[:_WORDS_SHOWN]
        return LinkLost(
            f"{host} cannot be asked: its login runs something else than the commands that are sent, and said "
            f"{words!r}. {error}",
            log=self._before,
        )

    def status(self, ended: Finished, host: str) -> int:
        """Return the exit status of a command that a program of ours ran there. Raises as `result` does."""
        for line in ended.stdout.split("\n"):
            for _ in self.heard(line):
                pass
        return self._status(ended.stdout, ended.stderr, ended.status, host)

    def _status(self, stdout: str, stderr: str, exited: int, host: str) -> int:
        if not self._begun:
            said = _said(_lines(stdout) + _lines(stderr), exited)
            raise NoAnswer(
                f"{host} cannot be asked: its login runs something else than the commands that are sent, and {said}.",
                log=_lines(stdout + stderr)[:_LOG_LINES],
            )
        if self._exited is None:
            said = _said(_lines(stderr), exited)
            raise LinkLost(
                f"{host} cannot be asked: its answer broke off, and {said}. What ran there may still run.",
                log=_lines(stderr)[-_LOG_LINES:],
            )
        return self._exited


def _said(lines: Sequence[str], exited: int) -> str:
    words = " / ".join(lines[:_LINES_SHOWN])[:_WORDS_SHOWN]
    return f"said {words!r} (exit status {exited})" if words else f"said nothing (exit status {exited})"


def _lines(text: str) -> list[str]:
    return without_chatter(" ".join(line.split()) for line in strip_control(text).split("\n") if line.strip())
