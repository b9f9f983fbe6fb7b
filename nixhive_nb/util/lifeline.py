"""What we started ends when we are gone, however that came about: a shell beside us sees to it.

It reads from a pipe whose other end is ours alone. The kernel closes that when we end, also by `kill -9`, and the shell
then ends what it was told of. It is started with the first program.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import threading
from typing import TYPE_CHECKING

from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)
# `+N` is to be ended, and `-N` has ended; N is what `kill` takes: a process, or with a minus a whole group.
_WATCH = """\
trap '' INT TERM HUP QUIT TSTP
held=' '
while IFS= read -r line; do
  one=${line#?}
  case $line in
    +*) held="$held$one " ;;
    *) while case $held in *" $one "*) ;; *) false ;; esac; do held="${held%% $one *} ${held#* $one }"; done ;;
  esac
done
[ "$held" != ' ' ] || exit 0
each() { for one in $held; do kill "$1" "$one" 2>/dev/null && some=1; done; }
each -TERM
left=30
while [ "$left" -gt 0 ]; do
  # Again after a second: Nix does not hear a signal that comes just before it waits.
  some=; if [ $((left % 10)) = 0 ] && [ "$left" -lt 30 ]; then each -TERM; else each -0; fi
  [ -n "$some" ] || exit 0
  sleep 0.1
  left=$((left - 1))
done
each -KILL
"""
_PATIENCE = 5.0
"""Seconds in which the shell ends when we end in good order."""


class _Watcher:
    """The shell, and our end of its pipe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shell: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    def pipe(self) -> int:
        """Return our end of the pipe to the shell, which is started where there is none, or it was killed."""
        with self._lock:
            if self._shell is not None and self._shell.poll() is not None:
                _log.debug("the shell that ends what we started is gone: another is started")
                self._leave()
            if self._shell is None:
                self._start()
            return self._pipe

    def tell(self, line: str) -> None:
        """Tell the shell."""
        with swallowed(
            _log, "telling the shell that ends what we started", BrokenPipeError
        ):  # somebody has killed it just now
            os.write(self.pipe(), f"{line}\n".encode())

    def close(self) -> None:
        """End the shell: it has nothing more to do."""
        with self._lock:
            shell = self._shell
            self._leave()
        if shell is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                shell.wait(_PATIENCE)

    def forget(self) -> None:
        """Leave it to the process that we were forked from."""
        self._lock = threading.Lock()
        self._leave()

    def _start(self) -> None:
        reader, self._pipe = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _WATCH, "nixhive-lifeline"],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._pipe)
            self._pipe = -1
            raise
        finally:
            os.close(reader)

    def _leave(self) -> None:
        self._shell = None
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1


_watcher = _Watcher()
# A fork of ours (multiprocessing) has our end of the pipe as well, and would keep it open after us.
os.register_at_fork(after_in_child=_watcher.forget)
atexit.register(_watcher.close)


def words(argv: Sequence[str], *, stdin: str) -> list[str]:
    """Return the words that have a program ended when we are gone, from before its beginning on.

    They need `descriptor` as their standard input; that of the program comes from `stdin`, in the words of a shell. The
    program leads a session of its own. When it has ended, `release` its group.
    """
    # It holds the pipe until it has told of itself: in between the shell beside us does not take us for dead.
    return ["/bin/sh", "-c", f'(echo "+-$$" >&0) 2>/dev/null; exec "$@" {stdin}', "sh", *argv]


def words_attached(argv: Sequence[str]) -> list[str]:
    """Return the words that have a program ended when we are gone, and leave it its input, output and session.

    When it has ended, `release` it.
    """
    ours = os.getpid()
    tell = f'(echo "+$$" >/proc/{ours}/fd/{_watcher.pipe()}) 2>/dev/null || kill -0 {ours} 2>/dev/null || exit 1'
    return ["/bin/sh", "-c", f'{tell}; exec "$@"', "sh", *argv]


def descriptor() -> int:
    """Return the standard input for `words`."""
    return _watcher.pipe()


def hold(target: int) -> None:
    """Have a process ended when we are gone, or with a negative number the group that it leads.

    It may have told of itself before.
    """
    _watcher.tell(f"+{target}")


def release(target: int) -> None:
    """Say that it has ended: its number may become another's."""
    _watcher.tell(f"-{target}")
