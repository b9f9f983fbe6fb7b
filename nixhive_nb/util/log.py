"""The log of this program, for finding out why: where it goes, and how its lines look.

Modules use standard `logging` below `nixhive_nb`. It is off until a person wants it: `--verbose` (standard error),
`NIXHIVE_LOG=FILE`, or `%config Hive.log = "FILE"`. A line is

    TIME LEVEL PID [THREAD] MODULE: MESSAGE

and what belongs to it, such as a trace, is indented below it. Secrets and terminal control are cut from all of it, and
it has a limit. What cannot be written never stops a run: `trouble` says it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.util.text import strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NAME = "nixhive_nb"
VARIABLE = "NIXHIVE_LOG"
_LONGEST = 20_000
"""Characters of one entry: a trace is about 4,000."""
_LOOKED_AT = 1_000_000
"""Characters of one entry that are looked through for secrets; what comes after them is left out."""
_VALUES = 200
"""How many values are remembered as secrets."""
_log = logging.getLogger(__name__)


class _Known:
    """The values that are secrets whatever they look like, and the handlers that are at work."""

    def __init__(self) -> None:
        self.values: deque[str] = deque(maxlen=_VALUES)
        self.lock = threading.Lock()
        self.file: FileHandler | None = None
        self.trouble = ""
        self.wanted = ""
        """The file that was asked for, other than by the environment."""
        self.refused = ""
        """What the environment named when that could not be opened."""
        self.before: tuple[int, bool] | None = None
        """Level and propagation of the logger before we were at work."""


_known = _Known()


def cut_also(values: Iterable[str]) -> None:
    """Have these values cut from the log from now on, wherever they stand: variables of a `run`."""
    from nixhive_nb.util.redaction import SHORTEST  # noqa: PLC0415 - as below

    _known.values.extend(value for value in values if len(value) >= SHORTEST and value not in _known.values)


def without_secrets(text: str) -> str:
    """Return a text as the log has it: without secrets, those of `cut_also` among them, and terminal control."""
    from nixhive_nb.util.redaction import redact  # noqa: PLC0415 - its patterns are most of what an import costs

    return redact(strip_control(text), *_known.values)


class Formatter(logging.Formatter):
    """One entry as text: a line, and indented below it what belongs to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an entry. Never raises for what a record holds."""
        try:
            message = record.getMessage()
        except Exception as error:  # noqa: BLE001 - whatever a value does when it is made text
            message = f"{record.msg!r} (its values cannot be shown: {error!r})"
        if record.exc_info and record.exc_info[0] is not None:
            message = f"{message.rstrip()}\n{_trace(self.formatException(record.exc_info))}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = (
            f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {record.process} [{record.threadName}] "
            f"{record.name.removeprefix(f'{NAME}.')}: "
        )
        text = _shortened(without_secrets(message[:_LOOKED_AT]), whole=len(message) <= _LOOKED_AT)
        return strip_control(head).replace("\n", " ") + text.rstrip("\n").replace("\n", "\n    ") + "\n"


def _trace(text: str) -> str:
    """Return a trace without the lines of `^^^`, which only underline."""
    return "\n".join(line for line in text.split("\n") if line.strip(" ^~") or not line.strip())


def _shortened(text: str, *, whole: bool) -> str:
    """Return the begin and the end of a long text; the begin alone of one that is not `whole`."""
    if whole and len(text) <= _LONGEST:
        return text
    end = text[-_LONGEST // 2 :] if whole else ""
    return f"{text[: _LONGEST // 2]}\n... too long: the rest is left out ...\n{end}"


class FileHandler(logging.Handler):
    """Appends entries to a file that is ours alone (0600), each in one write, so that several programs may share it."""

    def __init__(self, file: Path) -> None:
        """Open the file. Raises `OSError`."""
        super().__init__()
        self.file = file.absolute()
        # A pipe that nobody reads is an error at once, and a full one loses lines: a run never waits for its log.
        self._descriptor = os.open(
            self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o600
        )
        about = os.fstat(self._descriptor)
        if stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid():
            os.fchmod(self._descriptor, 0o600)
        self.setFormatter(Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write an entry. What cannot be written is told by `trouble`."""
        try:
            data = self.format(record).encode("utf-8", "backslashreplace")
            if os.write(self._descriptor, data) < len(data):
                raise OSError(0, "there is no room")  # noqa: TRY301 - a disk that has become full in the middle
        except OSError as error:
            _known.trouble = _known.trouble or f"{self.file}: {error.strerror}. The log is not whole."

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        super().close()


