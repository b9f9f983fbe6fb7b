"""Nix commands: one function for each, giving its exact argument list. Nothing is started here.

They are those that work from Nix 2.8 to the newest: the classic programs, and `nix` with its experimental feature
switched on for `copy` and `store sign` alone, which have no classic form.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

NEW_COMMAND = ("nix", "--extra-experimental-features", "nix-command")
LOG = ("--log-format", "internal-json", "-v")
CONNECT_TIMEOUT = 5
QUICK = (
    *("--option", "connect-timeout", str(CONNECT_TIMEOUT)),
    *("--option", "download-attempts", "2"),
    *("--option", "narinfo-cache-negative-ttl", "0"),
    *("--option", "narinfo-cache-positive-ttl", "0"),
)
"""How long (in seconds) and how often Nix on a host tries to reach a cache: one out of reach costs little.

What a cache once had, or had not, counts for nothing: it was pushed there since, or is there no more.
"""

SYSTEM_PROFILE = "/nix/var/nix/profiles/system"
CURRENT_SYSTEM = "/run/current-system"
SWITCH = "bin/switch-to-configuration"


def realise(derivations: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Build derivations side by side; one that fails does not stop the others."""
    return ["nix-store", "--realise", *derivations, "--keep-going", *LOG, *flags]


def invalid(paths: Sequence[str]) -> list[str]:
    """Print those of the paths that are not in the local store."""
    return ["nix-store", "--check-validity", "--print-invalid", *paths]


def root(path: str, link: Path) -> list[str]:
    """Keep a path of the local store from being collected, by a link to it."""
    return ["nix-store", "--realise", path, "--add-root", str(link), "--indirect"]


def closure(path: str) -> list[str]:
    """Print the paths that a path needs at run time, itself included."""
    return ["nix-store", "--query", "--requisites", path]


def sizes(paths: Sequence[str]) -> list[str]:
    """Print the size of each path in bytes, as it goes over a link."""
    return ["nix-store", "--query", "--size", *paths]


def closure_sizes(path: str) -> list[str]:
    """Print the same, each path with its size in bytes as it goes over a link: see `sized_lines`.

    Of a derivation it is all that builds it.
    """
    derivation = ("--derivation",) if path.endswith(".drv") else ()
    return [*NEW_COMMAND, "path-info", "--recursive", "--size", *derivation, path]


def sized_lines(said: str) -> dict[str, int]:
    """Read what `closure_sizes` printed: path → bytes. Raises `ValueError` where it is something else."""
    return {path: int(size) for path, size in (line.split() for line in said.splitlines())}


def sign(path: str, key_file: str) -> list[str]:
    """Sign a path and all that it needs. The key is read by Nix from its file."""
    return [*NEW_COMMAND, "store", "sign", "--recursive", "--key-file", key_file, path]


def signatures(paths: Sequence[str]) -> list[str]:
    """Print each of the paths of the local store with who vouches for it: see `nix.signatures`."""
    return [*NEW_COMMAND, "path-info", "--sigs", *paths]


def remote_signatures(path: str) -> str:
    """Return the shell words that print the same of a path on a host, and of all that it needs."""
    return shlex.join([*NEW_COMMAND, "path-info", "--recursive", "--sigs", path])


def sign_paths(paths: Sequence[str], key_file: str, store: str = "") -> list[str]:
    """Sign paths, in another store where one is named. The key is read by Nix from its file, and stays here."""
    where = ("--store", store) if store else ()
    return [*NEW_COMMAND, "store", "sign", *where, "--key-file", key_file, *paths]


def copy(path: str, store: str, options: Sequence[str] = (), *, substitute: bool = True, source: str = "") -> list[str]:
    """Copy a path and what it needs to a store; the other side may take what it can from its own substituters.

    With a `source` it comes from that store, through this machine. Of a derivation it is all that builds it. What a
    store once had counts for nothing.
    """
    own = ("--substitute-on-destination",) if substitute else ()
    origin = ("--from", source) if source else ()
    derivation = ("--derivation",) if path.endswith(".drv") else ()
    return [*NEW_COMMAND, "copy", *origin, "--to", store, *own, *derivation, "--refresh", *LOG, *options, path]


def path_info(path: str, store: str) -> list[str]:
    """Print a path if it is valid in a store, whatever was remembered of that."""
    return [*NEW_COMMAND, "path-info", "--store", store, "--refresh", path]


def instance_store(instance: str) -> str:
    """Return the URL by which Nix reaches the store of an instance, with a short time-out for its substituters."""
    return f"ssh://{instance}?remote-program={'%20'.join(('nix-store', *QUICK))}"


def remote_invalid(paths: Sequence[str]) -> str:
    """Return the shell words that print those of the paths that a host does not have."""
    return shlex.join(invalid(paths))


def remote_closure_sizes(path: str) -> str:
    """Return the shell words that print the closure of a path on a host, an empty line, and the size of each path."""
    # The shell's own printf has no limit of arguments; xargs keeps the order, however often it starts the program.
    return (
        f'paths=$({shlex.join(closure(path))}) && printf "%s\\n" "$paths" "" && '
        f'printf "%s\\n" "$paths" | xargs {shlex.join(sizes([]))}'
    )


def posix(command: str) -> str:
    """Return the words that have /bin/sh run a command, whatever shell the login user has."""
    return f"exec /bin/sh -c {shlex.quote(command)}"


def copy_options(user: Mapping[str, str]) -> list[str]:
    """Return the words that the user has in `NIX_COPYOPTS` for each copy."""
    return shlex.split(user.get("NIX_COPYOPTS", ""))
