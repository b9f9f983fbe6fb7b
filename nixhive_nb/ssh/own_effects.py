"""What the user's own ssh configuration changes for a host: what OpenSSH says of it with those files, and without."""

from __future__ import annotations

import functools
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from nixhive_nb.errors import HiveError
from nixhive_nb.ssh.alike import Alike
from nixhive_nb.ssh.config import render_batch, render_config
from nixhive_nb.ssh.own_files import read_options
from nixhive_nb.ssh.resolve import Resolver
from nixhive_nb.util import process
from nixhive_nb.util.redaction import redact
from nixhive_nb.util.said import one_line
from nixhive_nb.util.swallowed import swallowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from nixhive_nb.deployment.inventory import Inventory
    from nixhive_nb.ssh.config import SshFiles

_log = logging.getLogger(__name__)
_AT_ONCE = 8
_NO_EFFECT = ("sendenv", "hashknownhosts", "visualhostkey", "host", "gssapiauthentication")
"""What changes nothing of how a host is reached; the last one is what Debian has for every host."""
_MOST = 200
_VALID = re.compile(r"^\s+Valid: (?:from \S+|before \S+|always)? ?(?:to|before) (\S+)$", re.MULTILINE)
_SECONDS = 20


class OwnEffect(msgspec.Struct, frozen=True):
    """An option of ssh that the user's own files change for a host."""

    keyword: str
    value: str
    without: str
    """What it is without these files; empty where it is not set."""

    def __str__(self) -> str:
        return f"{self.keyword} {self.value or 'not set'} (without: {self.without or 'not set'})"


def own_effects(
    inventory: Inventory, names: Sequence[str], files: SshFiles, resolve: Resolver
) -> dict[str, tuple[OwnEffect, ...]]:
    """Return what the user's own files change for each host; nothing for one of which ssh cannot tell."""
    if read_options(files.extends) == []:
        return dict.fromkeys(names, ())
    alone = files.folder / "without"
    alone.write_text(render_batch(render_config(inventory, files.known_hosts, user_files=())), encoding="utf-8")
    try:
        without = Resolver(alone, Alike(inventory, ()))

        def compared(name: str) -> tuple[OwnEffect, ...]:
            with swallowed(_log, f"what the user's own files change for {name}", HiveError):  # its own row says so
                return differences(without.said(name), resolve.said(name))
            return ()

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip(names, pool.map(compared, names), strict=True))
    finally:
        alone.unlink(missing_ok=True)


def differences(without: str, with_them: str) -> tuple[OwnEffect, ...]:
    """Return what differs between two answers of `ssh -G`, by keyword."""
    before, now = _options(without), _options(with_them)
    changed = sorted(one for one in {*before, *now} - {*_NO_EFFECT} if before.get(one) != now.get(one))
    found = (OwnEffect(one, _shown(one, now.get(one, ())), _shown(one, before.get(one, ()))) for one in changed)
    return tuple(one for one in found if one.value != one.without)


def _options(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def _shown(keyword: str, values: Sequence[str]) -> str:
    # What is set may be a secret; its name is none.
    told = (value.partition("=")[0] if keyword == "setenv" else redact(value) for value in values)
    return one_line(", ".join(told), _MOST)


def expired(identities: Iterable[Path]) -> tuple[tuple[str, str], ...]:
    """Return the certificates beside keys that are not valid any more: the file, and until when it was."""
    found = []
    for key in identities:
        file = key.with_name(f"{key.name.removesuffix('.pub')}-cert.pub")
        if file.is_file() and (until := _until(file, file.stat().st_mtime_ns)) is not None and until < datetime.now():  # noqa: DTZ005 - ssh-keygen's are local
            found.append((str(file), until.isoformat(sep=" ", timespec="minutes")))
    return tuple(found)


def public_key(identities: Iterable[Path]) -> str:
    """Return the public half of the first key that has one beside it, without its comment."""
    for key in identities:
        file = key if key.suffix == ".pub" else key.with_name(f"{key.name}.pub")
        if file.is_file():
            return " ".join(one_line(file.read_text(encoding="utf-8", errors="replace"), 20_000).split()[:2])
    return ""


@functools.lru_cache(maxsize=64)
def _until(certificate: Path, changed: int) -> datetime | None:  # noqa: ARG001 - a changed file is another one
    told = process.run(["ssh-keygen", "-L", "-f", str(certificate)], timeout=_SECONDS)
    ends = _VALID.search(told.stdout)
    return datetime.fromisoformat(ends[1]) if ends else None
