"""Standard output and error of a program: what cannot be written is lost, and stops nothing.

A reader that has gone (`| head`), a full disk, a terminal that hung up or whose encoding lacks a character are no
reason to leave hosts in the middle of what is done there.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_GONE = (errno.EPIPE, errno.ECONNRESET)
"""The reader has had enough, which is no fault."""
_written = [0.0]
_lost: dict[int, OSError | None] = {}
_leaving: list[Callable[[], None]] = []
_guards = {1: threading.Lock(), 2: threading.Lock()}


def prepare() -> None:
    """Make the streams of this process fit, at its beginning.

    Descriptors that the caller closed are opened, or a file of ours would get their numbers. A pipe that the caller
    left non-blocking blocks.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            _log.debug("descriptor %d was closed: it leads nowhere", number)
            nowhere = os.open(os.devnull, flags)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if number:
            with swallowed(_log, "making a descriptor blocking", OSError):
                os.set_blocking(number, True)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # those of a program are such


def write(text: str, *, error: bool = False) -> None:
    """Write a text to standard output (or error) now. Never fails: what cannot be written is lost."""
    number, stream = (2, sys.stderr) if error else (1, sys.stdout)
    with _guards[number]:
        if stream is None or number in _lost:
            return
        try:
            _put(stream, text)
            _written[0] = time.monotonic()
        except (OSError, ValueError) as failure:
            _log.debug("writing to descriptor %d", number, exc_info=True)
            _lose(number, stream, failure if isinstance(failure, OSError) else None)


def when_reader_leaves(call: Callable[[], None]) -> None:
    """Have this called once, when nobody reads standard output any more."""
    _leaving.append(call)


def reader_left() -> bool:
    """Return whether whoever read standard output has had enough of it."""
    lost = _lost.get(1)
    return lost is not None and lost.errno in _GONE


def last_written() -> float:
    """Return when something was written at last, by the monotonic clock; 0 where nothing was."""
    return _written[0]


def can_show(text: str) -> bool:
    """Return whether standard output has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def failure() -> str:
    """Return why what was asked for, on standard output, is not all there; empty where it is, or nobody wanted more."""
    lost = _lost.get(1)
    return "" if lost is None or reader_left() else lost.strerror or str(lost)


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _lose(number: int, stream: TextIO, failure: OSError | None) -> None:
    """Lead a stream nowhere, so that what waits in it does not fail again when Python ends."""
    _lost[number] = failure
    with swallowed(_log, "leading a stream nowhere", OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    if number == 1 and reader_left():
        while _leaving:
            _leaving.pop()()
