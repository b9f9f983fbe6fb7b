"""What a host has of a system, and whether a system needs a reboot there."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nixhive_nb.errors import NixError
from nixhive_nb.hosts.facts import inhibitors_in
from nixhive_nb.nix import commands
from nixhive_nb.plan.facts import kernels_differ
from nixhive_nb.util import process, said
from nixhive_nb.util.kept import ANSWER
from nixhive_nb.util.swallowed import swallowed
from nixhive_nb.util.text import size_text, strip_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from nixhive_nb.plan.facts import HostFacts
    from nixhive_nb.ssh.link import HostLinks, RemoteResult

_log = logging.getLogger(__name__)
LOOK_SECONDS = 120
"""How long a host may take to look at its store."""
_COMMAND_BYTES = 100_000
"""A shell gets its words as one argument, which may have 128 KiB."""
_KERNEL = ("kernel", "initrd", "kernel-modules")
_HASH = 32


async def lacking(links: HostLinks, instance: str, sizes: Mapping[str, int]) -> int:
    """Return the bytes of those store paths that an instance does not have.

    Raises `ConnectionFailed`, `LinkLost`, or `NixError` where its Nix gives no answer.
    """
    total = 0
    for paths in chunks(sizes):
        ended = await links.kept(instance).run(commands.remote_invalid(paths), seconds=LOOK_SECONDS)
        answer = set(_checked(ended, instance).split())
        total += sum(sizes[path] for path in paths if path in answer)
    return total


async def closure_sizes(links: HostLinks, instance: str, path: str) -> dict[str, int]:
    """Return the closure of a path that is on an instance, with the bytes of each path, in one round trip.

    Raises `ConnectionFailed`, `LinkLost`, or `NixError` where the path is not there.
    """
    ended = await links.kept(instance).run(commands.remote_closure_sizes(path), seconds=LOOK_SECONDS)
    paths, _, sizes = _checked(ended, instance).partition("\n\n")
    found = _sizes(paths.split(), sizes.split())
    if found is None:
        raise NixError(f"{instance}: the sizes in its Nix store cannot be read.")
    return found


def local_closure_sizes(path: str) -> dict[str, int]:
    """Return the closure of a path that is in this machine's store, with the bytes of each path. Raises `NixError`."""
    try:
        return commands.sized_lines(_local(commands.closure_sizes(path)))
    except ValueError:
        _log.debug("what Nix says of %s cannot be read", path, exc_info=True)
        raise NixError(f"The sizes of {path} in this machine's Nix store cannot be read.") from None


def kernel_of(path: str) -> tuple[str, ...]:
    """Return kernel, initrd and modules of a system in this machine's store, and a hash of its kernel parameters.

    One of them that the system has not is empty; the whole is empty for a system that is not here, or has no kernel.
    """
    if not Path(path, "kernel").exists():
        return ()
    parts = (Path(path, name) for name in _KERNEL)
    return (*(str(part.resolve()) if part.exists() else "" for part in parts), _hash(Path(path, "kernel-params")))


def reboot_wanted(kernel: tuple[str, ...], facts: HostFacts) -> bool | None:
    """Tell whether a system with this kernel (see `kernel_of`) needs a reboot; None where one of both is not known."""
    return kernels_differ(kernel, facts.booted_kernel)


def inhibitors_of(path: str) -> tuple[tuple[str, str], ...]:
    """Return the switch inhibitors of a system in this machine's store; none for one that is not here, or has none."""
    with swallowed(_log, f"reading the switch inhibitors of {path}", OSError):
        return inhibitors_in(Path(path, "switch-inhibitors").read_text(encoding="utf-8", errors="replace"))
    return ()


def _hash(file: Path) -> str:
    """Return the hash that hosts give of such a file; nothing where there is none."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:_HASH] if file.exists() else ""


def _sizes(paths: Sequence[str], sizes: Sequence[str]) -> dict[str, int] | None:
    """Return the bytes of each path, None where that is not what was said."""
    numbers = [number for number in map(said.whole, sizes) if number is not None]
    if not len(paths) == len(sizes) == len(numbers) or not all(path.startswith("/") for path in paths):
        return None
    return dict(zip(paths, numbers, strict=True))


def _local(argv: Sequence[str]) -> str:
    ended = process.run(argv)
    if ended.status:
        raise NixError(f"{argv[0]} {argv[1]} failed: {ended.stderr.strip()[-300:]}")
    return ended.stdout


def chunks(paths: Iterable[str]) -> Iterator[list[str]]:
    """Yield paths in lists that one command of a shell may name."""
    chunk: list[str] = []
    length = 0
    for path in paths:
        if chunk and length + len(path) + 1 > _COMMAND_BYTES:
            yield chunk
            chunk, length = [], 0
        chunk.append(path)
        length += len(path) + 1
    if chunk:
        yield chunk


def _checked(ended: RemoteResult, instance: str) -> str:
    if ended.is_cut:
        raise NixError(f"{instance}: its Nix store says more than {size_text(ANSWER)} to a question: it is not read.")
    if ended.exited == 0:
        return ended.stdout
    lines = [line for line in strip_control(ended.stderr).split("\n") if line.strip()]
    last = lines[-1].removeprefix("error: ") if lines else "it said nothing"
    raise NixError(f"{instance}: its Nix store cannot be asked (exit status {ended.exited}): {last}", log=lines)
