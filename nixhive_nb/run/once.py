"""`--once KEY`: what was done already is not done again. A file for each key, `once/KEY.json`, written whole.

It is no state of the fleet: remove the file, and the same command does its work again.
"""

from __future__ import annotations

import fcntl
import logging
import re
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import OptionError
from nixhive_nb.util.files import make_folder, private_opener, write_whole
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

_log = logging.getLogger(__name__)

ONCE = "once"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@:-]{0,99}")


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The run that did what a key stands for."""

    run: str
    ended: float
    """Seconds since the epoch."""
    words: tuple[str, ...] = ()
    """The words of the command."""


class Claim:
    """A key that we hold: nobody else can do what it stands for until we let it go."""

    def __init__(self, file: Path, lock: IO[bytes]) -> None:
        """Use `take`."""
        self._file = file
        self._lock: IO[bytes] | None = lock

    @classmethod
    def take(cls, folder: Path, key: str) -> Claim:
        """Hold a key of `folder` (see `places`). Raises `OptionError` for one that is none or held, and `OSError`."""
        check_key(key)
        place = folder / ONCE
        make_folder(place)
        lock = open(place / f"{key}.lock", "ab", opener=private_opener)  # noqa: SIM115 - held until `close`
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            why = "somebody does that right now" if isinstance(error, BlockingIOError) else "it cannot be locked"
            raise OptionError(f"--once {key}: {why} ({error.strerror}).") from None
        return cls(place / f"{key}.json", lock)

    @property
    def done(self) -> Done | None:
        """The run that did it, None when none has. Raises `OptionError` when the file cannot be read."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Done)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise OptionError(f"{self._file} is not whole ({error}). Remove it to do its work again.") from None

    def settle(self, done: Done) -> None:
        """Note that it is done. Raises `OSError`."""
        write_whole(self._file, msgspec.json.encode(done), shared=True)

    def handed_over(self) -> Claim:
        """Return the key to somebody else, who lets it go in our place."""
        lock, self._lock = self._lock, None
        if lock is None:
            raise ValueError("the key is held no more")
        return Claim(self._file, lock)

    def close(self) -> None:
        """Let it go, if it is held by us still."""
        lock, self._lock = self._lock, None
        if lock is not None:
            with lock, swallowed(_log, "letting go of a key", OSError):
                # A process that was forked from this one holds it as well.
                fcntl.flock(lock, fcntl.LOCK_UN)


def check_key(key: str) -> None:
    """Raise `OptionError` for a key that cannot be the name of a file."""
    if not _KEY.fullmatch(key):
        raise OptionError(
            f"--once {key}: a key is up to 100 letters, digits and . _ + @ : -, and begins with a letter or digit."
        )