class ErrorHandler(logging.Handler):
    """Writes entries to standard error, as it is at that moment: a live view puts itself below them."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(Formatter())

    def handle(self, record: logging.LogRecord) -> bool:
        """Write an entry, without a lock of ours: a live view has one of its own, and two could wait for each other."""
        stream = sys.stderr
        if stream is None:
            return True
        # A closed pipe, or a terminal that has gone: nobody is there to be told.
        with contextlib.suppress(OSError, ValueError):
            text = self.format(record)
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        return True


@contextlib.contextmanager
def verbosely() -> Iterator[None]:
    """Have the log on standard error for the time of the block."""
    handler = ErrorHandler()
    _add(handler)
    try:
        yield
    finally:
        _remove(handler)


def log_to(file: str | Path | None) -> str:
    """Have the log in this file from now on; with None or "" in that of `NIXHIVE_LOG`, if there is one.

    Return why that cannot be, empty when all is well.
    """
    _known.wanted = str(file or "")
    return _follow()


def log_as_environment_says() -> str:
    """Have the log in the file that `NIXHIVE_LOG` names now, unless `log_to` names another.

    Return why that cannot be: once for each file, empty otherwise.
    """
    named = os.environ.get(VARIABLE, "")
    if _known.wanted or (named and named == _known.refused):
        return ""
    why = _follow()
    _known.refused = named if why else ""
    return f"{VARIABLE}: {why}" if why else ""


def _follow() -> str:
    named = _known.wanted or os.environ.get(VARIABLE, "")
    with _known.lock:
        try:
            place = Path(named).expanduser().absolute() if named else None
            if (_known.file.file if _known.file is not None else None) == place:
                return ""
            if _known.file is not None:
                _remove(_known.file)
                _known.file = None
            if place is None:
                return ""
            _known.file = FileHandler(place)
            _add(_known.file)
        except (OSError, ValueError, RuntimeError) as error:  # the last one for the home folder of nobody
            return f"{named}: {getattr(error, 'strerror', None) or str(error).rstrip('.')}. Nothing is logged there."
    import platform  # noqa: PLC0415 - with the next one a fifth of what a help takes
    from importlib.metadata import version  # noqa: PLC0415

    _log.info("the log begins: nixhive_nb %s, Python %s", version(NAME), platform.python_version())
    return ""


def log_file() -> Path | None:
    """Return where the log goes, None where it goes into no file."""
    handler = _known.file
    return handler.file if handler is not None else None


def trouble() -> str:
    """Return why the log is not whole, once; empty when all is well."""
    found, _known.trouble = _known.trouble, ""
    return found


def _add(handler: logging.Handler) -> None:
    logger = logging.getLogger(NAME)
    if _known.before is None:
        _known.before = logger.level, logger.propagate
        # Else every line of ours would also go to the handlers of whoever has some, such as a notebook, with its
        # secrets; who has set a level of their own for us wants that.
        logger.propagate = logger.propagate and logger.level != logging.NOTSET
        logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)


def _remove(handler: logging.Handler) -> None:
    logger = logging.getLogger(NAME)
    logger.removeHandler(handler)
    handler.close()
    if _known.before is not None and not any(isinstance(one, (FileHandler, ErrorHandler)) for one in logger.handlers):
        level, logger.propagate = _known.before
        logger.setLevel(level)
        _known.before = None
