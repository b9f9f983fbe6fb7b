"""What deployments in other formats evaluated to, kept on disk: the next program need not evaluate them again.

An answer is kept for a flake alone, and only where a pure evaluation of it can look at nothing that is not pinned: see
`sources.pinned`. Whoever asks for it says what all that was, by contents. In doubt nothing is kept.
"""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from nixhive_nb.deployment.inventory import Inventory
from nixhive_nb.deployment.sources.find import named_source
from nixhive_nb.deployment.sources.formats import Format
from nixhive_nb.deployment.sources.kinds import OfFlake
from nixhive_nb.deployment.sources.pinned import contents, is_pinned
from nixhive_nb.deployment.sources.source import Chooser, Read, said_lines
from nixhive_nb.util.collecting import collected_seldom
from nixhive_nb.util.files import write_whole
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from nixhive_nb.deployment.sources.source import Evaluation, Source

_log = logging.getLogger(__name__)

MOST_KEPT = 64
"""How many deployments are kept: those that were used last."""
_MOST_BYTES = 32 * 1024 * 1024
_MOST_STORED = 1_000
"""Paths of the store that an answer may name: each is looked for before it is given."""
_STORED = re.compile(rb"/nix/store/[0-9a-z]{32}-[0-9A-Za-z+._?=-]+")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class CachedRead(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment evaluated to."""

    format: Format
    inventory: Inventory
    log: tuple[str, ...]
    chosen: tuple[str, ...] = ()
    """See `sources.source.Chooser`."""

    @classmethod
    def of(cls, source: Source, read: Read) -> Self:
        """Return what a deployment was read as."""
        chosen = source.chosen if isinstance(source, Chooser) else ()
        return cls(format=source.format, inventory=read.inventory, log=said_lines(read.said), chosen=chosen)

    def read(self, path: str | Path, how: Evaluation) -> tuple[Source, Read]:
        """Return that deployment, as it was read."""
        source = named_source(path, msgspec.structs.replace(how, format=self.format))
        if isinstance(source, Chooser):
            source.chosen = self.chosen
        return source, Read(inventory=self.inventory, said="\n".join(self.log))


class _CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    depends: str
    """What all that the answer depends on was."""
    answer: CachedRead


class CachePlace:
    """The place on disk for the answer of one deployment, asked for in one way."""

    def __init__(self, source: Source, how: Evaluation, name: str, own: Collection[str]) -> None:
        """Look at what an answer depends on, as it is now. `name` is how the user calls the deployment."""
        self._how = how
        self._own = own
        self._place = source.place if isinstance(source, OfFlake) else None
        folder = _folder() if self._place is not None and not how.impure else None
        words = msgspec.json.encode((source.named, how, name))
        self._file = folder / f"{_digest(words)}.json" if folder is not None else None
        self._depends = self._now() if self._file is not None else None

    def answer(self) -> CachedRead | None:
        """Return the answer that is kept, if it is that of today."""
        if self._file is None or self._depends is None:
            return None
        with swallowed(_log, f"reading {self._file}", OSError, ValueError, TypeError, msgspec.MsgspecError):
            content = _read_own(self._file)
            with collected_seldom():
                entry = msgspec.json.decode(content, type=_CacheEntry)
            if entry.depends == self._depends and all(map(os.path.lexists, _stored(content))):
                os.utime(self._file)
                return entry.answer
        return None

    def keep(self, answer: CachedRead) -> None:
        """Keep an answer, if what it depends on is known, and the same as before it was evaluated."""
        if self._file is None or self._depends is None or self._place is None:
            return
        if not is_pinned(self._place, self._how) or self._now() != self._depends:
            _log.debug("%s: what it evaluates to is not kept", self._place.reference)
            return
        content = msgspec.json.encode(_CacheEntry(depends=self._depends, answer=answer))
        if len(content) > _MOST_BYTES or len(_stored(content)) > _MOST_STORED:
            return
        with swallowed(_log, f"writing {self._file}", OSError):
            _make_folder(self._file.parent)
            write_whole(self._file, content)
            _sweep(self._file.parent)

    def _now(self) -> str | None:
        found = contents(self._place, self._own) if self._place is not None else None
        return None if found is None else _digest("\0".join([found, *_surroundings()]).encode("utf-8", "replace"))


def _surroundings() -> Iterator[str]:
    """Yield what else an answer depends on: this program, Nix and its settings, and who asks."""
    from importlib.metadata import version  # noqa: PLC0415 - slow, and for flakes alone

    yield version("nixhive_nb")
    for file in sorted(Path(__file__).parent.rglob("*.[np][iy]*")):  # in a checkout the version stays the same
        yield _mark(file)
    yield _mark(Path(os.path.realpath(shutil.which("nix") or "")))
    yield from (f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("NIX_"))
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    yield from (_mark(Path(file)) for file in ("/etc/nix/nix.conf", f"{home}/nix/nix.conf"))
    yield getpass.getuser()  # who logs in where deploy-rs names nobody


def _mark(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        _log.debug("there is no %s", file)
        return f"{file}: none"
    return f"{file}: {found.st_mtime_ns} {found.st_size} {found.st_ino}"


def _stored(content: bytes) -> set[bytes]:
    return set(_STORED.findall(content))


def _folder() -> Path | None:
    """Return the folder of what is kept; None for a user without a home. Nothing is made."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # noqa: PTH117 - of a text that may be empty; the specification has it so
        home = f"{os.environ.get('HOME', '')}/.cache"
    return Path(home, "nixhive_nb", "deployments") if os.path.isabs(home) else None  # noqa: PTH117 - as above


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _see_own(folder.lstat(), folder)


def _read_own(file: Path) -> bytes:
    """Read a file that is ours, in a folder that is. Raises `OSError` for another, and for one that is too large."""
    _see_own(file.parent.lstat(), file.parent)
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as stream:
        found = os.fstat(stream.fileno())
        _see_own(found, file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            raise OSError(f"{file} is none of ours")
        return stream.read(_MOST_BYTES)


def _see_own(found: os.stat_result, path: Path) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & _OTHERS or stat.S_ISLNK(found.st_mode):
        raise OSError(f"{path} is another's, or others may write it")


def _sweep(folder: Path) -> None:
    """Leave the files that were used last."""
    files = sorted(folder.glob("*.json*"), key=lambda file: file.lstat().st_mtime, reverse=True)
    for file in files[MOST_KEPT:]:
        file.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
